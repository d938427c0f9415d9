"""What goes into an image or onto the Hub: a copy of a folder that needs nothing outside of it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import tomlkit

from openenv_cli.left_out import LeftOut
from openenv_cli.progress import status
from openenv_cli.texts import read_text
from openenv_gym.errors import ConfigurationError

_WHEELS = "wheels"


@contextmanager
def bundled(folder: Path, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """A copy of an environment's folder, for as long as the context lasts.

    Left out is what `LeftOut` says. A ``.dockerignore`` is left to Docker. Dependencies that
    ``[tool.uv.sources]`` finds at a path outside of the folder become wheels inside of the copy.

    Args:
        folder: The environment's folder.
        exclude: Further patterns, as in a ``.gitignore``.

    Raises:
        ConfigurationError: A dependency's wheel cannot be made, or a link in the folder leads nowhere or in
            a circle.
        OSError: There is no room for the copy.
    """
    folder = folder.resolve()
    with tempfile.TemporaryDirectory(prefix="openenv-bundle-") as temporary:
        copy = Path(temporary) / folder.name
        _copy(folder, copy, LeftOut(folder, exclude))
        if (copy / "pyproject.toml").is_file() and _bring_in_paths(folder, copy):
            with status("Locking the dependencies…"):
                _lock_anew(copy)
        yield copy


def _copy(folder: Path, copy: Path, left_out: LeftOut) -> None:
    """Copies a folder; of links, what they lead to."""
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(where)
        within = PurePosixPath(here.relative_to(folder).as_posix())
        folders[:] = [name for name in folders if not left_out.has(within / name, is_folder=True)]
        for name in folders:
            _refuse_loop(here / name, folder)
        target = copy / within
        target.mkdir()
        for name in files:
            if not left_out.has(within / name):
                try:
                    shutil.copy2(here / name, target / name)
                except OSError as error:
                    _refuse(error, here / name)


def _refuse_loop(path: Path, folder: Path) -> None:
    if not path.is_symlink():
        return
    target = path.resolve()
    for above in path.parents:
        if above.resolve().is_relative_to(target):
            raise ConfigurationError(
                f"{path} is a link to {target}, which it is in itself, so that a copy of the folder has no "
                "end. Remove it, or name it in .gitignore"
            )
        if above == folder:
            return


def _refuse(error: OSError, path: Path | None = None) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error  # not the file's fault
    reason = error.strerror or str(error)
    raise ConfigurationError(
        f"{path or error.filename} cannot be copied: {reason}. Mend or remove it"
    ) from error


def _bring_in_paths(folder: Path, copy: Path) -> bool:
    """Turns sources outside of the folder into wheels in the copy; True where there were any."""
    pyproject = copy / "pyproject.toml"
    try:
        document = tomlkit.parse(read_text(pyproject))
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
        with status(f"Making a wheel of {name}…"):
            wheel = _wheel(name, path, copy / _WHEELS)
        entry = tomlkit.inline_table()
        entry["path"] = f"{_WHEELS}/{wheel.name}"
        sources[name] = entry
    pyproject.write_text(tomlkit.dumps(document), encoding="utf-8")
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
    if uv is None and find_spec("pip") is None:
        raise ConfigurationError(
            f"{name} comes from {path}, and a wheel has to be made of it, which takes uv or pip: neither is "
            "here. Install uv: https://docs.astral.sh/uv/getting-started/installation"
        )
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
