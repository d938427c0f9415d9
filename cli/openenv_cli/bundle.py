"""A self-contained copy of an environment's folder, for an image or the Hub."""

from __future__ import annotations

import errno
import os
import shlex
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

from openenv_cli.files import IgnoreRules, read_text, stale_lock
from openenv_cli.links import is_left_out, link_problem
from openenv_cli.output import status
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.server_command import find_uv

_WHEELS = "wheels"


@contextmanager
def bundled(folder: Path, exclude: Sequence[str] = ()) -> Iterator[Path]:
    """Copy an environment's folder, for the duration of the context.

    `IgnoreRules` says what is left out; Docker applies a ``.dockerignore`` itself. Dependencies that
    ``[tool.uv.sources]`` finds at a path outside the folder become wheels inside the copy.

    Args:
        folder: The environment's folder.
        exclude: More patterns to leave out, as in a ``.gitignore``.

    Raises:
        ConfigurationError: ``uv.lock`` does not match ``pyproject.toml``, a dependency's wheel cannot be
            built, or the folder has a link that is broken or circular, or that leads out of the folder or to
            what is left out.
        OSError: The disk is full.
    """
    folder = folder.resolve()
    with tempfile.TemporaryDirectory(prefix="openenv-bundle-") as temporary:
        copy = Path(temporary) / folder.name
        _copy(folder, copy, IgnoreRules(folder, exclude))
        has_wheels = (copy / "pyproject.toml").is_file() and _replace_paths_by_wheels(folder, copy)
        _check_lock(folder)
        if has_wheels:
            with status("Locking the dependencies…"):
                _update_lock(copy)
        yield copy


def _check_lock(folder: Path) -> None:
    if (folder / "uv.lock").is_file() and (problem := stale_lock(folder)):
        raise ConfigurationError(
            f"{folder / 'uv.lock'} does not match pyproject.toml: {problem}",
            advice=f"Run: uv lock --directory {shlex.quote(str(folder))}",
        )


def _copy(folder: Path, copy: Path, rules: IgnoreRules) -> None:
    """Copy a folder, with copies of what links in it lead to."""
    for where, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(where)
        within = PurePosixPath(here.relative_to(folder).as_posix())
        is_linked = here.resolve() != here
        folders[:] = [
            name
            for name in folders
            if not rules.excludes(within / name, is_folder=True)
            and not (is_linked and is_left_out((here / name).resolve(), folder, rules))
        ]
        for name in folders:
            _refuse_link(here / name, folder, rules)
        target = copy / within
        target.mkdir()
        for name in files:
            if not rules.excludes(within / name) and not (
                is_linked and is_left_out(here.resolve() / name, folder, rules)
            ):
                _refuse_link(here / name, folder, rules)
                try:
                    shutil.copy2(here / name, target / name)
                except OSError as error:
                    _refuse(error, here / name)


def _refuse_link(path: Path, folder: Path, rules: IgnoreRules) -> None:
    problem = link_problem(path, folder, rules)
    if problem:
        raise ConfigurationError(
            f"{problem}.", advice="Replace it with what it should lead to, or add it to .gitignore."
        )


def _refuse(error: OSError, path: Path | None = None) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise error  # the disk is full; the file is fine
    reason = error.strerror or str(error)
    raise ConfigurationError(
        f"Cannot copy {path or error.filename}: {reason}.", advice="Fix or remove it."
    ) from error


def _replace_paths_by_wheels(folder: Path, copy: Path) -> bool:
    """Turn sources outside the folder into wheels in the copy. Return whether there were any."""
    pyproject = copy / "pyproject.toml"
    try:
        document = tomlkit.parse(read_text(pyproject))
    except tomlkit.exceptions.ParseError as error:
        raise ConfigurationError(f"{folder / 'pyproject.toml'} is not valid TOML: {error}.") from error
    sources: Any = document.get("tool", {}).get("uv", {}).get("sources", {})
    outside = {
        name: (folder / source["path"]).resolve()
        for name, source in sources.items()
        if isinstance(source, dict)
        and "path" in source
        and not (folder / source["path"]).resolve().is_relative_to(folder)
    }
    for name, path in outside.items():
        with status(f"Building a wheel of {name}…"):
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
            f"The source of {name} does not exist: {path}.",
            advice="Fix [tool.uv.sources] in pyproject.toml.",
        )
    before = set(folder.iterdir())
    uv = find_uv()
    if uv is None and find_spec("pip") is None:
        raise ConfigurationError(
            f"Building a wheel of {name} from {path} needs uv or pip; neither is installed.",
            advice="Install uv: https://docs.astral.sh/uv/getting-started/installation",
        )
    with_pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    with_uv = [str(uv), "build", "--quiet", "--wheel", "--out-dir", str(folder)]
    done = subprocess.run([*(with_uv if uv else with_pip), str(path)], capture_output=True, text=True)
    made = set(folder.glob("*.whl")) - before
    if done.returncode != 0 or len(made) != 1:
        raise ConfigurationError(f"{name} cannot be built from {path}:\n{done.stderr.strip()}")
    (folder / ".gitignore").unlink(missing_ok=True)  # written by uv build; it would hide the wheel
    return made.pop()


def _update_lock(copy: Path) -> None:
    """Update the lock file for the wheels. Without uv it is removed, and the build resolves dependencies."""
    lock, uv = copy / "uv.lock", find_uv()
    if not lock.exists():
        return
    if uv is None:
        lock.unlink()
        return
    done = subprocess.run([uv, "lock", "--quiet", "--directory", str(copy)], capture_output=True, text=True)
    if done.returncode != 0:
        raise ConfigurationError(f"uv cannot lock the dependencies of {copy.name}:\n{done.stderr.strip()}")
