"""The backend of a vector environment: sends requests to the slots' sessions and reads the responses.

A slot goes from idle to pending when a reset or a step is sent, and to ready when its result is here. A slot
whose session is lost begins again in a new one, or fails, or its episode is truncated:

    send_reset ─► beginning ──result──► ready ◄──result── pending ◄─ send_step
                   │  ▲  └──no session: wait with backoff──┐  │
                   │  └────────────────────────────────────┘  │
                   └──── retries used up ──► failure ◄── session lost, "raise"
                                             truncated ◄── session lost, "truncate"
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate

from openenv_gym.env_spaces import EnvSpaces
from openenv_gym.errors import (
    CapacityError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    OpenEnvError,
    RemoteError,
    SessionLostError,
    SpaceError,
    WaitTimeoutError,
)
from openenv_gym.session.channel import Channel, Timeouts
from openenv_gym.session.reconnect import ReconnectBudget
from openenv_gym.session.recovery import LOSSES, ResetRetry, advise_truncation
from openenv_gym.session.responses import observation_misfit
from openenv_gym.session.session import Times
from openenv_gym.session.v2 import V2Channel
from openenv_gym.spaces.columns import column_of, select
from openenv_gym.transport.blocking import run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.vector.partition import Part, Partition, Share
from openenv_gym.vector.reads import PendingRead, is_available, wait
from openenv_gym.vector.results import Ready, ResultBuffer, named
from openenv_gym.vector.server_pool import ServerPool
from openenv_gym.wire import v2

# Which slots are meant: bool of shape (count,).
Mask = np.ndarray[Any, Any]

_AUTORESET: dict[AutoresetMode, v2.Autoreset] = {
    AutoresetMode.NEXT_STEP: "next_step",
    AutoresetMode.SAME_STEP: "same_step",
    AutoresetMode.DISABLED: "disabled",
}

log = logging.getLogger("openenv_gym")

# The reconnect budget when losses only truncate episodes and there are other servers to go to.
_RECONNECT_BUDGET_S = 3.0

# One object, because slots whose options are the same object are reset by one request.
_NO_OPTIONS: dict[str, Any] = {}

_IDLE_LOSS = "The session was lost while the slot was idle"


class EpisodeRules(NamedTuple):
    """What happens at the ends of episodes.

    Attributes:
        autoreset_mode: When a slot whose episode has ended is reset.
        max_episode_steps: Truncates episodes after so many steps.
        truncates: Whether the loss of a session truncates its episode, instead of raising.
        capacity_timeout_s: How long to wait for a new session, in seconds.
    """

    autoreset_mode: AutoresetMode
    max_episode_steps: int | None
    truncates: bool
    capacity_timeout_s: float


class Beginning(NamedTuple):
    """A pending reset of a slot.

    Attributes:
        seed: The seed.
        options: Further keywords for the environment's own reset.
        retry: Whether and when to try again.
        full: Servers that had no free session for it, and what they said.
    """

    seed: int | None
    options: dict[str, Any]
    retry: ResetRetry
    full: dict[Endpoint, OpenEnvError]


class Waiting(NamedTuple):
    """Slots that wait for a session, and when to try again, by ``time.monotonic()``."""

    slots: list[int]
    due_at: float


class Final(NamedTuple):
    """How an episode ended whose slot is being reset in the same step."""

    observation: Any
    info: dict[str, Any]
    reward: float
    terminated: bool
    truncated: bool


class Failure(NamedTuple):
    """An error that was not raised yet, and the slots it is about; none if that is unknown."""

    error: OpenEnvError
    slots: Sequence[int]


class Backend:
    """The sessions of a vector environment.

    An error in one slot is kept while the other slots are served; `collect` and `receive` raise it.

    Args:
        pool: The servers.
        env_spaces: Their spaces and codecs.
        results: Where results are written.
        rules: What happens at the ends of episodes.
        timeouts: How long to wait.
        ticket: The place in line for the first sessions, if they are waited for.
        explain: Called with each error before it is raised.

    Raises:
        CapacityError: The servers have too few free sessions. None was kept.
        ConfigurationError: They speak different versions of the protocol.
        EndpointError: None can be connected to.

    Attributes:
        failures: The errors that were not raised yet.
        raised: Those that the last call of `raise_failures` has raised or forgotten.
        times: The `Times` of steps that were read, with their rows, until the caller clears them.
    """

    def __init__(
        self,
        pool: ServerPool,
        env_spaces: EnvSpaces,
        results: ResultBuffer,
        rules: EpisodeRules,
        timeouts: Timeouts,
        *,
        ticket: v2.Ticket | None = None,
        explain: Callable[[OpenEnvError], None] | None = None,
    ) -> None:
        self.failures: list[Failure] = []
        self.raised: list[Failure] = []
        self.times: list[tuple[Any, Times]] = []
        self._results = results
        self._pool = pool
        self._rules = rules
        self._explain = explain
        self._action_codec = env_spaces.action
        self._actions = column_of(env_spaces.action)
        self._all = np.ones(results.count, np.bool_)
        self._step_of_all = f"the step of {named(results.all)}"
        # Memory that the observations may be views of: the connection receives into other memory meanwhile.
        self._lent = memoryview(b"")
        self._has_begun = False
        self._beginning: dict[int, Beginning] = {}
        self._waiting: list[Waiting] = []
        self._lost: set[int] = set()  # slots whose session was lost, until a reset
        self._finals: dict[int, Final] = {}
        self._steps = np.zeros(results.count, np.int64)  # of each episode, if the server does not count them
        placed = pool.connect(results.count, timeouts)
        self._speaks_v2 = placed[0][0].is_v2
        self._partition = Partition(
            results.count,
            pool,
            timeouts,
            speaks_v2=self._speaks_v2,
            autoreset=_AUTORESET[rules.autoreset_mode],
            max_episode_steps=rules.max_episode_steps,
            # The slots of other servers wait meanwhile; those of this one may begin again there.
            budget=ReconnectBudget(_RECONNECT_BUDGET_S if rules.truncates and pool.are_several else math.inf),
        )
        try:
            self._partition.open_all(placed, ticket)
        except BaseException:
            for connection, _ in placed:
                connection.hang_up()
            self.close()
            raise

    # --- requests -------------------------------------------------------------------------------------------

    def send_reset(self, slots: list[int], seeds: Sequence[int | None], options: dict[str, Any]) -> None:
        """Begin an episode in some slots."""
        try:
            self._results.mark_pending(slots)
            for slot, seed in zip(slots, seeds, strict=True):
                self._beginning[slot] = self._beginning_of(seed, options)
            self._begin(slots)
        except BaseException:
            self._abort_pending(slots)
            raise

    def send_step(self, slots: list[int], actions: Any, *, gather: bool) -> None:
        """Send an action to each of some slots.

        Args:
            slots: The slots.
            actions: A batch with one action per slot.
            gather: Whether all will be waited for, so that one response is enough.
        """
        try:
            self._send_step(slots, actions, gather)
        except BaseException:
            self._abort_pending(slots)
            raise

    def states(self) -> list[Any]:
        """Return the state of each slot."""
        return self._partition.states()

    def render(self) -> list[Any]:
        """Return the server's own picture of each slot."""
        return self._partition.render()

    def close(self) -> None:
        """End all sessions."""
        self._waiting.clear()
        self._partition.close()

    def forget_lost(self, slots: Mask) -> None:
        """Expect nothing more from some slots if their connections are closed."""
        truncates, pending = self._rules.truncates, self._results.pending
        for part in self._partition.parts:
            if not part.channel.is_open:
                # With "truncate", an idle slot is truncated by its next step.
                lost = [slot for slot in part.slots if slots[slot] and (pending[slot] or not truncates)]
                self._results.mark_failed(lost, is_lost=True)

    def forget_failures(self, slots: Mask) -> None:
        """Forget the errors of some slots that were not raised yet."""
        left = [(error, [slot for slot in failed if not slots[slot]]) for error, failed in self.failures]
        self.failures = [Failure(error, failed) for error, failed in left if failed]

    def raise_failures(self, slots: Mask) -> None:
        """Raise the first error of some slots that was not raised yet, and forget the others.

        A lack of free sessions comes first, with the number of slots that were refused.
        """
        self.raised = [
            failure for failure in self.failures if not failure.slots or slots[failure.slots].any()
        ]
        errors = [failure.error for failure in self.raised]
        self.forget_failures(slots)
        refused = [error for error in errors if isinstance(error, CapacityError)]
        if refused:
            refused[0].refused = len(refused)
        for error in refused or errors:
            if self._explain is not None:
                self._explain(error)
            raise error

    # --- responses ------------------------------------------------------------------------------------------

    def collect(self, slots: Mask | None = None, timeout_s: float | None = None) -> None:
        """Read responses until some slots, by default all, are no longer pending.

        Responses of other slots that arrive first are kept.

        Args:
            slots: The slots.
            timeout_s: How long to wait, in seconds; None waits as long as each response may take.

        Raises:
            WaitTimeoutError: Not all in time. Nothing is lost.
            EndpointError: A slot's connection failed; the others have been read.
            RemoteError: A slot's server refused; the others have been read.
        """
        pending = self._results.pending
        if timeout_s is not None:
            self._collect_in_time(self._all if slots is None else slots, timeout_s)
        while reads := self._pending_reads(pending if slots is None else pending & slots):
            # Slots that wait for a session come last, so that they hold back no other.
            for read in sorted(reads, key=lambda read: read.due_at) if self._waiting else reads:
                if read.due_at:
                    time.sleep(max(read.due_at - time.monotonic(), 0))
                if time.perf_counter() > read.late_at and not is_available(read):
                    # Another response was waited for meanwhile; this one is here, or is given up now.
                    read = (wait([read], time.monotonic()) or [read])[0]
                self._read_whole(read)
        self._has_begun = True
        if self.failures:
            self.raise_failures(self._all if slots is None else slots)

    def _collect_in_time(self, slots: Mask, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while reads := self._pending_reads(self._results.pending & slots):
            available = [read for read in reads if is_available(read)] or wait(reads, deadline)
            if not available:
                raise WaitTimeoutError(
                    f"Not all slots are ready after {timeout_s:g} s.", advice="Wait for them again."
                )
            for read in available:
                self._read_whole(read)

    def receive(self, min_ready: int, timeout_s: float | None) -> Ready:
        """Read responses until enough slots are ready, and take those.

        Args:
            min_ready: How many to wait for.
            timeout_s: How long to wait, in seconds; None waits as long as each response may take.

        Raises:
            DeadlineExceededError: Not enough in time. Nothing is lost.
            EndpointError: A slot's connection failed.
            RemoteError: A slot's server refused.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (ready := int(self._results.ready.sum())) < min_ready and not self.failures:
            reads = self._pending_reads(self._results.pending)
            available = [read for read in reads if is_available(read)] or wait(reads, deadline)
            if not available:
                raise DeadlineExceededError(
                    f"{ready} of the {min_ready} requested slots are ready after {timeout_s:g} s.",
                    advice="The others are still pending; a later recv() returns them.",
                )
            for read in available:
                self._read_whole(read)
        if self.failures:
            self.raise_failures(self._all)
        return self._results.take_ready()

    def receive_slots(self, slots: Mask, timeout_s: float | None) -> Ready:
        """Read responses until some slots are ready, and take those.

        Args:
            slots: The slots.
            timeout_s: How long to wait, in seconds; None waits as long as each response may take.

        Raises:
            WaitTimeoutError: Not all in time. Nothing is lost.
            EndpointError: A slot's connection failed.
            RemoteError: A slot's server refused.
        """
        self.collect(slots, timeout_s)
        return self._results.take_ready(slots)

    def has_failure(self, slots: Mask) -> bool:
        """Whether an error of some slots was not raised yet."""
        return any(not failure.slots or slots[failure.slots].any() for failure in self.failures)

    def _read_whole(self, read: PendingRead[Part | Waiting]) -> None:
        source = read.source
        try:
            if isinstance(source, Waiting):
                self._begin_waiting(source)
            elif read.is_late:
                self._lose_channel(
                    source, source.channel.expire(source.operation, is_reset=self._is_reset(source))
                )
            else:
                self._read(source)
        except BaseException:
            self._abort_pending(read.slots)
            raise

    def _abort_pending(self, slots: Sequence[int]) -> None:
        """End the sessions of pending slots after an interrupt such as Ctrl-C.

        The server carries out the request anyway, and its response would be taken for another one's.
        """
        pending = [slot for slot in slots if self._results.pending[slot]]
        if not pending:
            return
        for share in self._shares(pending):
            share.part.channel.abort()
        self._waiting = [wait for wait in self._waiting if not set(wait.slots).intersection(pending)]
        self._note(
            SessionLostError(f"An interrupt has ended the sessions of {named(pending)}."),
            pending,
            is_lost=True,
        )

    # --- beginning episodes ---------------------------------------------------------------------------------

    def _beginning_of(self, seed: int | None, options: dict[str, Any]) -> Beginning:
        # The first episodes begin together or not at all, so their slots do not wait one by one.
        timeout_s = self._rules.capacity_timeout_s if self._has_begun else 0.0
        retry = ResetRetry(timeout_s, truncates=self._rules.truncates, has_lost=self._has_begun)
        return Beginning(seed, options, retry, {})

    def _begin_again(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self._beginning[slot] = self._beginning_of(None, _NO_OPTIONS)
        if slots:
            self._begin(slots)

    def _begin(self, slots: Sequence[int]) -> None:
        """Send the resets of some slots, in new sessions if they have none."""
        failed: set[int] = set()
        first = self._beginning[slots[0]]
        ticket = first.retry.ticket()
        for unopened, error in self._partition.open_missing(slots, without=first.full, ticket=ticket):
            failed.update(unopened)
            self._retry(unopened, error)
        for part, mine, _ in self._shares([slot for slot in slots if slot not in failed]):
            by_options: dict[int, list[int]] = {}
            for slot in mine:
                by_options.setdefault(id(self._beginning[slot].options), []).append(slot)
            for alike in by_options.values():
                seeds = [self._beginning[slot].seed for slot in alike]
                options = self._beginning[alike[0]].options
                operation = self._name(alike, "reset")
                self._send(part, alike, operation, part.channel.send_reset(alike, seeds, options, operation))

    def _retry(self, slots: Sequence[int], error: OpenEnvError) -> None:
        """Retry the resets of some slots now or later, or note that they failed."""
        if self._explain is not None and isinstance(error, EndpointUnreachableError):
            self._explain(error)  # a server that has exited is not waited for
        for slot in slots:
            self._beginning[slot].full.clear()
        attempts = {slot: self._beginning[slot].retry.next_attempt(error) for slot in slots}
        failed = [slot for slot, at in attempts.items() if at is None]
        later = {slot: at for slot, at in attempts.items() if at is not None}
        if failed:
            self._note(error, failed, is_lost=True)
        if later:
            self._waiting.append(Waiting(list(later), min(later.values())))

    def _begin_waiting(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        self._begin(waiting.slots)

    # --- steps ----------------------------------------------------------------------------------------------

    def _send_step(self, slots: list[int], actions: Any, gather: bool) -> None:
        results = self._results
        results.mark_pending(slots)
        to_begin: list[int] = []
        if self._speaks_v2:
            column = self._actions.from_batch(actions, len(slots))
        else:
            each = iterate(results.action_space(len(slots)), actions)
            column = [self._action_codec.encode(action) for action in each]
        if self._lost or not self._speaks_v2:
            to_begin, places = self._split_resets(slots)
            slots, column = [slots[place] for place in places], select(column, places) if places else column
        for part, mine, mine_at in self._shares(slots):
            its_column = column if len(mine) == len(slots) else select(column, mine_at)
            operation = self._step_of_all if len(mine) == results.count else self._name(mine, "step")
            self._send(
                part, mine, operation, part.channel.send_step(mine, its_column, operation, gather=gather)
            )
        # Last, since new sessions take time: the others step meanwhile.
        self._begin_again(to_begin)

    def _shares(self, slots: list[int]) -> list[Share]:
        whole = self._partition.whole
        if whole is not None and slots:
            return [Share(whole, slots, range(len(slots)))]
        return self._partition.shares(slots)

    def _split_resets(self, slots: Sequence[int]) -> tuple[list[int], list[int]]:
        """Find the slots that do not take their action.

        Slots whose session was lost while they were idle are truncated now. With NEXT_STEP, slots that have
        ended begin their next episode, unless the server does that by itself.

        Returns:
            The slots whose next episode begins, and the places of those that take a step.
        """
        resets_next = self._rules.autoreset_mode is AutoresetMode.NEXT_STEP
        unreported: list[int] = []
        to_begin: list[int] = []
        places: list[int] = []
        for place, slot in enumerate(slots):
            is_lost = slot in self._lost
            if (is_lost or not self._speaks_v2) and resets_next and self._results.has_ended(slot):
                to_begin.append(slot)
            elif is_lost:
                unreported.append(slot)
            else:
                places.append(place)
        self._truncate(unreported, _IDLE_LOSS)
        return to_begin, places

    def _send(self, part: Part, slots: Sequence[int], operation: str, request: Any) -> None:
        part.operation = operation
        try:
            run(request)
        except EndpointError as error:
            if part.channel.is_open:
                self._note(error, slots, is_lost=False)
            else:
                self._lose_channel(part, error)

    # --- reading --------------------------------------------------------------------------------------------

    def _pending_reads(self, slots: Mask) -> list[PendingRead[Part | Waiting]]:
        reads: list[PendingRead[Part | Waiting]] = []
        for part in self._partition.parts:
            if np.count_nonzero(slots[part.rows]) and not self._all_wait(part):
                channel = part.channel
                connection = None if channel.has_result else channel.connection
                late_at = channel.late_at(is_reset=self._is_reset(part))
                reads.append(PendingRead(part.slots, connection, part, 0.0, late_at))
        for waiting in self._waiting:
            if slots[waiting.slots].any():
                reads.append(PendingRead(waiting.slots, None, waiting, waiting.due_at))
        return reads

    def _all_wait(self, part: Part) -> bool:
        """Whether no response can come: all pending slots of the channel wait for a session."""
        if not self._waiting:
            return False
        waiting = {slot for wait in self._waiting for slot in wait.slots}
        return not any(self._results.pending[slot] and slot not in waiting for slot in part.slots)

    def _is_reset(self, part: Part) -> bool:
        return bool(self._beginning) and any(slot in self._beginning for slot in part.slots)

    def _read(self, part: Part) -> None:
        """Read one response."""
        channel = part.channel
        try:
            result = run(channel.result(part.operation, is_reset=self._is_reset(part)))
        except EndpointError as error:
            self._lose_channel(part, error)
        except RemoteError as error:
            if not channel.is_open:
                self._lose_channel(part, error)
                return
            begins = any(slot in self._beginning for slot in channel.refused)
            self._note(error, channel.refused, is_lost=begins)
        else:
            self._take(channel, result)

    def _take(self, channel: Channel, result: v2.Result) -> None:
        slots = result.slots
        if slots:
            self._take_slots(channel, result, slots)
        for refused in result.errors:
            assert isinstance(channel, V2Channel)
            slot = refused.slot
            begins = slot in self._beginning
            error = channel.slot_error(refused, self._name([slot], "reset" if begins else "step"))
            if slot in channel.slots:
                self._note(error, [slot], is_lost=begins)
            elif begins or self._is_autoresetting(slot):
                self._beginning.setdefault(slot, self._beginning_of(None, _NO_OPTIONS))
                self._retry([slot], error)
            else:
                self._lose([slot], error)

    def _take_slots(self, channel: Channel, result: v2.Result, slots: list[int]) -> None:
        results = self._results
        is_reset = bool(self._beginning) and slots[0] in self._beginning
        rows = results.rows(slots)
        try:
            if isinstance(rows, slice) and not isinstance(result.observations, list):
                before = results.observations
                results.observations = results.column.write_zero_copy(result.observations, before)
                if results.observations is not before:
                    self._lent = channel.connection.exchange_memory(self._lent)
            else:
                results.column.write(result.observations, results.observations, rows)
            results.rewards[rows] = result.rewards if self._speaks_v2 else float(result.rewards[0] or 0.0)
            results.terminated[rows] = False if result.terminated is None else result.terminated
            results.truncated[rows] = False if result.truncated is None else result.truncated
            self._take_infos(result)
        except (SpaceError, ValueError, TypeError, IndexError) as misfit:
            operation = self._name(slots, "reset" if is_reset else "step")
            self._note(observation_misfit(channel.endpoint, operation, misfit), slots, is_lost=True)
            return
        if is_reset:
            self._note_begun(slots)
        else:
            results.steps[rows] += 1
            environment_us: Any = result.busy_us
            if result.environment_us is not None:
                environment_us = np.asarray(result.environment_us, np.float64)
            self.times.append(
                (
                    rows,
                    Times(
                        channel.sent_at,
                        channel.received_at,
                        result.server_us,
                        environment_us,
                        environment_us if result.busy_us is None else result.busy_us,
                    ),
                )
            )
            if not channel.autoresets and self._ends_here(slots[0]):
                return
        results.mark_ready(rows)

    def _take_infos(self, result: v2.Result) -> None:
        for place, info in result.infos:
            self._results.infos[result.slots[place]] = info
        if result.info_columns:
            self._results.add_info_columns(result.info_columns, result.slots)
        self._results.add_misfits(result.slots)
        if result.final is None:
            return
        for row, (place, info) in enumerate(zip(result.final.places, result.final.infos, strict=True)):
            observation = self._results.column.element(result.final.observations, row)
            if self._results.take_misfits is not None:
                (misfits,) = self._results.take_misfits()
                info.update({"misfits": misfits} if misfits else {})
            self._results.add_final(result.slots[place], observation, info)

    def _ends_here(self, slot: int) -> bool:
        """Count a step for a server that does not; return whether the slot is reset in the same step."""
        results = self._results
        self._steps[slot] += 1
        if self._steps[slot] == self._rules.max_episode_steps:
            results.truncated[slot] = True
        if self._rules.autoreset_mode is not AutoresetMode.SAME_STEP or not results.has_ended(slot):
            return False
        self._keep_final(
            slot,
            results.infos.pop(slot, {}),
            float(results.rewards[slot]),
            bool(results.terminated[slot]),
            bool(results.truncated[slot]),
        )
        self._begin_again([slot])
        return True

    def _keep_final(
        self, slot: int, info: dict[str, Any], reward: float, terminated: bool, truncated: bool
    ) -> None:
        self._finals[slot] = Final(self._results.last_observation(slot), info, reward, terminated, truncated)

    def _note_begun(self, slots: Iterable[int]) -> None:
        """Note that episodes have begun."""
        results = self._results
        for slot in slots:
            self._beginning.pop(slot, None)
            self._lost.discard(slot)
            self._steps[slot] = 0
            if (final := self._finals.pop(slot, None)) is not None:
                results.rewards[slot] = final.reward
                results.terminated[slot], results.truncated[slot] = final.terminated, final.truncated
                results.add_final(slot, final.observation, final.info)

    # --- losing sessions ------------------------------------------------------------------------------------

    def _lose_channel(self, part: Part, error: OpenEnvError) -> None:
        """All sessions of a channel are gone. Slots that are beginning an episode begin in a new session."""
        self._pool.forget(part.endpoint)
        slots = list(part.slots)
        waiting = {slot for wait in self._waiting for slot in wait.slots}
        for slot in slots:
            if slot not in self._beginning and self._is_autoresetting(slot):
                self._beginning[slot] = self._beginning_of(None, _NO_OPTIONS)
        begins = [slot for slot in slots if slot in self._beginning and slot not in waiting]
        if others := [slot for slot in slots if slot not in self._beginning]:
            self._lose(others, error)
        if begins and isinstance(error, CapacityError) and self._has_begun:
            for slot in begins:
                self._beginning[slot].full[part.endpoint] = error
            self._waiting.append(Waiting(begins, time.monotonic()))  # on the other servers
        elif begins:
            self._retry(begins, error)

    def _is_autoresetting(self, slot: int) -> bool:
        """Whether the pending step is a reset, as the slot's episode had ended."""
        resets_next = self._rules.autoreset_mode is AutoresetMode.NEXT_STEP
        return resets_next and bool(self._results.pending[slot]) and self._results.has_ended(slot)

    def _lose(self, slots: Sequence[int], error: OpenEnvError) -> None:
        """The sessions of some slots are gone: raise, or truncate their episodes."""
        if not self._rules.truncates or not isinstance(error, LOSSES):
            advise_truncation(error)
            self._note(error, slots, is_lost=True)
            return
        self._lost.update(slot for slot in slots if self._results.has_episode[slot])
        self._truncate([slot for slot in slots if self._results.pending[slot]], error.message)

    def _truncate(self, slots: Sequence[int], reason: str) -> None:
        """Truncate the episodes of some slots; with SAME_STEP, begin the next ones."""
        if slots:
            log.warning("The episodes of %s are truncated: %s", named(slots), reason)
        info = {"session_lost": reason}
        if self._rules.autoreset_mode is not AutoresetMode.SAME_STEP:
            for slot in slots:
                self._results.truncate(slot, dict(info))
            return
        for slot in slots:
            self._keep_final(slot, info, reward=0.0, terminated=False, truncated=True)
        self._begin_again(slots)

    def _note(self, error: OpenEnvError, slots: Sequence[int], *, is_lost: bool) -> None:
        """Keep an error to raise later."""
        error.slots = error.slots or tuple(slots)
        self.failures.append(Failure(error, slots))
        self._results.mark_failed(slots, is_lost=is_lost)
        for slot in slots:
            self._beginning.pop(slot, None)
            self._finals.pop(slot, None)

    def _name(self, slots: Sequence[int], kind: str) -> str:
        """Name a request, for errors."""
        if len(slots) > 1:
            return f"the {kind} of {named(slots)}"
        which = f"step {self._results.steps[slots[0]] + 1}" if kind == "step" else "the reset"
        return f"{which} of {named(slots)}"
