"""How much memory a process uses, in bytes; 0 where it is gone, or cannot be looked at."""

from __future__ import annotations

import resource


def resident(pid: int) -> int:
    """A process's memory, with what it shares with others."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def proportional(pid: int) -> int:
    """A process's memory, with its part of what it shares; all of that where it cannot be told."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident(pid)
