"""Answers kept for a client whose connection broke before it received them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Replayable(Protocol):
    """A request whose answers can be sent again."""

    def replay(self, slots: Sequence[int]) -> None:
        """Send the answers of these slots again, as far as they are done. The others follow once they are."""

    def keep(self, slots: Sequence[int]) -> None:
        """Forget the answers of all other slots, which the client has received."""


class _Kept:
    """A request that is kept, as the last one of some slots.

    Attributes:
        request_id: Its id.
        slots: The slots that it named.
        request: The request.
        left: How many of its slots have no newer request.
        most_kept: How many of its slots it keeps answers of.
    """

    __slots__ = ("left", "most_kept", "request", "request_id", "slots")

    def __init__(self, request_id: int, slots: Sequence[int], request: Replayable) -> None:
        self.request_id = request_id
        self.slots = slots
        self.request = request
        self.left = self.most_kept = len(slots)


class ReplayCache:
    """The last request of every slot.

    A client sends the next request of a slot only once it has the answer to the last one, so a new request
    acknowledges the answers of its slots. Requests in flight in different slots are all kept.
    """

    def __init__(self) -> None:
        self._latest: dict[int, _Kept] = {}  # by slot
        self._kept: dict[int, _Kept] = {}  # by request

    def add(self, request_id: int, slots: Sequence[int], request: Replayable) -> None:
        """Add a request, and forget those whose slots all have a newer one."""
        kept = self._latest.get(slots[0]) if slots else None
        if kept is not None and kept.left == len(slots) and (kept.slots is slots or kept.slots == slots):
            # The same slots as before, as in a vector environment: nothing changes for each of them.
            del self._kept[kept.request_id]
            kept.request_id, kept.request, kept.most_kept = request_id, request, len(slots)
        else:
            self.forget(slots)
            kept = _Kept(request_id, slots, request)
            self._latest.update(dict.fromkeys(slots, kept))
        self._kept[request_id] = kept

    def forget(self, slots: Sequence[int]) -> None:
        """Forget the last requests of some slots, whose answers the client needs no more."""
        for slot in slots:
            kept = self._latest.pop(slot, None)
            if kept is None:
                continue
            kept.left -= 1
            if not kept.left:
                del self._kept[kept.request_id]
            elif kept.left <= kept.most_kept // 2:  # so that forgetting takes constant time for each slot
                kept.most_kept = kept.left
                kept.request.keep([other for other in kept.slots if self._latest.get(other) is kept])

    def clear(self) -> None:
        """Forget all requests."""
        self._latest.clear()
        self._kept.clear()

    def latest_of(self, slot: int) -> int | None:
        """The id of a slot's last request. Thread-safe."""
        kept = self._latest.get(slot)
        return None if kept is None else kept.request_id

    def replace(self, old: Replayable, new: Replayable) -> None:
        """Let another object replay the answers of a request from now on."""
        for kept in self._kept.values():
            if kept.request is old:
                kept.request = new

    def replay(self, missing: Sequence[tuple[int, list[int]]]) -> None:
        """Answer again.

        Args:
            missing: Requests by id, each with the slots whose answers the client did not receive.
        """
        for request_id, slots in missing:
            kept = self._kept.get(request_id)
            if kept is not None:
                kept.request.replay(slots)

    def unknown(self, missing: Sequence[tuple[int, list[int]]]) -> list[int]:
        """The ids of those requests that never arrived."""
        return [request_id for request_id, _ in missing if request_id not in self._kept]
