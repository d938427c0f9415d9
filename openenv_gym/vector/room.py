"""How much room the servers have for sessions, and what is said where it is too little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from openenv_gym.errors import CapacityError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Capacity as Room
from openenv_gym.transport.refusals import capacity_error


class Survey(NamedTuple):
    """What servers answered that were asked for their room.

    Attributes:
        rooms: The room on those that answered; None where one does not say.
        away: Those that did not answer.
        are_all: Whether these are all servers that there will be.
    """

    rooms: Mapping[Endpoint, Room | None]
    away: Sequence[Endpoint]
    are_all: bool

    @property
    def in_all(self) -> int | None:
        """The sessions of those that answered, in use or not; None where one does not say."""
        told = [room.total for room in self.rooms.values() if room is not None]
        return sum(told) if told and len(told) == len(self.rooms) else None

    def never_has(self, count: int) -> bool:
        """Whether there is no use in waiting for so many sessions."""
        in_all = self.in_all
        return in_all is not None and count > in_all and self.are_all and not self.away


def too_few(servers: str, survey: Survey, count: int, available: int) -> CapacityError:
    """The error for sessions that are not to be had.

    Args:
        servers: The servers as the subject of a sentence, with its verb: "http://localhost:8000 has".
        survey: What they answered.
        count: How many sessions were asked for.
        available: How many there are.
    """
    in_all = survey.in_all
    if survey.never_has(count):
        return capacity_error(
            f"{servers} {in_all} sessions in all, and {count} were asked for",
            "Serve more (`openenv serve --max-sessions`, or MAX_CONCURRENT_ENVS), or name more servers.",
            count,
            {},
            available,
            in_all,
        )
    finding = f"{servers} {available} of the {count} sessions that were asked for"
    if survey.away:
        why = f"{' and '.join(map(str, survey.away))} did not answer."
        if in_all is not None:
            why += f" The others have {in_all} sessions in all."
    elif in_all is not None and in_all < count:
        why = f"There are {in_all} in all now."
    else:
        why = "The others are in use."
    return capacity_error(finding, why, count, {}, available)
