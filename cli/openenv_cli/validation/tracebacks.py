"""Tracebacks in a log, without the frames that are not the environment's author's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import PurePath

_HEADER = re.compile(r"[\s|+]*(Exception Group )?Traceback \(most recent call last\):$")
_FRAME = re.compile(r'(?P<indent>[\s|]*  )File "(?P<file>[^"]+)", line \d+(, in .+)?$')
_CARETS = re.compile(r"[\s|]*[~^]+[\s~^]*$")
_OF_PYTHON = re.compile(r"python\d\.\d+t?$")
_INSTALLED = ("site-packages", "dist-packages")
_FRAMEWORK = frozenset({"openenv_server", "openenv_gym", "openenv_cli"})


def own_frames(log: str, packages: Collection[str] = ()) -> str:
    """A log in which each traceback has the author's own frames and its exception alone.

    Args:
        log: The log.
        packages: The names of the author's packages, which may be installed as others are.
    """
    return "\n".join(_kept(log.splitlines(), frozenset(packages)))


def _kept(lines: list[str], packages: frozenset[str]) -> Iterator[str]:
    # The indentation of what belongs to the frame above; None where there is none.
    indent: str | None = None
    is_own = False
    for line in lines:
        if frame := _FRAME.match(line):
            indent, is_own = f"{frame['indent']}  ", _is_own(frame["file"], packages)
            if is_own:
                yield line
        elif indent is not None and line.startswith(indent):
            if is_own and not _CARETS.match(line):
                yield line
        elif not _HEADER.match(line):
            indent = None
            yield line


def _is_own(file: str, packages: frozenset[str]) -> bool:
    parts = PurePath(file).parts
    if file.startswith("<") or _FRAMEWORK & set(parts):
        return False
    for place in _INSTALLED:
        if place in parts:
            return parts[parts.index(place) + 1] in packages
    return not any(_OF_PYTHON.match(part) for part in parts)
