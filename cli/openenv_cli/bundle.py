"""What goes into an image or onto the Hub: a copy of a folder that needs nothing outside of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit
from pathspec import GitIgnoreSpec

from openenv_gym.errors import ConfigurationError

# Neither secrets nor what is made anew belong into it.
_ALWAYS_LEFT_OUT = (
    ".git/",
    ".venv/",
    ".env",
    ".env.*",
    "!.env.example",
    "__pycache__/",
    "*.egg-info/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
)
_WHEELS = "wheels"


@contextmanager
def bundled(folder: Path, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """A copy of an environment's folder, for as long as the context lasts.

    Left out are what its ``.gitignore`` names, caches and virtual environments, ``.env`` files, and what
    `exclude` names. A ``.dockerignore`` is left to Docker. Dependencies that ``[tool.uv.sources]`` finds at
    a path outside of the folder become wheels inside of the copy.

    Args:
        folder: The environment's folder.
        exclude: Further patterns, as in a ``.gitignore``.

    Raises:
        ConfigurationError: A dependency's wheel cannot be made, or a link in the folder leads nowhere.
    """
    with tempfile.TemporaryDirectory(prefix="openenv-bundle-") as temporary:
        copy = Path(temporary) / folder.resolve().name
        _copy(folder.resolve(), copy, exclude)
        if (copy / "pyproject.toml").is_file() and _bring_in_paths(folder.resolve(), copy):
            _lock_anew(copy)
        yield copy


def _copy(folder: Path, copy: Path, exclude: Sequence[str]) -> None:
    ignore = folder / ".gitignore"
    patterns = [*(ignore.read_text().splitlines() if ignore.is_file() else []), *_ALWAYS_LEFT_OUT, *exclude]
    spec = GitIgnoreSpec.from_lines(patterns)

    def left_out(directory: str, names: list[str]) -> set[str]:
        within = Path(directory).relative_to(folder)
        return {
            name
            for name in names
            if spec.match_file(
                f"{(within / name).as_posix()}{'/' if (folder / within / name).is_dir() else ''}"
            )
        }

    try:
        shutil.copytree(folder, copy, ignore=left_out)
    except shutil.Error as error:
        first = error.args[0][0]
        raise ConfigurationError(f"{first[0]} cannot be copied: {first[2]}. Mend or remove it.") from error


def _as_git_names_it(path: Path, folder: Path) -> str:
    return f"{path.relative_to(folder).as_posix()}{'/' if path.is_dir() else ''}"


def _bring_in_paths(folder: Path, copy: Path) -> bool:
    """Turns sources outside of the folder into wheels in the copy; True where there were any."""
    pyproject = copy / "pyproject.toml"
    try:
        document = tomlkit.parse(pyproject.read_text())
    except tomlkit.exceptions.ParseError as error:
        raise ConfigurationError(f"{folder / 'pyproject.toml'} is not TOML: {error}") from error
    sources: Any = document.get("tool", {}).get("uv", {}).get("sources", {})
    outside = {
        name: (folder / source["path"]).resolve()
        for name, source in sources.items()
        if isinstance(source, dict)
        and "path" in source
        and not (folder / source["path"]).resolve().is_relative_to(folder)
    }
    for name, path in outside.items():
        wheel = _wheel(name, path, copy / _WHEELS)
        entry = tomlkit.inline_table()
        entry["path"] = f"{_WHEELS}/{wheel.name}"
        sources[name] = entry
    pyproject.write_text(tomlkit.dumps(document))
    return bool(outside)


def _wheel(name: str, path: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    if path.suffix == ".whl" and path.is_file():
        return Path(shutil.copy(path, folder))
    if not path.is_dir():
        raise ConfigurationError(
            f"{name} comes from {path} by [tool.uv.sources] of the pyproject.toml, and nothing is there"
        )
    before = set(folder.iterdir())
    uv = shutil.which("uv")
    with_pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    with_uv = [str(uv), "build", "--quiet", "--wheel", "--out-dir", str(folder)]
    done = subprocess.run([*(with_uv if uv else with_pip), str(path)], capture_output=True, text=True)
    made = set(folder.glob("*.whl")) - before
    if done.returncode != 0 or len(made) != 1:
        raise ConfigurationError(f"{name} cannot be built from {path}:\n{done.stderr.strip()}")
    (folder / ".gitignore").unlink(missing_ok=True)  # which uv build writes, and which would hide the wheel
    return made.pop()


def _lock_anew(copy: Path) -> None:
    """Makes the lock file fit the wheels; an image without one resolves its dependencies by itself."""
    lock, uv = copy / "uv.lock", shutil.which("uv")
    if not lock.exists():
        return
    if uv is None:
        lock.unlink()
        return
    done = subprocess.run([uv, "lock", "--quiet", "--directory", str(copy)], capture_output=True, text=True)
    if done.returncode != 0:
        raise ConfigurationError(f"uv cannot lock the dependencies of {copy.name}:\n{done.stderr.strip()}")
