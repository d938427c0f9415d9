"""Connections of protocol version 2, each served by its own thread, over one socket after another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any, NamedTuple, TypeVar

from openenv_gym.errors import SpaceError
from openenv_gym.tracing import Span, find_tracer
from openenv_gym.wire import compression, v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import CloseCode, Payload
from openenv_gym.wire.v2 import SlotError
from openenv_server.connections.batch_requests import batch_actions, batch_resets, reset, reset_data, step
from openenv_server.connections.batch_runner import BatchRunner
from openenv_server.connections.batch_slot import BatchSlot
from openenv_server.connections.batches import Work
from openenv_server.connections.idle_slots import IdleSlots
from openenv_server.connections.registry import Connections, Resumption
from openenv_server.connections.results import ResultEncoder, not_open
from openenv_server.connections.slot import Slot
from openenv_server.connections.transports import Transport
from openenv_server.errors import (
    STOPPING,
    BatchRefusedError,
    CapacityReachedError,
    ClientLeftError,
    DeadlinePassedError,
    FactoryFailedError,
    HandedOverError,
    NotBinaryError,
    ProtocolViolatedError,
    reply_to,
    server_failure,
)
from openenv_server.sessions.capacity import Batch
from openenv_server.sessions.lifecycle import Client, EndReason, log_event
from openenv_server.sessions.replay_cache import ReplayCache
from openenv_server.sessions.session import CLOSE_TIMEOUT_S
from openenv_server.sessions.waiting_line import SessionsRequest
from openenv_server.vector_environment import VectorFactory

# More in one message would keep the event loop from the other clients: refusing a slot takes it 10 µs.
_MOST_SLOTS = 2**14

# A connection waits so many seconds for sessions to open, to close or to answer, if it has no others. Then
# another thread waits, and the connection takes further requests.
_PROMPT_S = 0.25
log = logging.getLogger("openenv_server")
T = TypeVar("T")


class Unfinished(NamedTuple):
    """The thread that waits for some coroutines, and whether the connection's end cancels them."""

    thread: threading.Thread
    is_cancelable: bool


class WholeAnswer:
    """An answer that is sent again as a whole, once it is there.

    Args:
        send: Sends a frame.
    """

    def __init__(self, send: Callable[[list[Payload]], None]) -> None:
        self._send = send
        self._frame: list[Payload] = []

    def send(self, frame: list[Payload]) -> None:
        """Send it."""
        self._frame = frame
        self._send(frame)

    def replay(self, slots: Sequence[int]) -> None:
        """Send it again."""
        if self._frame:
            self._send(self._frame)

    def keep(self, slots: Sequence[int]) -> None:
        """Keep all of it."""


class ConnectionWorker:
    """Serves one client, on its own thread.

    If the socket breaks, the sessions are kept for a while. A new socket that presents the worker's token
    resumes them.

    Args:
        transport: The WebSocket.
        connections: The server's connections.
        loop: The server's event loop, on which sessions are opened and closed.
        client: Who it is.

    Attributes:
        kept: How many sessions wait for the client to reconnect.
        runner: Runs its resets and steps.
    """

    def __init__(
        self, transport: Transport, connections: Connections, loop: asyncio.AbstractEventLoop, client: Client
    ) -> None:
        self._transport = transport
        self._connections = connections
        self._sessions = connections.sessions
        self._adapter = connections.adapter
        self._loop = loop
        self._client = client
        self._is_leaving = False
        self._end_reason = EndReason.CLIENT_LEFT
        self.kept: int = 0
        self._slots: dict[int, Slot] = {}
        self._opening: set[int] = set()
        self._has_ended = False
        self._tracer = find_tracer()
        self._changing_slots = threading.Lock()
        self._unfinished: dict[Future[list[Any]], Unfinished] = {}
        self._replay_cache = ReplayCache()
        self._named_slots: list[int] = []  # those of the last reset or step that named its slots
        self._sending = threading.RLock()
        self._resumed: SimpleQueue[Resumption | None] = SimpleQueue()
        self._is_resumable = False  # whether the client knows its token
        self._encoder = ResultEncoder(connections.adapter, self._sessions.counters)
        self.runner: BatchRunner = BatchRunner(
            self._sessions,
            self._slots,
            self._replay_cache,
            self._encoder,
            send=self._send,
            serve=self._serve,
        )
        self._idle_slots = IdleSlots(connections.session_timeout_s)
        self._token = connections.add(self)
        self._handlers: dict[type, Callable[[Any], None]] = {
            v2.Step: self._step,
            v2.Reset: self._reset,
            v2.Open: self._open,
            v2.Resume: self._hand_over,
            v2.GetState: self._state,
            v2.Render: self._render,
            v2.Mcp: self._mcp,
            v2.Close: self._close,
        }

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._serve, name="openenv-connection", daemon=True).start()

    def resume(self, resumption: Resumption) -> None:
        """Continue over a new socket. Thread-safe."""
        self._transport.close()  # the client has given it up, even if this side has not noticed yet
        self._resumed.put(resumption)

    @property
    def is_resumed(self) -> bool:
        """Whether a new socket waits to be taken."""
        return not self._resumed.empty()

    def close_idle(self) -> None:
        """Close sessions whose clients are silent while others use the connection. Call it on the event loop.

        If all are silent, the connection ends.
        """
        if not self.runner.has_several_clients:
            return
        idle = self._idle_slots.find(set(self._slots.values()))
        with self._changing_slots:
            idle = [slot for slot in idle if self._slots.pop(slot.number, None) is slot]
        if idle:
            self._on_loop(self._ends(idle, EndReason.IDLE))

    def leave(self) -> None:
        """End once what is in progress is answered. Call it on the event loop."""
        self._is_leaving = True
        self._transport.shut()
        self._resumed.put(None)

    def _serve(self) -> None:
        """Answer requests until the client leaves; then close all its sessions."""
        self.runner.begin_thread()
        try:
            while self._serve_transport() and self._wait_for_resume():
                pass
        except HandedOverError:
            return
        self._connections.remove(self._token)
        if self._is_leaving:
            self._end_reason = EndReason.DRAIN
        with self._changing_slots:
            self._has_ended = True
            slots = list(dict.fromkeys(self._slots.values()))
        for future, (thread, is_cancelable) in list(self._unfinished.items()):
            if is_cancelable and not self._is_leaving:
                future.cancel()  # nobody waits for it
            else:
                thread.join()
        with contextlib.suppress(CancelledError, RuntimeError):  # the loop ended before the sessions
            self._on_loop(self._ends(slots, self._end_reason)).result()
        self._connections.unwatch(self)
        while not self._resumed.empty():
            if (resumed := self._resumed.get()) is not None:
                resumed.transport.close()  # too late
        self._forget_messages()
        if self._is_leaving:
            self._transport.hang_up(CloseCode.GOING_AWAY, STOPPING)
        else:
            self._transport.hang_up(CloseCode.NORMAL, "")

    def _forget_messages(self) -> None:
        """Drop messages and environments, whose memory would stay until the garbage collector finds it."""
        self._slots.clear()
        self._replay_cache.clear()
        self.runner.forget_last()
        self._handlers.clear()

    def _serve_transport(self) -> bool:
        """Answer the requests of one socket; returns whether the client may resume on another."""
        try:
            while not self._is_leaving:
                try:
                    self._answer_next()
                except TimeoutError:
                    if self.runner.was_quiet() and not self._unfinished:  # else it waits for an answer
                        message = "The client was silent for too long: its sessions are closed"
                        self._fail(None, ErrorCode.SESSION_ERROR, message)
                        self._end_reason = EndReason.IDLE
                        return False
        except NotBinaryError as error:
            self._end_reason = EndReason.PROTOCOL_ERROR
            self._fail(None, ErrorCode.INVALID_JSON, f"{error}, which has only binary frames")
        except ClientLeftError as error:
            if isinstance(error, ProtocolViolatedError):
                self._end_reason = EndReason.PROTOCOL_ERROR
            log.debug("a client left: %s", error)
        except OSError as error:
            if self._is_resumable and not self._is_leaving:
                self._report_cut(error)
                return True
            self._end_reason = EndReason.CONNECTION_LOST
            log.debug("a connection broke: %s", error)
        except HandedOverError:
            raise
        except Exception as error:
            self._end_reason = EndReason.SERVER_ERROR
            failure = server_failure(error, "a connection failed", ErrorCode.SESSION_ERROR)
            self._fail(None, *failure)
        return False

    def _wait_for_resume(self) -> bool:
        """Keep the sessions for the grace period; returns whether the client has resumed."""
        self._transport.close()
        self.kept, cut_at = len(self._slots), monotonic()
        try:
            resumed = self._resumed.get(timeout=self._connections.resume_grace_s)
        except Empty:
            resumed = None if self._connections.give_up(self._token, self) else self._resumed.get()
        while not self._resumed.empty():  # the client reconnected several times
            if resumed is not None:
                resumed.transport.close()
            resumed = self._resumed.get()
        self.kept = 0
        if resumed is None:
            self._end_reason = EndReason.GRACE_OVER
            return False
        transport, request, self._client = resumed
        self._report_resumed(monotonic() - cut_at)
        with self._sending:
            self._transport = transport
            unknown = self._replay_cache.unknown(request.missing)
            self._send(v2.encode(v2.Resumed(id=request.id, slots=list(self._slots), unknown=unknown)))
            self._replay_cache.replay(self._with_batches(request.missing))
        return True

    def _with_batches(self, missing: Sequence[tuple[int, list[int]]]) -> Sequence[tuple[int, list[int]]]:
        """Add the batches of the slots, under whose numbers their answers are kept."""
        batches = self._encoder.batches
        if not batches:
            return missing
        return [
            (
                request_id,
                [*slots, *(first for first, its in batches.items() if not set(its).isdisjoint(slots))],
            )
            for request_id, slots in missing
        ]

    def _report_cut(self, error: OSError) -> None:
        why = f"{error}; it is kept for {self._connections.resume_grace_s:g} s"
        self._sessions.counters.count_cut(len(self._slots))
        for slot in list(dict.fromkeys(self._slots.values())):
            log_event(slot.session, "cut", why)

    def _report_resumed(self, away_s: float) -> None:
        self._sessions.counters.count_resumed(len(self._slots))
        for slot in list(dict.fromkeys(self._slots.values())):
            slot.session.client = self._client
            log_event(
                slot.session, "resumed", f"its client was away for {away_s:.1f} s", away_s=round(away_s, 3)
            )

    def _answer_next(self) -> None:
        payload = self._transport.receive(is_expected=self.runner.is_idle)
        self._arrived = perf_counter()
        try:
            request = v2.decode_request(payload)
        except v2.BadMessageError as error:
            code = ErrorCode.UNKNOWN_TYPE if error.is_unknown_type else ErrorCode.VALIDATION_ERROR
            self._fail(error.request_id, code, str(error))
            return
        if isinstance(request, v2.Step) and request.same_slots:
            request.slots = self._named_slots
            refusal = "" if request.slots else "No reset or step before this one has named slots"
        else:
            refusal = _refusal_of_slots(request.slots)
            if isinstance(request, v2.Step | v2.Reset):
                self._named_slots = [] if refusal else request.slots
        if refusal:
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, refusal)
        else:
            self._handlers[type(request)](request)

    # --- requests -------------------------------------------------------------------------------------

    def _reset(self, request: v2.Reset) -> None:
        seeds = request.seeds or [None] * len(request.slots)
        if len(seeds) != len(request.slots):
            message = f"A reset of {len(request.slots)} slots needs as many seeds, got {len(seeds)}"
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, message)
            return
        if not {type(seed) for seed in seeds} <= {int, type(None)}:
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, "The seeds of a reset are integers or nil")
            return
        work: Work
        if self._encoder.batches:
            numbers, data = batch_resets(self._slots, request, seeds)
            work = reset
        else:
            numbers, data, work = request.slots, reset_data(request.options, seeds), Slot.reset
        self._run(request, numbers, work, data, request.min_ready or 0)

    def _step(self, request: v2.Step) -> None:
        work: Work
        try:
            if self._encoder.batches:
                numbers, actions = batch_actions(self._slots, request, self._adapter)
                work = step
            else:
                numbers, work = request.slots, Slot.step
                actions = self._adapter.actions(request.actions, len(request.slots))
        except (SpaceError, RecursionError) as error:
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, f"The actions are refused: {error}")
            return
        self._run(request, numbers, work, actions, request.min_ready)

    def _run(
        self,
        request: v2.Reset | v2.Step,
        numbers: Sequence[int],
        work: Work,
        arguments: Sequence[Any],
        min_ready: int = 0,
    ) -> None:
        self._is_resumable = True
        span: Span | None = None
        if self._tracer is not None:
            span = self._tracer.serve(work.__name__, len(request.slots), request.traceparent)
        self.runner.run(request, self._arrived, numbers, work, arguments, min_ready, span)

    def _open(self, request: v2.Open) -> None:
        self._encoder.sends_payloads |= request.payloads
        self._encoder.sends_info_columns |= request.info_columns
        errors = []
        new = []
        for number in request.slots:
            if number in self._slots or number in self._opening:
                message = f"Slot {number} is already open"
                errors.append(SlotError(number, ErrorCode.VALIDATION_ERROR, message, {}))
            else:
                new.append(number)
        most = self._connections.max_slots
        available = most - len(self._slots) - len(self._opening)
        message = (
            f"A connection can have at most {most} slot{'s' if most != 1 else ''} (MAX_SLOTS_PER_SOCKET)"
        )
        errors.extend(
            SlotError(number, ErrorCode.CAPACITY_REACHED, message, {}) for number in new[available:]
        )
        del new[available:]
        self._opening.update(new)
        answer = WholeAnswer(self._send)
        opened = partial(self._opened, request, answer, new, errors)
        factory = self._sessions.factory
        batches = factory if isinstance(factory, VectorFactory) else None
        if len(new) < 2 or request.payloads:
            batches = None
        self._replay_cache.add(request.id, request.slots if batches is None else new[:1], answer)
        if batches is None:
            # Without a ticket, as many slots are opened as possible.
            together = SessionsRequest(len(new), request.ticket) if request.ticket else None
            opening = [self._open_slot(request, number, together) for number in new]
            self._finish("open", opening, opened, new)
        elif errors:
            # All of it, or nothing.
            opened([CapacityReachedError(len(self._slots), most, message)] * len(new))
        else:
            opening = [self._open_batch(request, batches)]
            self._finish("open", opening, lambda results: opened([results[0]] * len(new)), new)

    async def _open_batch(self, request: v2.Open, factory: VectorFactory) -> None:
        refusal = factory.refusal(request.autoreset)
        if refusal is None and request.max_episode_steps is not None:
            refusal = (
                "The environments of this server end their episodes themselves: give max_episode_steps to "
                "what the server makes them with."
            )
        if refusal is not None:
            raise BatchRefusedError(refusal)
        count = len(request.slots)
        batch = Batch(factory.batch(count, request.autoreset), count)
        together = SessionsRequest(count, request.ticket)
        session = await self._sessions.open(self._client, request.timeout_s, together, batch)
        slot = BatchSlot(request.slots, session, self._replay_cache.latest_of)
        with self._changing_slots:
            if not self._has_ended:
                self._encoder.batches[slot.number] = slot.numbers
                self._slots.update(dict.fromkeys(slot.numbers, slot))
                return
        await self._sessions.close(session, self._end_reason)

    async def _open_slot(self, request: v2.Open, number: int, together: SessionsRequest | None) -> None:
        session = await self._sessions.open(self._client, request.timeout_s, together)
        driver = self._adapter.driver(session, self._loop, payloads=request.payloads)
        slot = Slot(
            number,
            session,
            driver,
            request.autoreset,
            request.max_episode_steps,
            steps_first=request.payloads,
            request_of=self._replay_cache.latest_of,
        )
        with self._changing_slots:
            if not self._has_ended:
                self._encoder.batches.pop(number, None)  # of an earlier batch that is closed
                self._slots[number] = slot
                return
        await self._sessions.close(session, self._end_reason)

    def _opened(
        self,
        request: v2.Open,
        answer: WholeAnswer,
        new: Sequence[int],
        errors: list[SlotError],
        results: Sequence[BaseException | None],
    ) -> None:
        """Answer a request to open slots."""
        for number, error in zip(new, results, strict=True):
            if isinstance(
                error, CapacityReachedError | FactoryFailedError | DeadlinePassedError | BatchRefusedError
            ):
                errors.append(SlotError(number, *reply_to(error, "opening a session failed")))
            elif error is not None:
                failure = server_failure(error, "opening a session failed", ErrorCode.SESSION_ERROR)
                errors.append(SlotError(number, *failure))
        self._opening.difference_update(new)
        failed = {error.slot for error in errors}
        self._encoder.count_errors(errors)
        frame = v2.encode(
            v2.Opened(
                id=request.id,
                slots=[number for number in request.slots if number not in failed],
                errors=errors,
                token=self._token,
                grace_s=self._connections.resume_grace_s,
                payloads=request.payloads,
                timeouts=True,
                same_slots=True,
                max_message_bytes=self._connections.max_message_bytes,
                zstd=compression.is_available(),
            )
        )
        with self._sending:
            answer.send(frame)

    def _hand_over(self, request: v2.Resume) -> None:
        resumption = Resumption(self._transport, request, self._client)
        if self._slots or self._opening or not self._connections.hand_over(resumption):
            grace_s = self._connections.resume_grace_s
            message = (
                f"No such sessions: the server was restarted, {grace_s:g} s have passed, or a load balancer "
                "chose another server than before"
            )
            self._fail(request.id, ErrorCode.UNKNOWN_SESSION, message)
            return
        self._connections.remove(self._token)
        self._connections.unwatch(self)
        raise HandedOverError

    def _state(self, request: v2.GetState) -> None:
        async def state(slot: Slot) -> Any:
            return slot.states() if isinstance(slot, BatchSlot) else json.loads(await slot.session.state())

        self._send_values("state", request, state)

    def _render(self, request: v2.Render) -> None:
        async def picture(slot: Slot) -> Any:
            return await slot.session.run(slot.render)

        self._send_values("render", request, picture)

    def _mcp(self, request: v2.Mcp) -> None:
        async def response(slot: Slot) -> Any:
            found = await slot.session.mcp(request.request)
            return [found] * len(slot.numbers) if isinstance(slot, BatchSlot) else found

        self._send_values("mcp", request, response)

    def _send_values(
        self,
        route: str,
        request: v2.GetState | v2.Render | v2.Mcp,
        read: Callable[[Slot], Coroutine[Any, Any, Any]],
    ) -> None:
        slots = [self._slots.get(number) for number in request.slots]
        known = list(dict.fromkeys(slot for slot in slots if slot is not None))
        asked = set(request.slots)
        errors = [not_open(number) for number, slot in zip(request.slots, slots, strict=True) if slot is None]

        async def read_in_time(slot: Slot) -> Any:
            try:
                async with asyncio.timeout(request.timeout_s) as limit:
                    return await read(slot)
            except TimeoutError:
                if not limit.expired():
                    raise  # the environment's own
                error = self.runner.abandon(slot, DeadlinePassedError(request.timeout_s or 0.0))
                self.runner.forget(slot, error)
                return error

        def answer(found: Sequence[Any]) -> None:
            numbers: list[int] = []
            values: list[Any] = []
            for slot, value in zip(known, found, strict=True):
                if isinstance(value, SlotError):
                    errors.extend(self._encoder.of_all_slots([value], request.slots))
                elif isinstance(value, BaseException):
                    failed = slot.failed(value, request.id)
                    errors.extend(self._encoder.of_all_slots([failed], request.slots))
                else:
                    each = [(number, one) for number, one in slot.each(value) if number in asked]
                    numbers.extend(number for number, _ in each)
                    values.extend(one for _, one in each)
            self._encoder.count_errors(errors)
            self._send(v2.encode(v2.Values(id=request.id, slots=numbers, values=values, errors=errors)))

        self._finish(route, [read_in_time(slot) for slot in known], answer, request.slots)

    def _close(self, request: v2.Close) -> None:
        with self._changing_slots:
            closed = {number: self._slots.pop(number) for number in request.slots if number in self._slots}
            open_still = set(self._slots.values())
        self._replay_cache.forget(list(closed))
        # A batch ends with the last of its slots.
        slots = [slot for slot in dict.fromkeys(closed.values()) if slot not in open_still]

        def answer(_: Sequence[Any]) -> None:
            self._send(v2.encode(v2.Closed(id=request.id, slots=list(closed))))

        ends = self._ends(slots, EndReason.CLIENT_LEFT, request.timeout_s)
        self._finish("close", ends, answer, request.slots, is_cancelable=False)

    def _ends(
        self, slots: Sequence[Slot], reason: EndReason, timeout_s: float | None = None
    ) -> list[Coroutine[Any, Any, None]]:
        """Coroutines that close the sessions of some slots."""

        async def end(slot: Slot) -> None:
            limit_s = min(timeout_s or CLOSE_TIMEOUT_S, CLOSE_TIMEOUT_S)
            await self._sessions.close(slot.session, reason, limit_s)
            if slot.session.is_abandoned:
                self.runner.forget(slot, not_open(slot.number))

        return [end(slot) for slot in slots]

    def _finish(
        self,
        route: str,
        coroutines: Sequence[Coroutine[Any, Any, Any]],
        answer: Callable[[list[Any]], None],
        numbers: Sequence[int],
        *,
        is_cancelable: bool = True,
    ) -> None:
        """Run coroutines concurrently on the server's event loop, and answer when all are done.

        If they take long, or if the connection has other slots, another thread waits for them, and this one
        goes on with the next request.

        Args:
            route: The kind of request, for the metrics.
            coroutines: The coroutines.
            answer: Called with their results.
            numbers: The slots of the request.
            is_cancelable: Whether the connection's end cancels them.
        """
        arrived = self._arrived

        def answer_and_count(results: list[Any]) -> None:
            answer(results)
            self._sessions.counters.request_s(route, "v2").add(perf_counter() - arrived)

        future = self._on_loop(coroutines)
        has_others = not (self._slots.keys() | self._opening).issubset(numbers)
        try:
            results = future.result(0 if has_others else _PROMPT_S)
        except TimeoutError:
            for number in numbers:
                if (slot := self._slots.get(number)) is not None:
                    slot.is_fast = False  # so that its next step waits for this call
            thread = threading.Thread(target=self._finish_late, args=(future, answer_and_count), daemon=True)
            self._unfinished[future] = Unfinished(thread, is_cancelable)
            thread.start()
        else:
            answer_and_count(results)

    def _finish_late(self, future: Future[list[Any]], answer: Callable[[list[Any]], None]) -> None:
        with contextlib.suppress(CancelledError):  # the connection has ended
            results = future.result()
            self._unfinished.pop(future, None)
            answer(results)

    def _on_loop(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> Future[list[T | BaseException]]:
        """Run coroutines concurrently on the server's event loop."""
        if not coroutines:
            done: Future[list[T | BaseException]] = Future()
            done.set_result([])
            return done

        async def gather() -> list[T | BaseException]:
            return await asyncio.gather(*coroutines, return_exceptions=True)

        gathered = gather()
        try:
            return asyncio.run_coroutine_threadsafe(gathered, self._loop)
        except RuntimeError:  # the event loop has gone
            for coroutine in (gathered, *coroutines):
                coroutine.close()
            raise

    def _fail(
        self,
        request_id: int | None,
        code: ErrorCode,
        message: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        self._sessions.counters.count_error(code)
        self._send(v2.encode(v2.Failed(code=code, message=message, details=details or {}, id=request_id)))

    def _send(self, parts: list[Payload]) -> None:
        with self._sending:
            try:
                self._transport.send(*parts)
            except OSError as error:
                # The answer stays in the replay cache.
                log.debug("a client left before its answer: %s", error)


def _refusal_of_slots(slots: list[int]) -> str:
    """Return what is wrong with the slots of a message; "" if nothing is."""
    if len(slots) > _MOST_SLOTS:
        return f"A message can name at most {_MOST_SLOTS:,} slots, got {len(slots):,}"
    if len(set(slots)) != len(slots):
        return "A message can name each slot only once"
    return ""
