"""What drives the slots of a vector environment: the same interface for both versions of the protocol."""

from __future__ import annotations

import math
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from gymnasium.vector import AutoresetMode

from openenv_gym.errors import CapacityError, DeadlineExceededError
from openenv_gym.metrics import Times
from openenv_gym.transport.connection import Connection
from openenv_gym.vector.batch import Batch


class Policy(NamedTuple):
    """What a vector environment was told to do with its slots.

    Attributes:
        autoreset_mode: When a slot whose episode has ended is reset.
        max_episode_steps: Truncates episodes after as many steps.
        truncates: Whether an episode whose session is lost is truncated, instead of being an error.
        capacity_timeout_s: How long a new session is waited for, in seconds.
    """

    autoreset_mode: AutoresetMode
    max_episode_steps: int | None
    truncates: bool
    capacity_timeout_s: float


class Source(NamedTuple):
    """Where an answer is owed.

    Attributes:
        connection: Where it comes from; None where nothing could be asked.
        read: Reads it, or notes what hinders it.
        due_at: Not before then, by ``time.monotonic()``, where nothing could be asked.
    """

    connection: Connection | None
    read: Callable[[], None]
    due_at: float = 0.0


class Fleet(Protocol):
    """The sessions of a vector environment.

    What fails in one slot while it is asked or read is kept, so that the others are asked and read all the
    same; `collect` raises it.

    Attributes:
        batch: Where the results are written.
        failures: What failed since the last `collect`.
        times: What is known of the requests that were read since the last `collect`, with their slots.
    """

    batch: Batch
    failures: list[Exception]
    times: list[tuple[Any, Times]]

    def ask_reset(self, slots: list[int], seeds: Sequence[int | None], options: dict[str, Any]) -> None:
        """Asks for an episode in some slots."""

    def ask_step(self, slots: list[int], actions: Any, *, together: bool) -> None:
        """Sends actions, a batch of as many.

        Args:
            slots: The slots.
            actions: Their actions.
            together: Whether all of them will be waited for, so that one answer is enough.
        """

    def sources(self) -> list[Source]:
        """Where answers are owed."""

    def give_up_lost(self) -> None:
        """Expects nothing more from connections that are closed."""

    def states(self) -> list[Any]:
        """Where each slot's session stands."""

    def render(self) -> list[Any]:
        """What the server renders of each slot."""

    def close(self) -> None:
        """Ends all sessions."""


def collect(fleet: Fleet, min_ready: int | None = None, timeout_s: float | None = None) -> None:
    """Reads answers until enough slots are ready.

    Where several slots failed, a lack of free sessions comes first: its details have the number ``refused``.

    Args:
        fleet: The sessions.
        min_ready: How many to wait for; None waits for all that owe something.
        timeout_s: The time to wait for them, in seconds; None leaves it to the time for each message.

    Raises:
        DeadlineExceededError: Not enough in time. What is ready stays ready, and what is owed stays owed.
        EndpointError: A slot's own failure, with the slot's number; the others have been read.
        RemoteError: What the server answered of a slot; the same holds.
    """
    if min_ready is None:
        while sources := fleet.sources():
            # Those that wait for a session come last, so that they hold back none of the others.
            for source in sorted(sources, key=lambda source: source.due_at):
                if source.due_at:
                    time.sleep(max(source.due_at - time.monotonic(), 0))
                source.read()
    else:
        _read_first(fleet, min_ready, timeout_s)
    if fleet.failures:
        failures, fleet.failures = fleet.failures, []
        refused = [error for error in failures if isinstance(error, CapacityError)]
        if refused:
            refused[0].details["refused"] = len(refused)
        raise (refused or failures)[0]


def _read_first(fleet: Fleet, min_ready: int, timeout_s: float | None) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (ready := int(fleet.batch.is_ready.sum())) < min_ready and not fleet.failures:
        sources = fleet.sources()
        at_hand = [source for source in sources if _is_at_hand(source)] or _wait(sources, deadline)
        if not at_hand:
            raise DeadlineExceededError(
                f"{ready} of the {min_ready} slots that were asked for are ready after {timeout_s:g} s. "
                "The others are still under way; a later recv gets them"
            )
        for source in at_hand:
            source.read()


def _is_at_hand(source: Source) -> bool:
    """Whether there is nothing to wait for: an answer, or a failure that reading tells of."""
    if source.connection is None:
        return source.due_at <= time.monotonic()
    return not source.connection.is_open or source.connection.has_more


def _wait(sources: Sequence[Source], deadline: float | None) -> list[Source]:
    """The sources at which something has come, or that are due; none if nothing has until the deadline."""
    until = min((source.due_at for source in sources if source.connection is None), default=math.inf)
    until = min(until, math.inf if deadline is None else deadline)
    with selectors.DefaultSelector() as selector:
        for source in sources:
            if source.connection is not None:
                selector.register(source.connection.raw_socket, selectors.EVENT_READ, source)
        while True:
            events = selector.select(None if until == math.inf else max(until - time.monotonic(), 0))
            if not events:
                return [source for source in sources if source.connection is None and source.due_at <= until]
            for key, _ in events:
                key.data.connection.answer_pings()  # which may be all that came
            if answers := [key.data for key, _ in selector.select(0)]:
                return answers
