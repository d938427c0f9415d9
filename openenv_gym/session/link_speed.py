"""When compression pays: the measured speed of the network under one connection."""

from __future__ import annotations

from collections import deque

# Messages of fewer bytes say more about the round trip than about the speed, and are not worth compressing.
MEASURED_SIZE = 1 << 16
# Slower networks than this, in bytes per second, are slow: 400 Mbit/s. Compressing and decompressing takes a
# tenth of the time that bytes take there, or less.
_SLOW = 50e6
# So many messages in a row have to be slow, since a busy machine delays one now and then.
_IN_A_ROW = 3
# A slow network is measured again once so many times as long as the last measurement took have passed.
_PAUSE = 100


class LinkSpeed:
    """Decides whether to ask for compressed messages. All times are by one clock, in seconds."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_IN_A_ROW)  # bytes per second
        self._measure_at = 0.0

    def is_slow(self, now: float) -> bool:
        """Whether the network is known to be slow, and need not be measured again yet."""
        return len(self._last) == _IN_A_ROW and max(self._last) < _SLOW and now < self._measure_at

    def measure(self, size: int, seconds: float, now: float) -> None:
        """Add a message that was not compressed.

        Args:
            size: Its size in bytes.
            seconds: How long it was waited for, without what the server took for it.
            now: The time.
        """
        if size >= MEASURED_SIZE:
            self._last.append(size / max(seconds, 1e-9))
            self._measure_at = now + seconds * _PAUSE
