"""Memory that the C library returns to the system."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

# The parameter of glibc's mallopt, and its value: the free bytes at the end of a heap that it keeps at most.
_M_TRIM_THRESHOLD = -1
_KEPT_BYTES = 4 << 20
_VARIABLE = "MALLOC_TRIM_THRESHOLD_"


def return_free_memory() -> None:
    """Have glibc return blocks of 128 KiB and more to the system as soon as they are free.

    By default it raises that limit, up to 32 MiB, when such a block is freed. Large messages then share heaps
    with small objects that stay, and the holes that they leave are never returned. A fixed trim threshold
    keeps the limit as it is. One in the environment variable is respected; other C libraries have none.
    """
    if sys.platform != "linux" or _VARIABLE in os.environ:
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
