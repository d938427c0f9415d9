"""Answers kept for a client whose connection broke before it received them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Replayable(Protocol):
    """A request whose answers can be sent again."""

    def replay(self, slots: Sequence[int]) -> None:
        """Send the answers of these slots again, as far as they are done. The others follow once they are."""


class ReplayCache:
    """The last request of every slot.

    A client sends the next request of a slot only once it has the answer to the last one, so a new request
    acknowledges the answers of its slots. Requests in flight in different slots are all kept.
    """

    def __init__(self) -> None:
        self._requests: dict[int, Replayable] = {}
        self._slots: dict[int, Sequence[int]] = {}

    def add(self, request_id: int, slots: Sequence[int], request: Replayable) -> None:
        """Add a request, and forget those whose slots all have a newer one."""
        for older, its_slots in list(self._slots.items()):
            are_same = its_slots is slots or its_slots == slots
            left = [] if are_same else sorted(set(its_slots).difference(slots))
            if left:
                self._slots[older] = left
            else:
                del self._slots[older], self._requests[older]
        self._slots[request_id] = slots
        self._requests[request_id] = request

    def latest_of(self, slot: int) -> int | None:
        """The id of a slot's last request. Thread-safe."""
        for request_id, slots in reversed(list(self._slots.items())):
            if slot in slots:
                return request_id
        return None

    def replace(self, old: Replayable, new: Replayable) -> None:
        """Let another object replay the answers of a request from now on."""
        for request_id, request in self._requests.items():
            if request is old:
                self._requests[request_id] = new

    def replay(self, missing: Sequence[tuple[int, list[int]]]) -> None:
        """Answer again.

        Args:
            missing: Requests by id, each with the slots whose answers the client did not receive.
        """
        for request_id, slots in missing:
            request = self._requests.get(request_id)
            if request is not None:
                request.replay(slots)

    def unknown(self, missing: Sequence[tuple[int, list[int]]]) -> list[int]:
        """The ids of those requests that never arrived."""
        return [request_id for request_id, _ in missing if request_id not in self._requests]
