"""Measure and remove a folder that a hostile program has filled, however deep and whatever its modes.

No process writes to it meanwhile, so a name that was a folder a moment ago still is one.
"""

from __future__ import annotations

import errno
import os

TOO_MUCH = 2**62


def usage(folder: str) -> tuple[int, int]:
    """Return the bytes on disk and the entries below a folder; `TOO_MUCH` if they cannot be determined.

    So a program gains nothing by hiding files in a folder without permissions, or nested deeper than a path
    can express.
    """
    size = entries = 0
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as listing:
                for entry in listing:
                    entries += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:
            return TOO_MUCH, TOO_MUCH
    return size, entries


def empty(folder: str) -> None:
    """Remove everything in a folder, without following links."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        number, unused = 0, os.urandom(8).hex()
        while entries := _entries(descriptor):
            for name, is_folder in entries:
                if not is_folder:
                    os.unlink(name, dir_fd=descriptor)
                    continue
                # Move its entries up one level, so that no depth is too great.
                os.chmod(name, 0o700, dir_fd=descriptor)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                try:
                    for child, is_inner_folder in _entries(inner):
                        if is_inner_folder:
                            os.chmod(child, 0o700, dir_fd=inner)  # else it cannot be moved
                        number += 1
                        os.rename(child, f"{unused}-{number}", src_dir_fd=inner, dst_dir_fd=descriptor)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def remove(folder: str) -> None:
    """Remove a folder with everything in it."""
    try:
        os.chmod(folder, 0o700)
        empty(folder)
        os.rmdir(folder)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _entries(descriptor: int) -> list[tuple[str, bool]]:
    with os.scandir(descriptor) as listing:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
