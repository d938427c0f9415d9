"""What was answered last in each slot, for a client whose socket broke before the answer came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from openenv_gym.wire.v2 import SlotError
from openenv_server.lanes.slot import Outcome

Done = Outcome | SlotError


class Answered(Protocol):
    """A reset or a step, whole or under way."""

    def repeat(self, slots: Sequence[int]) -> None:
        """Answers again for those of some slots that are done. What is not will be answered when it is."""


class History:
    """The last reset or step of each slot."""

    def __init__(self) -> None:
        self._requests: dict[int, Answered] = {}
        self._slots: dict[int, Sequence[int]] = {}

    def keep(self, request_id: int, slots: Sequence[int], answered: Answered) -> None:
        """Keeps a request, and forgets those whose slots have all had a newer one since."""
        for older, its_slots in list(self._slots.items()):
            left = [] if its_slots == slots else sorted(set(its_slots).difference(slots))
            if left:
                self._slots[older] = left
            else:
                del self._slots[older], self._requests[older]
        self._slots[request_id] = slots
        self._requests[request_id] = answered

    def replace(self, old: Answered, new: Answered) -> None:
        """Has something else answer again for a request from now on."""
        for request_id, answered in self._requests.items():
            if answered is old:
                self._requests[request_id] = new

    def repeat(self, missing: Sequence[tuple[int, list[int]]]) -> None:
        """Answers again for the slots of some requests."""
        for request_id, slots in missing:
            answered = self._requests.get(request_id)
            if answered is not None:
                answered.repeat(slots)

    def unknown(self, missing: Sequence[tuple[int, list[int]]]) -> list[int]:
        """Those of the requests that never came."""
        return [request_id for request_id, _ in missing if request_id not in self._requests]
