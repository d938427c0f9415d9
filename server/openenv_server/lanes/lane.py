"""A lane: reads the requests of one client and has them done, over one socket after another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

from openenv_gym.errors import SpaceError
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import CloseCode, Payload
from openenv_server.draining import REASON
from openenv_server.incidents import own_failure, report
from openenv_server.lanes.answers import result_frames
from openenv_server.lanes.contracts import Refusal
from openenv_server.lanes.history import Done, History
from openenv_server.lanes.overdue import Overdue, Stopped
from openenv_server.lanes.pending import Pending, Round, Sent, Work
from openenv_server.lanes.ports import ClientLeftError, NotBinaryError, Port
from openenv_server.lanes.refusals import no_room, not_open, not_opened
from openenv_server.lanes.registry import Lanes
from openenv_server.lanes.slot import Slot
from openenv_server.metrics import Durations
from openenv_server.sessions import Session

# More in one message would keep the event loop from the other clients: a slot that is refused costs it 10 µs.
_MOST_SLOTS = 2**14

log = logging.getLogger("openenv_server")
T = TypeVar("T")


class _HandedOverError(Exception):
    """The socket belongs to another lane now, or the lane to another thread: this one has nothing to do."""


class Lane:
    """Serves one client, from a thread of its own.

    When its socket breaks, the sessions are kept for a while; a new socket that has the lane's token goes on
    where the old one was.

    Args:
        port: The socket.
        lanes: The server's lanes.
        loop: The server's event loop, on which sessions are opened and closed.
        client: The client's address.

    Attributes:
        kept: How many sessions wait for the client to come back.
    """

    def __init__(self, port: Port, lanes: Lanes, loop: asyncio.AbstractEventLoop, client: str) -> None:
        self._port = port
        self._lanes = lanes
        self._sessions = lanes.sessions
        self._contract = lanes.contract
        self._loop = loop
        self._client = client
        self._tally = lanes.sessions.tally
        self._is_leaving = False
        self.kept = 0
        self._slots: dict[int, Slot] = {}
        self._sends_payloads = False
        self._history = History()
        self._round: Round | None = None
        self._overdue = Overdue(lanes.sessions.step_timeout_s or math.inf)
        self._sending = threading.RLock()
        self._returned: SimpleQueue[tuple[Port, v2.Resume] | None] = SimpleQueue()
        self._is_idle = False  # whether all that was asked for last has been answered
        self._may_return = False  # whether the client knows its token
        self._token = lanes.add(self)
        self._handlers: dict[type, Callable[[Any], None]] = {
            v2.Step: self._step,
            v2.Reset: self._reset,
            v2.Open: self._open,
            v2.Resume: self._hand_over,
            v2.GetState: self._state,
            v2.Render: self._render,
            v2.Close: self._close,
        }
        self._durations: dict[Work, Durations] = {
            Slot.reset: self._tally.reset_s,
            Slot.step: self._tally.step_s,
        }

    def start(self) -> None:
        """Begins to serve."""
        threading.Thread(target=self._serve, name="openenv-lane", daemon=True).start()

    def take_port(self, port: Port, request: v2.Resume) -> None:
        """Goes on over a new socket; any thread may call it."""
        self._port.close()  # the client has given it up, even if nothing has told this side yet
        self._returned.put((port, request))

    @property
    def has_returned(self) -> bool:
        """Whether a new socket waits to be taken."""
        return not self._returned.empty()

    def leave(self) -> None:
        """Ends once what is under way is answered. Called on the event loop."""
        self._is_leaving = True
        self._port.shut()
        self._returned.put(None)

    def _serve(self) -> None:
        """Answers requests until the client leaves; then closes all its sessions."""
        try:
            while self._serve_port() and self._wait_for_return():
                pass
        except _HandedOverError:
            return
        self._lanes.remove(self._token)
        with contextlib.suppress(CancelledError, RuntimeError):  # the loop ended before the sessions
            self._end(list(self._slots.values()))
        self._lanes.forget(self)
        while not self._returned.empty():
            if (returned := self._returned.get()) is not None:
                returned[0].close()  # it came too late
        if self._is_leaving:
            self._port.hang_up(CloseCode.GOING_AWAY, REASON)
        else:
            self._port.hang_up(CloseCode.NORMAL, "")

    def _serve_port(self) -> bool:
        """Answers what comes from one socket; returns whether the client may come back on another."""
        try:
            while not self._is_leaving:
                try:
                    self._answer_next()
                except TimeoutError:
                    if self._overdue.was_quiet():  # else its silence begins with the answer
                        message = "Nothing came for too long: the sessions end"
                        self._fail(None, ErrorCode.SESSION_ERROR, message)
                        return False
        except NotBinaryError as error:
            self._fail(None, ErrorCode.INVALID_JSON, f"{error}; it has binary frames only")
        except ClientLeftError as error:
            log.debug("a client left: %s", error)
        except OSError as error:
            log.debug("a socket broke: %s", error)
            return self._may_return and not self._is_leaving
        except _HandedOverError:
            raise
        except Exception as error:
            error_id = report(error, "a lane failed")
            self._fail(None, ErrorCode.SESSION_ERROR, own_failure(error_id), error_id=error_id)
        return False

    def _wait_for_return(self) -> bool:
        """Keeps the sessions for the grace period; returns whether the client has come back."""
        self._port.close()
        self.kept = len(self._slots)
        try:
            returned = self._returned.get(timeout=self._lanes.resume_grace_s)
        except Empty:
            returned = None if self._lanes.give_up(self._token, self) else self._returned.get()
        while not self._returned.empty():
            if returned is not None:
                returned[0].close()
            returned = self._returned.get()
        self.kept = 0
        if returned is None:
            return False
        port, request = returned
        with self._sending:
            self._port = port
            unknown = self._history.unknown(request.missing)
            self._send(v2.encode(v2.Resumed(id=request.id, slots=list(self._slots), unknown=unknown)))
            self._history.repeat(request.missing)
        return True

    def _answer_next(self) -> None:
        payload = self._port.receive(is_expected=self._is_idle)
        arrived = perf_counter()
        self._arrived = arrived
        try:
            request = v2.decode_request(payload)
        except v2.BadMessageError as error:
            code = ErrorCode.UNKNOWN_TYPE if error.is_unknown_type else ErrorCode.VALIDATION_ERROR
            self._fail(None, code, str(error))
            return
        if len(request.slots) > _MOST_SLOTS:
            message = f"A message names {_MOST_SLOTS:,} slots at most, not {len(request.slots):,}"
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, message)
            return
        if len(set(request.slots)) != len(request.slots):
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, "A slot is named twice")
            return
        self._handlers[type(request)](request)

    # --- resets and steps -----------------------------------------------------------------------------

    def _reset(self, request: v2.Reset) -> None:
        seeds = request.seeds or [None] * len(request.slots)
        if len(seeds) != len(request.slots):
            message = f"{len(request.slots)} slots take as many seeds, not {len(seeds)}"
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, message)
            return
        data = [request.options if seed is None else {**request.options, "seed": seed} for seed in seeds]
        self._run(request.id, request.slots, Slot.reset, data, 0)

    def _step(self, request: v2.Step) -> None:
        try:
            actions = self._contract.actions(request.actions, len(request.slots))
        except (SpaceError, RecursionError) as error:
            self._fail(request.id, ErrorCode.VALIDATION_ERROR, f"The actions are refused: {error}")
            return
        self._run(request.id, request.slots, Slot.step, actions, request.min_ready)

    def _run(
        self, request_id: int, numbers: Sequence[int], work: Work, arguments: Sequence[Any], min_ready: int
    ) -> None:
        """Has the slow slots work on their own threads, and the fast ones here meanwhile."""
        self._may_return = True
        arrived, queue_s = self._arrived, self._tally.queue_s
        answer = partial(self._send_result, request_id, arrived, self._durations[work])
        slots = [self._slots.get(number) for number in numbers]
        fast = [slot for slot in slots if slot is not None and slot.is_fast and not slot.is_busy]
        if len(fast) == len(numbers) and Refusal not in set(map(type, arguments)):
            self._is_idle = True
            current = self._round = Round(fast, arguments, work, answer)
            self._history.keep(request_id, numbers, current)
            queue_s.add(perf_counter() - arrived, len(fast))
            if not current.run():
                self._leave(current)
            return
        here: list[tuple[Slot, Any]] = []
        elsewhere: list[tuple[Slot, Any]] = []
        done: list[Done] = []
        for number, slot, argument in zip(numbers, slots, arguments, strict=True):
            if slot is None:
                done.append(not_open(number))
            elif type(argument) is Refusal and not slot.resets_next:
                done.append(slot.refused(argument.message, argument.details))
            elif slot.is_busy:
                done.append(slot.refused("A reset or a step is under way in this slot"))
            elif slot.is_fast:
                here.append((slot, argument))
            else:
                elsewhere.append((slot, argument))
        self._is_idle = not elsewhere
        pending = Pending(len(numbers), min_ready, answer)
        self._history.keep(request_id, numbers, pending)
        for slot, argument in elsewhere:
            self._overdue.begin(slot, pending)
            slot.session.submit(partial(self._work_elsewhere, slot, work, argument, pending, arrived))
        pending.add(done)
        current = self._round = Round(
            [slot for slot, _ in here], [argument for _, argument in here], work, pending.add
        )
        if here:
            queue_s.add(perf_counter() - arrived, len(here))
        if not current.run():
            self._leave(current)

    def _work_elsewhere(
        self, slot: Slot, work: Work, argument: Any, pending: Pending, arrived: float
    ) -> None:
        """What a slow slot does on its session's thread."""
        with slot.session.turn():
            self._overdue.start(slot)
            self._tally.queue_s.add(perf_counter() - arrived)
            done = work(slot, argument)
        if self._overdue.end(slot):
            pending.add([done])

    def _send_result(
        self, request_id: int, arrived: float, durations: Durations, done: Sequence[Done]
    ) -> None:
        for frame in result_frames(
            self._contract, request_id, done, arrived, self._tally, durations, self._sends_payloads
        ):
            self._send(frame)

    # --- what takes too long --------------------------------------------------------------------------

    def give_up_overdue(self) -> None:
        """Gives up on slots whose reset or step takes too long. Called on the event loop, again and again."""
        for slot, pending in self._overdue.give_up():
            error = self._abandon(slot)
            slot.session.submit(partial(self._sessions.settle, slot.session))
            self._aside(pending.add, [error])
        stopped = self._overdue.stop(self._round)
        if stopped is not None:
            self._round = None
            failed = [] if stopped.stuck is None else [self._abandon(stopped.stuck)]
            stopped.round.give_up_lock()
            if stopped.stuck is not None and stopped.round.has_stopped:
                self._sessions.settle(stopped.stuck.session)  # it came back at the last moment
            self._aside(self._go_on_after, stopped, failed)

    def _abandon(self, slot: Slot) -> v2.SlotError:
        """Lets go of a slot whose thread does not return; the error that its client gets."""
        limit_s = self._overdue.limit_s
        log.error(
            "slot %d took more than %g s: its session ends, its thread is abandoned",
            slot.number,
            limit_s,
            extra={"slot": slot.number, **slot.session.log_fields},
        )
        self._slots.pop(slot.number, None)
        self._sessions.abandon(slot.session)
        message = f"The reset or the step took more than {limit_s:g} s, and its session is closed"
        return v2.SlotError(slot.number, ErrorCode.TIMEOUT, message, {"timeout_s": limit_s})

    def _go_on_after(self, stopped: Stopped, failed: list[v2.SlotError]) -> None:
        """Goes on in a new thread after a round was stopped, and with it the lane's own thread."""
        old = stopped.round
        position = old.slots.index(stopped.stuck) if stopped.stuck is not None else len(old.done)
        done = [*old.done[:position], *failed]
        pending = Pending(len(old.slots), 0, old.answer)
        self._history.replace(old, pending)
        for slot, argument in list(zip(old.slots, old.arguments, strict=True))[len(done) :]:
            slot.is_fast = False
            self._overdue.begin(slot, pending)
            slot.session.submit(
                partial(self._work_elsewhere, slot, old.work, argument, pending, perf_counter())
            )
        pending.add(done)
        self._serve()

    def _leave(self, stopped: Round) -> None:
        """What is left for a thread whose round was stopped: its last slot may have been given up on."""
        session = stopped.slots[len(stopped.done) - 1].session
        if session.is_abandoned:
            self._sessions.settle(session)
        raise _HandedOverError

    def _aside(self, work: Callable[..., None], *arguments: Any) -> None:
        """Runs something in a thread, as the event loop must not wait."""
        threading.Thread(target=work, args=arguments, name="openenv-lane", daemon=True).start()

    # --- everything else ------------------------------------------------------------------------------

    def _open(self, request: v2.Open) -> None:
        self._sends_payloads |= request.payloads
        errors = []
        new = []
        for number in request.slots:
            if number in self._slots:
                errors.append(self._slots[number].refused(f"Slot {number} is open already"))
            else:
                new.append(number)
        room = self._lanes.max_slots - len(self._slots)
        errors.extend(no_room(number, self._lanes.max_slots) for number in new[room:])
        del new[room:]
        opened = self._wait_for_all([self._sessions.open(self._client) for _ in new])
        for number, session in zip(new, opened, strict=True):
            if isinstance(session, Session):
                driver = self._contract.driver(session, self._loop, payloads=request.payloads)
                self._slots[number] = Slot(
                    number, session, driver, request.autoreset, request.max_episode_steps
                )
            else:
                errors.append(not_opened(number, session))
        failed = {error.slot for error in errors}
        made = [number for number in request.slots if number not in failed]
        self._count(errors)
        grace_s = self._lanes.resume_grace_s
        answer = v2.Opened(
            id=request.id,
            slots=made,
            errors=errors,
            token=self._token,
            grace_s=grace_s,
            payloads=request.payloads,
        )
        frame = v2.encode(answer)
        self._history.keep(request.id, request.slots, Sent(partial(self._send, frame)))
        self._send(frame)

    def _hand_over(self, request: v2.Resume) -> None:
        if self._slots or not self._lanes.hand_over(self._port, request):
            message = (
                "There are no such sessions: the server was started anew, or "
                f"{self._lanes.resume_grace_s:g} s have passed"
            )
            self._fail(request.id, ErrorCode.UNKNOWN_SESSION, message)
            return
        self._lanes.remove(self._token)
        self._lanes.forget(self)
        raise _HandedOverError

    def _state(self, request: v2.GetState) -> None:
        def read(slot: Slot) -> Coroutine[Any, Any, Any]:
            async def state() -> Any:
                return json.loads(await slot.session.state())

            return state()

        self._send_values(request, read)

    def _render(self, request: v2.Render) -> None:
        def draw(slot: Slot) -> Coroutine[Any, Any, Any]:
            async def picture() -> Any:
                return await slot.session.run(slot.render)

            return picture()

        self._send_values(request, draw)

    def _send_values(
        self, request: v2.GetState | v2.Render, read: Callable[[Slot], Coroutine[Any, Any, Any]]
    ) -> None:
        known = [self._slots[number] for number in request.slots if number in self._slots]
        errors = [not_open(number) for number in request.slots if number not in self._slots]
        numbers, values = [], []
        for slot, value in zip(known, self._wait_for_all([read(slot) for slot in known]), strict=True):
            if isinstance(value, BaseException):
                errors.append(slot.failed(value))
            else:
                numbers.append(slot.number)
                values.append(value)
        self._count(errors)
        self._send(v2.encode(v2.Values(id=request.id, slots=numbers, values=values, errors=errors)))

    def _close(self, request: v2.Close) -> None:
        known = [number for number in request.slots if number in self._slots]
        self._end([self._slots.pop(number) for number in known])
        self._send(v2.encode(v2.Closed(id=request.id, slots=known)))

    def _end(self, slots: Sequence[Slot]) -> None:
        self._wait_for_all([self._sessions.close(slot.session) for slot in slots])

    def _wait_for_all(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
        """Runs coroutines beside each other on the server's event loop."""
        if not coroutines:
            return []

        async def gather() -> list[T | BaseException]:
            return await asyncio.gather(*coroutines, return_exceptions=True)

        gathered = gather()
        try:
            future = asyncio.run_coroutine_threadsafe(gathered, self._loop)
        except RuntimeError:  # the event loop has gone
            for coroutine in (gathered, *coroutines):
                coroutine.close()
            raise
        return future.result()

    def _count(self, errors: Sequence[v2.SlotError]) -> None:
        for error in errors:
            self._tally.count_error(error.code)

    def _fail(self, request_id: int | None, code: ErrorCode, message: str, **details: str) -> None:
        self._tally.count_error(code)
        self._send(v2.encode(v2.Failed(code=code, message=message, details=details, id=request_id)))

    def _send(self, parts: list[Payload]) -> None:
        with self._sending:
            try:
                self._port.send(*parts)
            except OSError as error:
                # The answer is kept for a client that comes back.
                log.debug("a client left before its answer: %s", error)
