"""The files of an environment's folder: reading them, and which ones never leave the machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.server_command import find_uv

# Secrets, and what tools regenerate.
_ALWAYS_EXCLUDED = (
    ".git",
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
# uv's exit code if the lock is out of date or no versions fit; with 2, it could not tell.
_UV_FAILED = 1


def read_text(path: Path) -> str:
    """Read a UTF-8 file, without the byte order mark that some editors write.

    Raises:
        ConfigurationError: The file is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}:{line} is not UTF-8.", advice="Save the file as UTF-8.") from error


def read_patterns(path: Path, *, only_text: bool = False) -> list[str]:
    """The lines of a ``.gitignore`` or ``.dockerignore``; empty if the file does not exist.

    File names may contain any bytes: those that are not UTF-8 are decoded as `os.fsdecode` does.

    Args:
        path: The file.
        only_text: Whether a binary file, one with a null byte, counts as empty.
    """
    if not path.is_file() or (only_text and b"\0" in path.read_bytes()):
        return []
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()


def stale_lock(folder: Path) -> str | None:
    """Why a folder's ``uv.lock`` does not match its ``pyproject.toml``; empty if it does.

    None if that cannot be found out: uv is not installed, or cannot reach the packages.
    """
    uv = find_uv()
    if uv is None:
        return None
    variables = {name: value for name, value in os.environ.items() if name != "UV_FROZEN"}  # skips the check
    done = subprocess.run(
        [uv, "lock", "--check", "--quiet", "--directory", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=variables,
    )
    if done.returncode == _UV_FAILED:
        return " ".join(done.stderr.partition("\nhint:")[0].split()).removeprefix("error: ")
    return "" if done.returncode == 0 else None


def find_repository(folder: Path) -> Path | None:
    """The root of the git repository that contains a folder; None outside of any."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


class IgnoreRules:
    """Decides which files of a folder neither an image nor the Hub gets.

    These are the files that git ignores, caches, virtual environments and ``.env`` files. As in git, a
    ``.gitignore`` applies to everything below it, up to the root of the repository, and the nearest one
    wins. If the ones above the folder ignore the whole folder, they were not meant for it and do not count.

    Args:
        folder: The environment's folder.
        exclude: More patterns, as in a ``.gitignore``; they win over all others.
    """

    def __init__(self, folder: Path, exclude: Sequence[str] = ()) -> None:
        self._folder = folder.resolve()
        self._always = GitIgnoreSpec.from_lines([*_ALWAYS_EXCLUDED, *exclude])
        self._patterns = cache(_patterns_of)
        repository = find_repository(self._folder)
        self._top = self._folder
        if repository is not None and not self._is_ignored(self._folder, repository, is_folder=True):
            self._top = repository

    def excludes(self, path: PurePosixPath, *, is_folder: bool = False) -> bool:
        """Whether a path, relative to the folder, is left out."""
        return self._excludes(path, is_folder=is_folder) is True

    def keeps(self, path: PurePosixPath) -> bool:
        """Whether an exception, such as ``!key.pem``, names a file: then it is meant to be published."""
        return self._excludes(path, is_folder=False) is False

    def _excludes(self, path: PurePosixPath, *, is_folder: bool) -> bool | None:
        by_name = self._always.check_file(f"{path}{'/' * is_folder}").include
        if by_name is not None:
            return by_name
        return self._is_ignored(self._folder / path, self._top, is_folder=is_folder)

    def _is_ignored(self, path: Path, top: Path, *, is_folder: bool) -> bool | None:
        """Return what the last pattern that matches says; None if none does."""
        is_ignored = None
        for above in reversed(path.parents):
            if above.is_relative_to(top):
                name = f"{path.relative_to(above).as_posix()}{'/' * is_folder}"
                match = self._patterns(above).check_file(name).include
                is_ignored = is_ignored if match is None else match
        return is_ignored


def _patterns_of(folder: Path) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(read_patterns(folder / ".gitignore"))
