"""A channel of version 2 whose sessions are used at the same time, by tasks of one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import math
import os
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from openenv_gym.errors import EndpointError, OpenEnvError, ProtocolError
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.responses import error_of
from openenv_gym.session.shared_calls import Call, ResetBody, size_of
from openenv_gym.session.v2 import PendingRequest, V2Channel
from openenv_gym.transport.connection import Connection, Transport
from openenv_gym.transport.error_mapping import closed_error, session_error
from openenv_gym.wire import v2
from openenv_gym.wire.framing import CloseCode, PeerClosedError

# A message has the requests of at most so many slots and bytes. With more slots, client and server would wait
# for each other; with fewer, the messages would take most of the time.
_MOST_TOGETHER = 64
_MOST_BYTES_TOGETHER = 1 << 20
# A response should have at most so many bytes. The server divides larger ones.
_MOST_BYTES_IN_RESPONSE = 1 << 22
# What a message has beside the action, at most, in bytes.
_OVERHEAD = 1 << 10
# The channel itself waits as long as it takes: each call has its own timeout.
_ALWAYS_S = 1e8
_ANY_REQUEST = "a request"


class SharedChannel(V2Channel):
    """A channel whose sessions have one call in flight each, and wait for nothing but its response.

    Steps that are taken in one turn of the event loop travel in one message, or in a few, and so do resets;
    the server answers each when it is done. A task reads the responses; another one writes. If the connection
    breaks, it is resumed once for all.

    Args:
        connection: As in `V2Channel`.
        transport: As in `V2Channel`.
        timeouts: Those of the first session. Each call has its own.
        max_message_size: The maximum size of a response in bytes.

    Attributes:
        most_slots: How many sessions the server allows on a connection, once it has refused more.
        max_sent_bytes: The maximum size in bytes of a message to the server; 0 if it lets slots wait for
            each other.
        failure: Why no session can be used any more, if so.
        is_stuck: Whether the server does not answer at all, so that no further session should be opened.
    """

    def __init__(
        self, connection: Connection, transport: Transport, timeouts: Timeouts, max_message_size: int
    ) -> None:
        super().__init__(connection, transport, timeouts, payloads=True)
        self.failure: OpenEnvError | None = None
        self.is_stuck = False
        self.most_slots = math.inf
        self.max_sent_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._numbers = itertools.count()
        self._splits = itertools.count()
        self._calls: dict[int, Call] = {}  # by slot
        self._opening: set[int] = set()
        self._unsent: list[Call] = []
        self._unwanted: list[int] = []  # sessions to be closed
        self._most_together = _MOST_TOGETHER if max_message_size >= _MOST_BYTES_IN_RESPONSE else 1
        self._bytes_a_slot = 1
        self._is_resuming = False
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = asyncio.Event()
        self._tasks = [self._loop.create_task(work()) for work in (self._read, self._write)]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)

    @property
    def is_usable(self) -> bool:
        """Whether sessions can be used: not failed, not inherited through a fork, and the loop is open."""
        return self.failure is None and self._process == os.getpid() and not self._loop.is_closed()

    @property
    def load(self) -> int:
        """How many sessions are open or being opened."""
        return len(self.slots) + len(self._opening)

    async def open_slot(self, timeouts: Timeouts, ticket: v2.Ticket | None) -> int:
        """Open a session; returns its slot.

        Raises:
            CapacityError: The server has no free session, or the connection has as many as it may.
            OpenEnvError: As `Channel.open`.
        """
        number = next(self._numbers)
        self._opening.add(number)
        request = v2.Open(id=0, slots=[number], payloads=True, timeout_s=timeouts.step_s, ticket=ticket)
        try:
            await self.call(number, request, None, "open", timeouts.step_s)
        except BaseException:
            self.give_up(number)
            raise
        return number

    def call(
        self, number: int, body: Any, together: Hashable, operation: str, timeout_s: float
    ) -> asyncio.Future[Any]:
        """Make a request in one session; the future has the session's part of the response.

        Args:
            number: The slot, in which no other call is in flight.
            body: An encoded action, a `ResetBody`, or a request whose ``id`` is set later.
            together: Calls with the same value may travel as one message; those with None travel alone.
            operation: The request's name in errors.
            timeout_s: How long to wait for the response, in seconds.

        Raises:
            OpenEnvError: The channel has failed before.
        """
        if self.failure is not None:
            raise _again(self.failure, operation)
        due_at = self._loop.time() + timeout_s + self._late_margin_s
        call = Call(number, body, together, operation, timeout_s, self._loop.create_future(), due_at)
        if self._tracer is not None and operation not in ("open", "close"):
            call.span, call.together = self._tracer.ask(operation, 1, self.endpoint.base_url), None
        self._calls[number] = call
        self._unsent.append(call)
        self._wakes.set()
        if self._timer is None or due_at < self._timer.when():
            self._start_timer(due_at)
        return call.future

    def give_up(self, number: int) -> None:
        """End a session without waiting for the server, and its call if one is in flight."""
        call = self._calls.pop(number, None)
        if call is not None:
            call.future.cancel()
            if call.span is not None:
                call.span.fail(["aborted"])
                call.span.end()
        if number in self.slots:
            self.slots.discard(number)
            self._unwanted.append(number)
            self._wakes.set()
        elif call is None or not call.request_id:
            self._opening.discard(number)  # else it is closed once it is open
        if not self.slots and self._opening.isdisjoint(self._calls):
            self._end()

    def too_large(self, body: Collection[Any], operation: str, timeout_s: float) -> EndpointError | None:
        """The error for an action that the server would end the connection for, and with it all sessions."""
        if not self.max_sent_bytes or len(body) + _OVERHEAD <= self.max_sent_bytes:
            return None
        error = PeerClosedError(CloseCode.TOO_BIG)
        return session_error(self.endpoint, error, operation, timeout_s, [bytes(body)])

    # --- tasks ----------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Hand out the responses until the connection is lost for good."""
        while True:
            self._dispatch(await self._receive_any(_ANY_REQUEST, _ALWAYS_S))

    async def _write(self) -> None:
        """Send the calls of each turn of the loop."""
        while True:
            await self._wakes.wait()
            self._wakes.clear()
            if self._is_resuming:
                continue
            calls, self._unsent = self._unsent, []
            connection = self.connection
            for payload in list(self._messages(calls)):
                if self.connection is not connection:
                    break  # it was resumed, and the rest was sent again, as all that is pending
                with contextlib.suppress(EndpointError):
                    await connection.send(payload, timeout_s=_ALWAYS_S, operation=_ANY_REQUEST)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Report that no response is read any more, or no call is sent."""
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._fail(closed_error(self.endpoint, _ANY_REQUEST))
        elif isinstance(error, OpenEnvError):
            self._fail(error)
        else:
            malformed = ProtocolError(
                f"{self.endpoint}: a part of a response is missing", endpoint=self.endpoint.base_url
            )
            malformed.__cause__ = error
            self._fail(malformed)

    async def _resume(self, operation: str, cause: Any) -> None:
        """Continue on another connection; meanwhile nothing is sent, and no time passes for the calls."""
        begin, self._is_resuming = self._loop.time(), True
        try:
            await super()._resume(operation, cause)
        finally:
            self._is_resuming = False
        for call in self._calls.values():
            call.due_at += self._loop.time() - begin
        self._wakes.set()

    def _end(self) -> None:
        self._fail(closed_error(self.endpoint, "close"))
        self.connection.hang_up()

    def _fail(self, error: OpenEnvError) -> None:
        """Report an error to all calls, and to those that are made later. The first one counts."""
        if self.failure is not None:
            return
        self.failure = error
        self._token = ""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.future.done():
                call.future.set_exception(_again(error, call.operation))
        self._end_spans("lost")
        if self._timer is not None:
            self._timer.cancel()
        self.connection.hang_up()
        for task in self._tasks:
            task.cancel()

    # --- messages -------------------------------------------------------------------------------------------

    def _messages(self, calls: Sequence[Call]) -> Iterator[list[v2.Payload]]:
        """Encode calls, and note what is pending."""
        if self._unwanted:
            numbers, self._unwanted = self._unwanted, []
            request: v2.Request = v2.Close(id=self._next_id(), slots=numbers, timeout_s=self._timeouts.step_s)
            yield self._noted(request, [])
        together: dict[Hashable, list[Call]] = {}
        for call in calls:
            if not call.future.done():
                together.setdefault(call.together or call, []).append(call)
        for group in together.values():
            for part in self._parts(group):
                yield self._noted(self._request(part), part)

    def _parts(self, group: list[Call]) -> Iterator[list[Call]]:
        """Divide calls, so that neither the message nor the response gets too large."""
        part: list[Call] = []
        most_bytes = min(_MOST_BYTES_TOGETHER, self.max_sent_bytes // 2)
        size = 0
        for call in group:
            size += size_of(call)
            if part and (len(part) >= self._most_together or size > most_bytes):
                yield part
                part, size = [], size_of(call)
            part.append(call)
        yield part

    def _request(self, calls: list[Call]) -> v2.Request:
        first = calls[0]
        request_id, body = self._next_id(), first.body
        timeout_s = first.timeout_s if self._late_margin_s else None
        numbers = [call.slot for call in calls]
        request: v2.Request
        if type(body) is msgspec.Raw:
            actions = [call.body for call in calls]
            request = v2.Step(id=request_id, slots=numbers, actions=actions, min_ready=1, timeout_s=timeout_s)
        elif type(body) is ResetBody:
            seeds = [call.body.seed for call in calls]
            options: Any = body.options
            request = v2.Reset(
                id=request_id, slots=numbers, seeds=seeds, options=options, min_ready=1, timeout_s=timeout_s
            )
        else:
            request = body
            request.id = request_id
        if first.span is not None:
            self._spans[request_id] = first.span
            if isinstance(request, v2.Step | v2.Reset):
                request.traceparent = first.span.traceparent
        return request

    def _noted(self, request: v2.Request, calls: Sequence[Call]) -> list[v2.Payload]:
        payload = v2.encode(request)
        self._pending[request.id] = PendingRequest(payload, request.slots)
        for call in calls:
            call.request_id = request.id
        return payload

    # --- responses ------------------------------------------------------------------------------------------

    def _dispatch(self, response: v2.Answer) -> None:
        """Hand a response to the calls that wait for it."""
        if type(response) is v2.Result:
            self._hand_out(response)
            return
        if isinstance(response, v2.Failed) and response.id is None:
            raise self._failed(response, _ANY_REQUEST)  # it is about the connection
        request_id = response.id or 0
        calls = self._take_calls(request_id, self._forget(request_id))
        if isinstance(response, v2.Failed):
            self._refuse(calls, response)
        elif isinstance(response, v2.Opened):
            self._opened(response, calls)
        elif isinstance(response, v2.Values | v2.Closed):
            for call in calls:
                call.future.set_result(response)
        else:
            raise self.wrong_response(response, _ANY_REQUEST)

    def _take_calls(self, request_id: int, numbers: Sequence[int]) -> list[Call]:
        """Take the calls of a message that still wait."""
        waiting = [call for number in numbers if (call := self._calls.get(number)) is not None]
        taken = [call for call in waiting if call.request_id == request_id]
        for call in taken:
            del self._calls[call.slot]
        return [call for call in taken if not call.future.done()]

    def _refuse(self, calls: list[Call], failed: v2.Failed) -> None:
        """Report that nothing was done; find out for which call, if there are several."""
        if len(calls) == 1:
            error = error_of(self.endpoint, calls[0].operation, failed.code, failed.message, failed.details)
            calls[0].future.set_exception(error)
            return
        middle = len(calls) // 2
        for half in (calls[:middle], calls[middle:]):
            split = ("split", next(self._splits))
            for call in half:
                call.together, call.request_id = split, 0
                self._calls[call.slot] = call
                self._unsent.append(call)
        self._wakes.set()

    def _opened(self, response: v2.Opened, calls: list[Call]) -> None:
        self._note_opened(response)
        self.max_sent_bytes = response.max_message_bytes
        self._opening.difference_update(response.slots, [error.slot for error in response.errors])
        wanted = {call.slot for call in calls}
        for call in calls:
            if response.errors:
                call.future.set_exception(self._not_opened(response.errors, 1))
            else:
                call.future.set_result(response)
        for number in response.slots:
            if number not in wanted:  # whoever asked for it has given up
                self.give_up(number)

    def _hand_out(self, result: v2.Result) -> None:
        """Give each session its part of a result."""
        request_id, calls = result.id, self._calls
        pending = self._pending.get(request_id)
        if pending is None:
            return  # it comes a second time, after resuming
        terminated, truncated = _values(result.terminated), _values(result.truncated)
        environment_us, rewards = _values(result.environment_us), _values(result.rewards)
        infos = dict(result.infos)
        for place, number in enumerate(result.slots):
            call = calls.get(number)
            if call is None or call.request_id != request_id:
                continue
            del calls[number]
            if call.future.done():
                continue
            part = v2.Result(
                id=request_id,
                slots=[number],
                observations=[result.observations[place]],
                rewards=[rewards[place]],
                terminated=terminated and [terminated[place]],
                truncated=truncated and [truncated[place]],
                infos=[(0, infos[place])] if place in infos else [],
                environment_us=[environment_us[place]],
                server_us=result.server_us,
            )
            call.future.set_result(part)
        for error in result.errors:
            for call in self._take_calls(request_id, [error.slot]):
                call.future.set_result(
                    v2.Result(id=request_id, slots=[], observations=[], rewards=[], errors=[error])
                )
        bytes_a_slot = self._received_bytes // max(len(result.slots), 1)
        if bytes_a_slot > self._bytes_a_slot:
            self._bytes_a_slot = bytes_a_slot
            self._most_together = max(1, min(self._most_together, _MOST_BYTES_IN_RESPONSE // bytes_a_slot))
        if result.errors and request_id in self._spans:
            self._spans[request_id].fail(error.message for error in result.errors)
        pending.missing = [
            number
            for number in pending.missing
            if (waiting := calls.get(number)) is not None and waiting.request_id == request_id
        ]
        if not pending.missing:
            self._forget(request_id)

    # --- time -----------------------------------------------------------------------------------------------

    def _start_timer(self, due_at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due_at, self._check_time)

    def _check_time(self) -> None:
        """Give up the calls that are late."""
        self._timer = None
        now = self._loop.time()
        if self._is_resuming:
            self._start_timer(now + 1.0)
            return
        for call in [call for call in self._calls.values() if call.due_at <= now]:
            self.is_stuck |= self.received_at < call.begun_at
            if not call.future.done():
                call.future.set_exception(
                    session_error(self.endpoint, TimeoutError(), call.operation, call.timeout_s)
                )
            self.give_up(call.slot)
        if self._calls and self._timer is None:
            self._start_timer(min(call.due_at for call in self._calls.values()))


def _again(error: OpenEnvError, operation: str) -> OpenEnvError:
    """Return an error of the connection as that of one request: each is raised and changed by itself."""
    copied = copy.copy(error)
    copied.operation = operation
    copied.__cause__ = error.__cause__
    return copied


def _values(column: Any) -> Any:
    """A column of numbers or flags, to be read one by one; None if it was left out."""
    return column.tolist() if isinstance(column, np.ndarray) else column
