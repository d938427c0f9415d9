"""The memory of processes and the size of folders, in bytes."""

from __future__ import annotations

import contextlib
import os
import resource

TOO_MUCH = 2**62
# What a socket's buffer holds at most, if its size is not changed.
_SOCKET_BYTES = 2**18


def resident(pid: int) -> int:
    """Return a process's memory, including what it shares with others; 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """Return a process's memory, with its part of what it shares; if that is unknown, with all of it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident(pid)


def in_sockets(pid: int, most: int) -> int:
    """Return the memory that a process's sockets may hold, which is not the process's own; 0 if it is gone.

    Args:
        pid: The process.
        most: How many it has if that cannot be determined.
    """
    folder = f"/proc/{pid}/fd"
    count = 0
    try:
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
    except FileNotFoundError:
        return 0
    except OSError:
        count = most
    return count * _SOCKET_BYTES


def in_network() -> int:
    """Return the bytes that wait in the network sockets of this process's namespace."""
    total = 0
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/net/{protocol}") as file:
            for line in file.readlines()[1:]:
                sending, _, receiving = line.split()[4].partition(":")
                total += int(sending, 16) + int(receiving, 16)
    return total


def of_folder(folder: str) -> tuple[int, int]:
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


def threads_of(user: int) -> int:
    """Count the threads of a user: the kernel counts all of them toward a program's limit."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == user or name == str(os.getpid()):
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count
