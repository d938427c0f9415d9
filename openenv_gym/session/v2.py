"""Version 2 of the protocol: many sessions on one WebSocket, resumed after a broken connection."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    OpenEnvError,
    ProtocolError,
    RemoteError,
    SessionLostError,
)
from openenv_gym.session.channel import LATE_MARGIN_S, Timeouts
from openenv_gym.session.link_speed import MEASURED_SIZE, LinkSpeed
from openenv_gym.session.reconnect import ReconnectBudget, reconnect
from openenv_gym.session.recovery import LOSS_RETRIES
from openenv_gym.session.responses import error_of, lost_error, not_encodable, sentence, wrong_response
from openenv_gym.tracing import Span, find_tracer
from openenv_gym.transport.connection import CLOSE_TIMEOUT_S, Connection, Transport
from openenv_gym.transport.deadline import Deadline
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import compression, v2
from openenv_gym.wire.codes import ErrorCode

log = logging.getLogger("openenv_gym")

# How long a broken connection is resumed at most, in seconds, whatever the server says.
_LONGEST_GRACE_S = 3600.0


# After these errors of a slot its session is closed.
_CLOSING = (ErrorCode.TIMEOUT, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNKNOWN_SESSION)


class PendingRequest:
    """A request without a complete response, kept to be sent again.

    Attributes:
        payload: The encoded request.
        slots: Its slots.
        missing: Those without a response.
    """

    __slots__ = ("missing", "payload", "slots")

    def __init__(self, payload: list[v2.Payload], slots: list[int]) -> None:
        self.payload = payload
        self.slots = self.missing = slots


class V2Channel:
    """A `Channel` over version 2 of the protocol.

    One request may have several responses, with different slots. The server knows the timeouts and gives up
    on slots that exceed them; the others' results count. If the connection breaks, the channel
    reconnects, resumes the sessions, and asks for what is still pending: the server replays what it has done,
    or does it now, but never twice.

    Args:
        connection: An open connection to a server that speaks version 2.
        transport: Opens further connections.
        timeouts: How long to wait.
        budget: The time for reconnecting, if it is shared; by default as long as the server keeps sessions.
        autoreset: When the server resets a slot whose episode has ended.
        max_episode_steps: Truncates episodes after so many steps.
        payloads: Ask for observations as JSON payloads, one a slot, instead of columns.
    """

    is_v2 = True
    autoresets = True

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        timeouts: Timeouts,
        *,
        budget: ReconnectBudget | None = None,
        autoreset: v2.Autoreset = "disabled",
        max_episode_steps: int | None = None,
        payloads: bool = False,
    ) -> None:
        self.connection: Connection = connection
        self.slots: set[int] = set()
        self.refused: Sequence[int] = ()
        self.sent_at: float = 0.0
        self.received_at: float = 0.0
        self._transport = transport
        self._timeouts = timeouts
        self._budget = budget or ReconnectBudget()
        self._autoreset = autoreset
        self._max_episode_steps = max_episode_steps
        self._payloads = payloads
        self.sends_payloads: bool = False
        self._late_margin_s = 0.0  # more than zero if the server gives up on late slots
        self._omits_slots = False  # whether the server knows `same_slots`
        self._knows_zstd = False  # whether the server can compress
        self._link = LinkSpeed()
        self._named_slots: list[int] = []  # those of the last reset or step that named its slots
        self._token = ""
        self._grace_s = 0.0
        self._pending: dict[int, PendingRequest] = {}
        self._early: deque[v2.Result] = deque()  # results that arrived while another response was awaited
        self._last_id = self._received_bytes = 0
        self._tracer = find_tracer()
        self._spans: dict[int, Span] = {}

    @property
    def endpoint(self) -> Endpoint:
        return self.connection.endpoint

    @property
    def is_open(self) -> bool:
        return self.connection.is_open

    @property
    def has_pending(self) -> bool:
        return self.connection.has_pending

    @property
    def has_result(self) -> bool:
        return bool(self._early)

    async def open(self, slots: Sequence[int], ticket: v2.Ticket | None = None) -> None:
        request = v2.Open(
            id=self._next_id(),
            slots=list(slots),
            autoreset=self._autoreset,
            max_episode_steps=self._max_episode_steps,
            payloads=self._payloads,
            info_columns=True,
            timeout_s=self._timeouts.step_s,
            ticket=ticket,
        )
        for retries_left in reversed(range(LOSS_RETRIES + 1)):
            try:
                response = await self._ask(request, "open")
                break
            except SessionLostError as error:
                if self._token or not retries_left or not error.retryable:
                    raise
                # The server closes whatever it has opened, since nobody has the token to resume it.
                self.connection = await self._transport.connect(
                    self.endpoint, timeout_s=self._timeouts.connect_s
                )
        if not isinstance(response, v2.Opened):
            raise self.wrong_response(response, "open")
        self._note_opened(response)
        if response.errors:
            await self._take_back(response)
            raise self._not_opened(response.errors, len(slots))

    def _note_opened(self, response: v2.Opened) -> None:
        self.slots.update(response.slots)
        self._token = response.token
        self._grace_s = min(_LONGEST_GRACE_S, self._budget.most_s, response.grace_s)
        self.sends_payloads = response.payloads
        self._late_margin_s = LATE_MARGIN_S if response.timeouts else 0.0
        self._omits_slots = response.same_slots
        self._knows_zstd = response.zstd

    async def send_reset(
        self, slots: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any], operation: str
    ) -> None:
        named = slots if isinstance(slots, list) else list(slots)
        request = v2.Reset(
            id=self._next_id(),
            slots=named,
            seeds=list(seeds),
            options=options,
            timeout_s=self._timeouts.reset_s if self._late_margin_s else None,
            zstd=self._wants_zstd(),
        )
        if self._tracer is not None:
            self._trace(request, "reset", len(named))
        await self._send(request, named, operation, self._timeouts.reset_s)

    async def send_step(
        self,
        slots: Sequence[int],
        actions: Any,
        operation: str,
        *,
        gather: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        limit_s = timeout_s or self._timeouts.step_s
        named = slots if isinstance(slots, list) else list(slots)
        same_slots = self._omits_slots and (named is self._named_slots or named == self._named_slots)
        attachments = v2.Attachments()
        request = v2.Step(
            id=self._next_id(),
            slots=[] if same_slots else named,
            same_slots=same_slots,
            actions=attachments.attach_copies(actions),
            min_ready=0 if gather else 1,
            timeout_s=limit_s if self._late_margin_s else None,
            zstd=self._wants_zstd(),
        )
        if self._tracer is not None:
            self._trace(request, "step", len(named))
        await self._send(request, named, operation, limit_s, attachments)

    async def result(
        self, operation: str, *, is_reset: bool = False, timeout_s: float | None = None
    ) -> v2.Result:
        if self._early:
            return self._early.popleft()
        sent_at, received_at = self.sent_at, self.received_at
        most_s = (timeout_s or self._timeout_s(is_reset)) + self._late_margin_s
        response = await self._receive_any(operation, most_s)
        while True:
            if type(response) is not v2.Result:
                raise self.wrong_response(response, operation)
            if self._is_first(response):
                return response
            self.received_at = received_at
            response = await self._receive_next(operation, most_s, max(sent_at, received_at))

    def late_at(self, *, is_reset: bool) -> float:
        return max(self.sent_at, self.received_at) + self._timeout_s(is_reset) + self._late_margin_s

    def expire(self, operation: str, *, is_reset: bool) -> EndpointError:
        return self.connection.expire(self._timeout_s(is_reset) + self._late_margin_s, operation)

    async def states(self, slots: Sequence[int]) -> list[Any]:
        return await self._values(v2.GetState(id=self._next_id(), slots=list(slots)), "state")

    async def render(self, slots: Sequence[int]) -> list[Any]:
        return await self._values(v2.Render(id=self._next_id(), slots=list(slots)), "render")

    async def mcp(self, slots: Sequence[int], request: dict[str, Any]) -> list[Any]:
        return await self._values(v2.Mcp(id=self._next_id(), slots=list(slots), request=request), "mcp")

    def slot_error(self, error: v2.SlotError, operation: str) -> OpenEnvError:
        """Return the error of one slot, and forget the slot if its session is gone."""
        if error.code in _CLOSING:
            self.slots.discard(error.slot)
        return error_of(self.endpoint, operation, error.code, error.message, error.details)

    def abort(self) -> None:
        self._token = ""
        self._end_spans("aborted")
        self.connection.hang_up()

    async def release(self, slots: Sequence[int]) -> None:
        """End some sessions; the others continue."""
        request = v2.Close(id=self._next_id(), slots=list(slots), timeout_s=self._timeouts.step_s)
        await self._ask(request, "close")
        self.slots.difference_update(slots)

    async def close(self) -> None:
        slots, self.slots = sorted(self.slots), set()
        if self.connection.is_open and slots:
            request = v2.Close(id=self._next_id(), slots=slots, timeout_s=self._timeouts.step_s)
            self._timeouts = Timeouts(*[CLOSE_TIMEOUT_S] * 3)
            self._grace_s = min(self._grace_s, CLOSE_TIMEOUT_S)
            # If this fails, the server is gone or busy; it ends the sessions with the connection too.
            with contextlib.suppress(EndpointError, RemoteError, TimeoutError):
                deadline = Deadline(CLOSE_TIMEOUT_S)
                await self._send(request, slots, "close", CLOSE_TIMEOUT_S)
                while type(await self._receive("close", deadline.left_s())) is not v2.Closed:
                    pass  # responses to other requests may come first
        self._end_spans("closed")
        self.connection.hang_up()

    # --- requests and responses -----------------------------------------------------------------------------

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _wants_zstd(self) -> bool:
        """Whether to ask for compressed results, which saves time on a slow network only."""
        return (
            self._knows_zstd
            and not self.connection.is_on_one_machine
            and self._link.is_slow(perf_counter())
            and compression.is_available()
        )

    def _timeout_s(self, is_reset: bool) -> float:
        return self._timeouts.reset_s if is_reset else self._timeouts.step_s

    async def _values(self, request: v2.GetState | v2.Render | v2.Mcp, operation: str) -> list[Any]:
        request.timeout_s = self._timeouts.step_s
        response = await self._ask(request, operation)
        if not isinstance(response, v2.Values):
            raise self.wrong_response(response, operation)
        if response.errors:
            raise self.slot_error(response.errors[0], operation)
        return response.values

    async def _ask(self, request: v2.Request, operation: str) -> v2.Answer:
        """Send a request that has one response, and wait for it."""
        try:
            await self._send(request, request.slots, operation, self._timeouts.step_s)
            begin, most_s = self.sent_at, self._timeouts.step_s + self._late_margin_s
            response = await self._receive(operation, most_s)
            while type(response) is v2.Result and response.id != request.id:
                if self._is_first(response):
                    self._early.append(response)
                    # Its arrays may be views of the memory that the next message is received into.
                    self.connection.exchange_memory(memoryview(b""))
                response = await self._receive_next(operation, most_s, begin)
            self._forget(request.id)
            return response
        except Exception:
            raise
        except BaseException:
            self.abort()  # interrupted: the response would be taken for the next one of its kind
            raise

    async def _send(
        self,
        request: v2.Request,
        slots: list[int],
        operation: str,
        timeout_s: float,
        attachments: v2.Attachments | None = None,
    ) -> None:
        try:
            payload = v2.encode(request, attachments)
        except (TypeError, UnicodeEncodeError) as error:
            raise not_encodable(self.endpoint, operation, error) from error
        self._pending[request.id] = PendingRequest(payload, slots)
        if type(request) is v2.Step or type(request) is v2.Reset:
            self._named_slots = slots
        self.sent_at = perf_counter()
        # As long as the response is waited for: a socket need not change its timeout in between.
        await self.connection.send(payload, timeout_s=timeout_s + self._late_margin_s, operation=operation)

    async def _receive(self, operation: str, timeout_s: float) -> v2.Answer:
        """Wait for the next response that is not an error of a request."""
        response = await self._receive_any(operation, timeout_s)
        if type(response) is v2.Failed:
            raise self._failed(response, operation)
        return response

    async def _receive_any(self, operation: str, timeout_s: float) -> v2.Answer:
        """Wait for the next response, reconnecting if the connection breaks.

        A message of an unknown type is one of a newer server, which does not rely on it: it is ignored.
        """
        first_loss_at: float | None = None
        left_s = timeout_s
        while True:
            begin = perf_counter()
            try:
                payload = await self.connection.receive(timeout_s=left_s, operation=operation)
            except SessionLostError as error:
                first_loss_at = first_loss_at or perf_counter()
                if perf_counter() - first_loss_at > self._grace_s:
                    raise  # it breaks again and again before the response is here
                await self._resume(operation, error)
                continue
            received_at = perf_counter()
            try:
                response = v2.decode_answer(payload, self.connection.max_message_size)
                break
            except v2.BadMessageError as error:
                if not error.new_type:
                    self.connection.drop()
                    raise ProtocolError(
                        f"{self.endpoint}, {operation}: {error.message}",
                        endpoint=self.endpoint.base_url,
                        operation=operation,
                    ) from error
                log.debug("%s: ignored a message of the unknown type %r", self.endpoint, error.new_type)
                left_s = max(self.sent_at, self.received_at) + timeout_s - received_at
                if left_s <= 0:
                    raise self.connection.expire(timeout_s, operation) from error
        size = len(payload)
        if size >= MEASURED_SIZE and type(response) is v2.Result and not v2.is_compressed(payload):
            # What the caller did in between is not the network's time.
            waited_s = min(received_at - begin, received_at - self.sent_at - response.server_us / 1e6)
            self._link.measure(size, waited_s, received_at)
        self.received_at, self._received_bytes = received_at, size
        return response

    async def _receive_next(self, operation: str, timeout_s: float, begin: float) -> v2.Answer:
        """Wait for the next response after one that does not count, as one that comes again after resuming.

        It does not extend the timeout, which began at ``begin`` by ``time.perf_counter()``.
        """
        left_s = begin + timeout_s - perf_counter()
        if left_s > 0:
            with contextlib.suppress(DeadlineExceededError):
                return await self._receive(operation, left_s)
        raise self.connection.expire(timeout_s, operation)

    def _failed(self, response: v2.Failed, operation: str) -> OpenEnvError:
        request_id = response.id
        if request_id is None and self._pending:
            request_id = next(iter(self._pending))
            if len(self._pending) > 1:
                self.connection.drop()  # it may be about any of them
        self.refused = () if request_id is None else self._forget(request_id)
        if response.code == ErrorCode.SESSION_ERROR:
            self.connection.drop()
            return lost_error(self.endpoint, operation, response.message)
        return error_of(self.endpoint, operation, response.code, response.message, response.details)

    async def _resume(self, operation: str, cause: SessionLostError) -> None:
        """Continue on another connection after this one broke."""
        if not self._token:
            raise cause
        missing = [(number, list(pending.missing)) for number, pending in self._pending.items()]
        request = v2.Resume(id=self._next_id(), slots=sorted(self.slots), token=self._token, missing=missing)
        with self._budget.spend() as most_s:
            self.connection, resumed = await reconnect(
                self.connection,
                self._transport,
                request,
                grace_s=min(self._grace_s, most_s),
                timeout_s=self._timeouts.connect_s,
                operation=operation,
                cause=cause,
            )
        for number in resumed.unknown:
            if number in self._pending:
                payload = self._pending[number].payload
                await self.connection.send(payload, timeout_s=self._timeouts.step_s, operation="resume")

    def _is_first(self, result: v2.Result) -> bool:
        """Whether these slots have no response yet: after resuming, one may arrive a second time."""
        pending = self._pending.get(result.id)
        if pending is None:
            return False
        if result.same_slots:
            result.slots = pending.slots
        if not result.errors and (result.slots is pending.missing or result.slots == pending.missing):
            result.slots = pending.missing  # the caller's own list, which it knows at a glance
            self._forget(result.id)
            return True
        if self._tracer is not None and result.errors:
            self._spans[result.id].fail(error.message for error in result.errors)
        answered = {*result.slots, *(error.slot for error in result.errors)}
        missing = [slot for slot in pending.missing if slot not in answered]
        if not answered or len(missing) + len(answered) != len(pending.missing):
            return False
        pending.missing = missing
        if not missing:
            self._forget(result.id)
        return True

    def _forget(self, request_id: int) -> Sequence[int]:
        """Expect no more responses to a request; returns the slots that got none."""
        pending = self._pending.pop(request_id, None)
        if self._tracer is not None and request_id in self._spans:
            self._spans.pop(request_id).end()
        self.connection.has_pending = bool(self._pending)
        return () if pending is None else pending.missing

    def _trace(self, request: v2.Reset | v2.Step, operation: str, slots: int) -> None:
        """Begin the span of a request to so many slots; it ends with the last response."""
        assert self._tracer is not None
        span = self._tracer.ask(operation, slots, self.endpoint.base_url)
        self._spans[request.id], request.traceparent = span, span.traceparent

    def _end_spans(self, why: str) -> None:
        """End the spans of requests that get no response any more."""
        for span in self._spans.values():
            span.fail([why])
            span.end()
        self._spans.clear()

    async def _take_back(self, response: v2.Opened) -> None:
        """Close the sessions that were opened by a request that failed for others."""
        if self.slots == set(response.slots):
            await self.close()
        elif response.slots:
            await self.release(response.slots)

    def _not_opened(self, errors: Sequence[v2.SlotError], asked_for: int) -> OpenEnvError:
        first = errors[0]
        if first.code == ErrorCode.VALIDATION_ERROR:  # what was asked for does not fit the server
            return ConfigurationError(
                f"{self.endpoint}: {first.message}", endpoint=self.endpoint.base_url, operation="open"
            )
        if first.code != ErrorCode.CAPACITY_REACHED or asked_for == 1:
            return self.slot_error(first, "open")
        free = first.details.get("free_sessions", 0)  # with a ticket, none is opened if they are too few
        available = asked_for - len(errors) + (free if isinstance(free, int) else 0)
        return CapacityError(
            f"{self.endpoint} has {available} of the {asked_for} requested sessions. "
            f"{sentence(first.message)}",
            asked_for=asked_for,
            available=available,
            details=first.details,
            endpoint=self.endpoint.base_url,
            operation="open",
        )

    def wrong_response(self, response: v2.Answer, operation: str) -> OpenEnvError:
        """Return the error for a response that is not what was asked for."""
        if type(response) is v2.Failed:
            return self._failed(response, operation)
        self.connection.drop()
        return wrong_response(self.endpoint, operation, response)
