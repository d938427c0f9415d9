"""Finds sessions whose client is silent, on a connection that other clients use."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from openenv_server.connections.slot import Slot
from openenv_server.sessions.session import StepCounts

# How often to look, as a part of the session timeout.
_PART = 10


class IdleSlots:
    """Watches the slots of one connection. Their steps cost nothing: it compares how many each has taken.

    Args:
        timeout_s: The session timeout.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._next_at = 0.0
        self._seen: dict[Slot, tuple[StepCounts, float]] = {}  # with the time of the last change

    def find(self, slots: Iterable[Slot]) -> list[Slot]:
        """The slots that have not been used for the whole session timeout. Call it again and again."""
        now = monotonic()
        if now < self._next_at:
            return []
        self._next_at = now + self._timeout_s / _PART
        before, self._seen = self._seen, {}
        for slot in slots:
            counts, last = slot.session.counts(), before.get(slot)
            is_unchanged = last is not None and last[0] == counts and not slot.is_busy
            self._seen[slot] = last if last is not None and is_unchanged else (counts, now)
        return [slot for slot, (_, since) in self._seen.items() if now - since > self._timeout_s]
