"""Encodes the results of slots as frames: one column for each part."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from openenv_gym.spaces.infos import split_infos
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import Payload
from openenv_gym.wire.v2 import Attachments, SlotError
from openenv_server.connections.adapters import Adapter, GymnasiumAdapter
from openenv_server.connections.batch_slot import BatchOutcome
from openenv_server.connections.slot import EpisodeEnd, SlotOutcome, SlotResult
from openenv_server.errors import WrongResultError, reply_to
from openenv_server.serialization import check_sendable
from openenv_server.sessions.counters import CallDurations, Counters

# The most bytes of the payloads of several slots in one frame. They belong to several sessions of the client,
# and its limit is meant for one of them.
_MOST_PAYLOAD_BYTES = 1 << 22

# So few numbers are faster to send and to read one by one than as an array.
_FEW = 8


class BusyClock:
    """How long at least one environment of a connection has been running. Thread-safe.

    Attributes:
        seconds: The time so far.
    """

    def __init__(self) -> None:
        self.seconds: float = 0.0
        self._until = 0.0
        self._lock = threading.Lock()

    def add(self, steps: Sequence[SlotOutcome | BatchOutcome]) -> float:
        """Add steps, in the order in which they ended, and return the time so far."""
        total_s = sum([step.seconds for step in steps])
        first, last = steps[0], steps[-1]
        with self._lock:
            seconds, until = self.seconds, self._until
            if first.begin >= until and last.begin + last.seconds - first.begin >= total_s:
                # One after another, as the fast ones are.
                self.seconds, self._until = seconds + total_s, last.begin + last.seconds
                return self.seconds
            for step in steps:
                end = step.begin + step.seconds
                if end > until:
                    seconds += end - max(step.begin, until)
                    until = end
            self.seconds, self._until = seconds, until
        return seconds


class RequestContext(NamedTuple):
    """What the answers to a reset or a step need to know of it.

    Attributes:
        request: The request.
        arrived: When it arrived, by ``time.perf_counter()``.
        busy_before_s: What ``ResultEncoder.busy.seconds`` was then.
        durations: Where the seconds inside the environments, and those since ``arrived``, are added.
    """

    request: v2.Reset | v2.Step
    arrived: float
    busy_before_s: float
    durations: CallDurations

    def are_its_slots(self, numbers: Sequence[int]) -> bool:
        """Whether an answer about some slots need not name them."""
        request = self.request
        if type(request) is not v2.Step or not request.same_slots:
            return False
        return request.slots is numbers or request.slots == numbers


class ResultEncoder:
    """Encodes the results of one connection.

    Args:
        adapter: Builds columns of observations.
        counters: The server's counters.

    Attributes:
        sends_payloads: Send each observation as one JSON payload, as version 1 does, instead of columns.
        sends_info_columns: Send the infos of a batch as one dict of columns, instead of one for each slot.
        batches: The slots of each batch, by the number of its first. An error of that one is an error of all.
        busy: The time that the connection's environments have been running.
    """

    def __init__(self, adapter: Adapter, counters: Counters) -> None:
        self._adapter = adapter
        self._counters = counters
        self.sends_payloads = self.sends_info_columns = False
        self.batches: dict[int, Sequence[int]] = {}
        self.busy: BusyClock = BusyClock()

    def frames(self, context: RequestContext, results: Sequence[SlotResult]) -> Iterator[list[Payload]]:
        """The answer to a reset or a step, as the parts of one frame.

        If the result of one slot cannot be sent, every slot has its own frame, and that one has an error.
        Payloads that are too large together have their own frames, too.
        """
        if self.batches and len(results) > 1:
            for result in results:
                yield from self.frames(context, [result])
            return
        try:
            yield self._frame(context, results)
        except Exception as error:
            if len(results) > 1:
                for result in results:
                    yield from self.frames(context, [result])
                return
            slot = results[0].slot
            named = _named(error, results[0])
            failure = SlotError(slot, *reply_to(named, f"the result of slot {slot} cannot be sent"))
            yield self._frame(context, [failure])

    def _frame(self, context: RequestContext, results: Sequence[SlotResult]) -> list[Payload]:
        first: Any = results[0] if results else None
        if type(first) is BatchOutcome:
            return self._batch_frame(context, first)
        request_id = context.request.id
        errors: list[SlotError] = []
        steps: Sequence[Any] = results
        if SlotError in set(map(type, results)):
            errors = [result for result in results if isinstance(result, SlotError)]
            errors = self.of_all_slots(errors, context.request.slots)
            steps = [result for result in results if isinstance(result, SlotOutcome)]
        if not steps:
            self.count_errors(errors)
            return v2.encode(v2.Result(id=request_id, slots=[], observations=[], rewards=[], errors=errors))
        numbers = [step.slot for step in steps]
        rewards = [step.reward for step in steps]
        seconds = [step.seconds for step in steps]
        busy_s = self.busy.add(steps) - context.busy_before_s
        attachments = Attachments()
        same_slots = context.are_its_slots(numbers)
        result = v2.Result(
            id=request_id,
            slots=[] if same_slots else numbers,
            same_slots=same_slots,
            observations=self._observations([step.observation for step in steps], attachments),
            rewards=rewards if self.sends_payloads else _floats(rewards),
            infos=[(place, self._adapter.info(step.info)) for place, step in enumerate(steps) if step.info],
            environment_us=None if same_slots and len(steps) == 1 else _floats(seconds, 1e6),
            busy_us=busy_s * 1e6,
            errors=errors,
        )
        if ends := [(place, step.end) for place, step in enumerate(steps) if step.end]:
            self._add_ends(result, ends, len(numbers), attachments)
        if context.request.zstd:
            attachments.compress()
        server_s = perf_counter() - context.arrived
        result.server_us = server_s * 1e6
        frame = v2.encode(result, attachments)
        if self.sends_payloads and len(steps) > 1 and sum(map(len, frame)) > _MOST_PAYLOAD_BYTES:
            raise _LargePayloadsError
        context.durations.environment.add_all(seconds)
        context.durations.request.add(server_s)
        self.count_errors(errors)
        return frame

    def _batch_frame(self, context: RequestContext, outcome: BatchOutcome) -> list[Payload]:
        """The result of a batch, from its own arrays."""
        assert isinstance(self._adapter, GymnasiumAdapter)
        count = len(outcome.numbers)
        attachments = Attachments()
        info = self._adapter.info
        busy_s = self.busy.add([outcome]) - context.busy_before_s
        same_slots = context.are_its_slots(outcome.numbers)
        result = v2.Result(
            id=context.request.id,
            slots=[] if same_slots else list(outcome.numbers),
            same_slots=same_slots,
            observations=self._adapter.observation_batch(outcome.observations, count, attachments),
            rewards=outcome.rewards,
            terminated=_if_any(outcome.terminated),
            truncated=_if_any(outcome.truncated),
            environment_us=None if same_slots else np.full(count, outcome.seconds * 1e6),
            busy_us=busy_s * 1e6,
        )
        if outcome.infos and self.sends_info_columns:
            result.info_columns = info(outcome.infos)
        elif outcome.infos:
            each_info = split_infos(outcome.infos, count)
            result.infos = [(place, info(each)) for place, each in enumerate(each_info) if each]
        if (final := outcome.final) is not None:
            result.final = v2.Final(
                places=final.places,
                observations=self._observations(final.observations, attachments),
                infos=[info(each) for each in final.infos],
            )
        if context.request.zstd:
            attachments.compress()
        server_s = perf_counter() - context.arrived
        result.server_us = server_s * 1e6
        frame = v2.encode(result, attachments)
        context.durations.environment.add(outcome.seconds / count, count)
        context.durations.request.add(server_s)
        return frame

    def of_all_slots(self, errors: list[SlotError], asked: Sequence[int]) -> list[SlotError]:
        """Errors, each for all slots of its batch that a request names."""
        if not self.batches:
            return errors
        named = set(asked)
        return [
            SlotError(number, error.code, error.message, error.details)
            for error in errors
            for number in self.batches.get(error.slot, (error.slot,))
            if number in named
        ]

    def _add_ends(
        self, result: v2.Result, ends: Sequence[tuple[int, EpisodeEnd]], count: int, attachments: Attachments
    ) -> None:
        """Add how the episodes ended that did, of a result of so many slots."""
        result.terminated = _flags([place for place, end in ends if end.terminated], count)
        result.truncated = _flags([place for place, end in ends if end.truncated], count)
        finals = [(place, end) for place, end in ends if end.info is not None]
        if finals:
            result.final = v2.Final(
                places=[place for place, _ in finals],
                observations=self._observations([end.observation for _, end in finals], attachments),
                infos=[self._adapter.info(end.info or {}) for _, end in finals],
            )

    def count_errors(self, errors: Sequence[SlotError]) -> None:
        """Count errors that a client receives."""
        for error in errors:
            self._counters.count_error(error.code)

    def _observations(self, observations: Sequence[Any], attachments: Attachments) -> Any:
        if self.sends_payloads:
            return self._adapter.payloads(observations)
        return self._adapter.observations(observations, attachments)


class _LargePayloadsError(Exception):
    """Several payloads do not fit into one frame."""


def _named(error: Exception, result: SlotResult) -> Exception:
    """The error that names what of a result cannot be sent, if there is such a part."""
    if isinstance(result, SlotOutcome):
        try:
            check_sendable(result.observation, "observation")
            check_sendable(result.info, "metadata")
        except WrongResultError as named:
            return named
    return error


def _if_any(flags: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    return flags if np.count_nonzero(flags) else None


def not_open(slot: int) -> SlotError:
    """The error for a slot that was never opened, or is closed."""
    message = f"Slot {slot} is not open on this connection; open it first"
    return SlotError(slot, ErrorCode.UNKNOWN_SESSION, message, {})


def _floats(values: list[Any], factor: float = 1.0) -> Any:
    """Numbers of many slots as an array, and of a few as a list."""
    if len(values) <= _FEW:
        return [float(value) * factor for value in values]
    array = np.array(values, float)
    array *= factor
    return array


def _flags(places: list[int], count: int) -> Any:
    """A column of bools that are true at some places; None if it is nowhere."""
    if not places:
        return None
    flags = np.zeros(count, bool)
    flags[places] = True
    return flags.tolist() if count <= _FEW else flags
