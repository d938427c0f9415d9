"""Becomes a command that ends when the process ends that started it, on Linux.

A script of the standard library alone. What it asks of the kernel outlives ``exec``, see prctl(2). Its
arguments: the process id of the one that starts it, and the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Replaces this process by the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return  # it has ended already
    os.execv(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
