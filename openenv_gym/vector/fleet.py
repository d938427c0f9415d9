"""What drives the slots of a vector environment: the same interface for both versions of the protocol."""

from __future__ import annotations

import math
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium.vector import AutoresetMode

from openenv_gym.errors import CapacityError, DeadlineExceededError, SessionLostError
from openenv_gym.metrics import Times
from openenv_gym.transport.old_connection import Connection
from openenv_gym.vector.batch import Batch

# Which slots are meant: bool of shape (count,).
Mask = np.ndarray[Any, Any]


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
        slots: The slots that may owe it.
        connection: Where it comes from; None where nothing could be asked.
        read: Reads it, or notes what hinders it.
        due_at: Not before then, by ``time.monotonic()``, where nothing could be asked.
        late_at: The end of the time for the answer, by ``time.perf_counter()``.
        expire: Gives the answer up, after that time.
    """

    slots: Sequence[int]
    connection: Connection | None
    read: Callable[[], None]
    due_at: float = 0.0
    late_at: float = math.inf
    expire: Callable[[], None] = lambda: None


class Failure(NamedTuple):
    """What failed in some slots, and was not raised yet.

    Attributes:
        error: What to raise.
        slots: The slots; none where it cannot be told which.
    """

    error: Exception
    slots: Sequence[int]


class Fleet(Protocol):
    """The sessions of a vector environment.

    What fails in one slot while it is asked or read is kept, so that the others are asked and read all the
    same; `collect` raises it.

    Attributes:
        batch: Where the results are written.
        failures: What failed and was not raised yet.
        times: What is known of the requests that were read since the last `collect`, with their slots.
    """

    batch: Batch
    failures: list[Failure]
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

    def sources(self, slots: Mask) -> list[Source]:
        """Where the answers come from that some slots owe; others may come with them."""

    def give_up_lost(self, slots: Mask) -> None:
        """Expects nothing more of those slots whose connections are closed."""

    def drop(self, slots: Sequence[int]) -> None:
        """Closes the connections of some slots, and asks for nothing more for them."""

    def states(self) -> list[Any]:
        """Where each slot's session stands."""

    def render(self) -> list[Any]:
        """What the server renders of each slot."""

    def close(self) -> None:
        """Ends all sessions."""


def collect(fleet: Fleet, slots: Mask | None = None) -> None:
    """Reads answers until some slots owe none. Those of other slots that come before are kept.

    Args:
        fleet: The sessions.
        slots: The slots; None is all of them.

    Raises:
        EndpointError: What failed in one of them, with its number; the others have been read.
        RemoteError: What the server answered of one; the same holds.
    """
    owes = fleet.batch.owes
    while sources := fleet.sources(owes if slots is None else owes & slots):
        # Those that wait for a session come last, so that they hold back none of the others.
        for source in sorted(sources, key=lambda source: source.due_at):
            if source.due_at:
                time.sleep(max(source.due_at - time.monotonic(), 0))
            in_full(fleet, source.slots, source.read)
    if fleet.failures:
        raise_failures(fleet, slots)


def collect_first(fleet: Fleet, min_ready: int, timeout_s: float | None) -> None:
    """Reads answers until enough slots are ready.

    Args:
        fleet: The sessions.
        min_ready: How many to wait for.
        timeout_s: The time to wait for them, in seconds; None leaves it to the time for each message.

    Raises:
        DeadlineExceededError: Not enough in time. What is ready stays ready, and what is owed stays owed.
        EndpointError: What failed in a slot, with its number.
        RemoteError: What the server answered of one.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (ready := int(fleet.batch.is_ready.sum())) < min_ready and not fleet.failures:
        sources = fleet.sources(fleet.batch.owes)
        at_hand = [source for source in sources if _is_at_hand(source)] or _wait(sources, deadline)
        if not at_hand:
            raise DeadlineExceededError(
                f"{ready} of the {min_ready} slots that were asked for are ready after {timeout_s:g} s. "
                "The others are still under way; a later recv gets them"
            )
        for source in at_hand:
            in_full(fleet, source.slots, source.read)
    if fleet.failures:
        raise_failures(fleet)


def in_full(fleet: Fleet, slots: Sequence[int], ask_or_read: Callable[[], None]) -> None:
    """Asks for something of some slots, or reads it, to the end.

    Where it does not come to that (Ctrl-C, say), those of them that owe something lose their sessions, which
    is a failure: what was asked for may be done all the same, and its answer be taken for another one's.
    """
    try:
        ask_or_read()
    except BaseException:
        owing = [slot for slot in slots if fleet.batch.owes[slot]]
        if owing:
            fleet.drop(owing)
            fleet.batch.fail(owing, is_lost=True)
            fleet.failures.append(Failure(_interrupted(owing), owing))
        raise


def named(slots: Sequence[int]) -> str:
    """Some slots, ascending, in a sentence: briefly, and at once, however many there are."""
    first, count = slots[0], len(slots)
    if count == 1:
        return f"slot {first}"
    if count == 2:
        return f"slots {first} and {slots[1]}"
    if slots[-1] - first == count - 1:
        return f"slots {first} to {slots[-1]}"
    return f"slots {first}, {slots[1]} and {count - 2} more"


def _interrupted(slots: Sequence[int]) -> SessionLostError:
    return SessionLostError(f"An interrupt has ended the sessions of {named(slots)}.")


def raise_failures(fleet: Fleet, slots: Mask | None = None) -> None:
    """Raises what failed in some slots, None being all, and was not raised yet.

    Where there are several failures, a lack of free sessions comes first, with how many there are.
    """
    errors = [error for error, failed in fleet.failures if slots is None or not failed or slots[failed].any()]
    forget_failures(fleet, slots)
    refused = [error for error in errors if isinstance(error, CapacityError)]
    if refused:
        refused[0].refused = len(refused)
    for error in refused or errors:
        raise error


def forget_failures(fleet: Fleet, slots: Mask | None = None) -> None:
    """Forgets what failed in some slots; None is all of them."""
    if slots is None:
        fleet.failures = []
    else:
        left = [(error, [slot for slot in failed if not slots[slot]]) for error, failed in fleet.failures]
        fleet.failures = [Failure(error, failed) for error, failed in left if failed]


def _is_at_hand(source: Source) -> bool:
    """Whether there is nothing to wait for: an answer, or a failure that reading tells of."""
    if source.connection is None:
        return source.due_at <= time.monotonic()
    return not source.connection.is_open or source.connection.has_more


def _wait(sources: Sequence[Source], deadline: float | None) -> list[Source]:
    """The sources at which something has come, or that are due or late; none until the deadline."""
    now = time.monotonic()
    late_in = min(source.late_at for source in sources) - time.perf_counter()
    until = min((source.due_at for source in sources if source.connection is None), default=math.inf)
    until = min(until, now + late_in, math.inf if deadline is None else deadline)
    with selectors.DefaultSelector() as selector:
        for source in sources:
            if source.connection is not None:
                selector.register(source.connection.raw_socket, selectors.EVENT_READ, source)
        while True:
            events = selector.select(None if until == math.inf else max(until - time.monotonic(), 0))
            if not events:
                due = [source for source in sources if source.connection is None and source.due_at <= until]
                late = [source for source in sources if source.late_at <= time.perf_counter()]
                return due + [source._replace(read=source.expire) for source in late]
            for key, _ in events:
                key.data.connection.answer_pings()  # which may be all that came
            if answers := [key.data for key, _ in selector.select(0)]:
                return answers
