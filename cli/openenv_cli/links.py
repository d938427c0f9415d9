"""Links in an environment's folder: only those that lead to published files of the same folder are copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from openenv_cli.files import IgnoreRules


def link_problem(path: Path, folder: Path, rules: IgnoreRules) -> str | None:
    """Why a link cannot be published; None if it can, or if it is not a link.

    A hard link is not told from any other file.

    Args:
        path: A file or folder in the folder.
        folder: The environment's folder, resolved.
        rules: What is left out of it.
    """
    if not path.is_symlink():
        return None
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return f"{path} is a link that leads nowhere"
    if not target.is_relative_to(folder):
        return f"{path} is a link to {target}, outside the folder"
    for above in path.parents:
        if above.resolve().is_relative_to(target):
            return f"{path} is a link to {target}, which contains the link itself"
        if above == folder:
            break
    if is_left_out(target, folder, rules):
        return f"{path} is a link to {target}, which is left out"
    return None


def is_left_out(path: Path, folder: Path, rules: IgnoreRules) -> bool:
    """Whether the rules leave out a path of the folder, or a folder that it is in."""
    within = PurePosixPath(path.relative_to(folder).as_posix())
    parents = [part for part in within.parents if part != PurePosixPath()]
    return rules.excludes(within, is_folder=path.is_dir()) or any(
        rules.excludes(part, is_folder=True) for part in parents
    )


def link_problems(folder: Path, rules: IgnoreRules) -> Iterator[str]:
    """Yield the problems of all links of a folder that are not left out."""
    for where, folders, names in os.walk(folder):
        here = Path(where)
        within = PurePosixPath(here.relative_to(folder).as_posix())
        folders[:] = [name for name in folders if not rules.excludes(within / name, is_folder=True)]
        links = [here / name for name in folders]
        links += [here / name for name in names if not rules.excludes(within / name)]
        yield from filter(None, (link_problem(path, folder, rules) for path in sorted(links)))
