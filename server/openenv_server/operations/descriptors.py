"""File descriptors: a process that has none left accepts no connection, and cannot even say so."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path

# As many are kept free as an eighth of the limit, but no more than this.
MOST_RESERVED = 64
# For how long after a shortage the server is degraded, and how often it is logged, in seconds.
MEMORY_S = 10.0
# For how long a count is used, in seconds.
_COUNT_S = 0.1
_FOLDERS = (Path("/proc/self/fd"), Path("/dev/fd"))

log = logging.getLogger("openenv_server")


class DescriptorMonitor:
    """Notices, logs and remembers when this process runs short of descriptors. Use it in one thread."""

    def __init__(self) -> None:
        self._open, self._counted_at = 0, -math.inf
        self._short_at = self._logged_at = -math.inf
        self._reason = ""

    def opened(self) -> int:
        """Note one more open descriptor; return how many too many there are. 0 if they do not run short."""
        self._open += 1
        return self.excess()

    def excess(self) -> int:
        """How many descriptors are open beyond those that leave a reserve; 0 if they do not run short."""
        limit = _limit()
        most = limit - min(MOST_RESERVED, limit // 8)
        now = time.monotonic()
        # A count takes longer the more there are, so not for each one.
        if self._open > most or now - self._counted_at > _COUNT_S:
            self._open, self._counted_at = _count(), now
        if self._open <= most:
            return 0
        self._short_at = now
        self._reason = f"file descriptors run short: {self._open} of {limit} are open (ulimit -n)"
        if now - self._logged_at > MEMORY_S:
            log.warning(
                "%s. Connections without a request are closed, and new ones may be refused. Raise the limit, "
                "or find what keeps so many open",
                self._reason,
            )
            self._logged_at = now
        return self._open - most

    def shortage(self) -> str | None:
        """The reason why a server is degraded, if descriptors run short or did so a moment ago."""
        self.excess()
        return self._reason if time.monotonic() - self._short_at <= MEMORY_S else None


def _limit() -> int:
    """The most descriptors that this process may have open, as by ``ulimit -n``."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _count() -> int:
    """How many descriptors this process has open; 0 if the system does not tell."""
    for folder in _FOLDERS:
        try:
            # Since Linux 6.2 the number is the folder's size, and takes no time to read.
            known = folder.stat().st_size if sys.platform == "linux" else 0
            return known or sum(1 for _ in folder.iterdir())
        except FileNotFoundError:
            continue
        except OSError:  # none is left to read the folder with
            return _limit()
    return 0


# One for the process, as the limit is the process's.
descriptors = DescriptorMonitor()
