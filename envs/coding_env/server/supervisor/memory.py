"""The memory of a process, in bytes; 0 if the process is gone, or cannot be inspected."""

from __future__ import annotations

import resource


def resident(pid: int) -> int:
    """Return a process's memory, including what it shares with others."""
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
