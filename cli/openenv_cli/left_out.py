"""Which files of an environment's folder stay at home: neither an image nor the Hub gets them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from openenv_cli.texts import read_patterns

# Neither secrets nor what is made anew belong into it.
_ALWAYS = (
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


class LeftOut:
    """What stays at home: what git would ignore, caches, virtual environments and ``.env`` files.

    As git does it, each ``.gitignore`` counts for what is below it, and the nearest has the last word: those
    in the folder, and those above it up to the root of its repository. Where these ignore the folder as a
    whole, it was not meant by them, and they do not count.

    Args:
        folder: The environment's folder.
        exclude: Further patterns, as in a ``.gitignore``; they count before all others.
    """

    def __init__(self, folder: Path, exclude: Sequence[str] = ()) -> None:
        self._folder = folder.resolve()
        self._first = GitIgnoreSpec.from_lines([*_ALWAYS, *exclude])
        self._patterns = cache(_patterns_of)
        repository = repository_of(self._folder)
        self._top = self._folder
        if repository is not None and not self._is_ignored(self._folder, repository, is_folder=True):
            self._top = repository

    def has(self, path: PurePosixPath, *, is_folder: bool = False) -> bool:
        """Whether a path, relative to the folder, stays at home."""
        by_name = self._first.check_file(f"{path}{'/' * is_folder}").include
        if by_name is not None:
            return by_name
        return self._is_ignored(self._folder / path, self._top, is_folder=is_folder)

    def _is_ignored(self, path: Path, top: Path, *, is_folder: bool) -> bool:
        is_ignored = False
        for above in reversed(path.parents):
            if above.is_relative_to(top):
                name = f"{path.relative_to(above).as_posix()}{'/' * is_folder}"
                said = self._patterns(above).check_file(name).include
                is_ignored = is_ignored if said is None else said
        return is_ignored


def repository_of(folder: Path) -> Path | None:
    """The root of the repository that a folder is in, or is; None where it is in none."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def _patterns_of(folder: Path) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(read_patterns(folder / ".gitignore"))
