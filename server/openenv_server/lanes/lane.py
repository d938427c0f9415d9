"""A lane: reads the requests of one socket and has them done."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from openenv_gym.errors import SpaceError
from openenv_gym.transport.frames import Payload
from openenv_gym.wire import v2
from openenv_gym.wire.arrays import Attachments
from openenv_gym.wire.codes import ErrorCode
from openenv_server.lanes.contracts import Contract, Refusal
from openenv_server.lanes.pending import Done, Pending
from openenv_server.lanes.ports import NotBinaryError, Port
from openenv_server.lanes.slot import Slot
from openenv_server.sessions import CapacityReachedError, FactoryFailedError, Session, Sessions

# Up to so many numbers are faster to send and to read one by one than as an array.
_FEW = 8

# More in one message would keep the event loop from the other clients: a slot that is refused costs it 10 µs.
_MOST_SLOTS = 2**14

log = logging.getLogger("openenv_server")
T = TypeVar("T")


class Lane:
    """Serves one socket, from a thread of its own.

    Args:
        port: The socket.
        sessions: The server's sessions.
        contract: How its environments are driven.
        loop: The server's event loop, on which sessions are opened and closed.
    """

    def __init__(
        self, port: Port, sessions: Sessions, contract: Contract, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._port = port
        self._sessions = sessions
        self._contract = contract
        self._loop = loop
        self._slots: dict[int, Slot] = {}
        self._is_idle = False  # whether all that was asked for last has been answered
        self._handlers: dict[type, Callable[[Any], None]] = {
            v2.Step: self._step,
            v2.Reset: self._reset,
            v2.Open: self._open,
            v2.GetState: self._state,
            v2.Render: self._render,
            v2.Close: self._close,
        }

    def serve(self) -> None:
        """Answers requests until the client leaves; then closes all its sessions."""
        try:
            while True:
                try:
                    self._answer_next()
                except TimeoutError:
                    if not any(slot.is_busy for slot in self._slots.values()):
                        self._fail(
                            None, ErrorCode.SESSION_ERROR, "Nothing came for too long: the sessions end"
                        )
                        return
        except NotBinaryError as error:
            self._fail(None, ErrorCode.INVALID_JSON, f"{error}; it has binary frames only")
        except OSError as error:
            log.debug("a client left: %s", error)
        finally:
            self._end(list(self._slots.values()))

    def _answer_next(self) -> None:
        payload = self._port.receive(is_expected=self._is_idle)
        self._arrived = perf_counter()
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
        self,
        request_id: int,
        numbers: Sequence[int],
        work: Callable[[Slot, Any], Done],
        arguments: Sequence[Any],
        min_ready: int,
    ) -> None:
        """Has the slow slots work on their own threads, and the fast ones here meanwhile."""
        arrived = self._arrived
        slots = [self._slots.get(number) for number in numbers]
        fast = [slot for slot in slots if slot is not None and slot.is_fast and not slot.is_busy]
        if len(fast) == len(numbers) and Refusal not in set(map(type, arguments)):
            self._is_idle = True
            done = [work(slot, argument) for slot, argument in zip(fast, arguments, strict=True)]
            self._send_result(request_id, done, arrived)
            return
        here: list[tuple[Slot, Any]] = []
        elsewhere: list[tuple[Slot, Any]] = []
        done = []
        for number, slot, argument in zip(numbers, slots, arguments, strict=True):
            if slot is None:
                done.append(_unknown(number))
            elif type(argument) is Refusal and not slot.resets_next:
                done.append(slot.refused(argument.message, argument.details))
            elif slot.is_busy:
                done.append(slot.refused("A reset or a step is under way in this slot"))
            elif slot.is_fast:
                here.append((slot, argument))
            else:
                slot.is_busy = True
                elsewhere.append((slot, argument))
        self._is_idle = not elsewhere
        pending = Pending(len(numbers), min_ready, lambda done: self._send_result(request_id, done, arrived))
        for slot, argument in elsewhere:
            slot.session.submit(_job(slot, work, argument, pending))
        done.extend([work(slot, argument) for slot, argument in here])
        pending.add(done)

    def _send_result(self, request_id: int, done: Sequence[Done], arrived: float) -> None:
        try:
            payload = self._result(request_id, done, arrived)
        except (SpaceError, TypeError, ValueError, OverflowError) as error:
            if len(done) > 1:
                # One slot's result cannot be sent. Alone, it is the one that fails.
                for one in done:
                    self._send_result(request_id, [one], arrived)
                return
            number = done[0][0]
            log.error("what slot %d gave cannot be sent", number, exc_info=error)
            failure = v2.SlotError(number, ErrorCode.EXECUTION_ERROR, f"{type(error).__name__}: {error}", {})
            payload = self._result(request_id, [failure], arrived)
        self._send(payload)

    def _result(self, request_id: int, done: Sequence[Done], arrived: float) -> list[Payload]:
        errors = [one for one in done if type(one) is v2.SlotError]
        outcomes = [one for one in done if type(one) is not v2.SlotError] if errors else done
        if not outcomes:
            return v2.encode(v2.Result(id=request_id, slots=[], observations=[], rewards=[], errors=errors))
        slots, observations, rewards, terminated, truncated, infos, finals, seconds = zip(
            *outcomes, strict=True
        )
        contract, attachments = self._contract, Attachments()
        return v2.encode(
            v2.Result(
                id=request_id,
                slots=list(slots),
                observations=contract.observations(observations, attachments),
                rewards=_column(rewards, np.float64),
                terminated=_column(terminated, np.bool_) if any(terminated) else None,
                truncated=_column(truncated, np.bool_) if any(truncated) else None,
                infos=[(place, contract.info(info)) for place, info in enumerate(infos) if info]
                if any(infos)
                else [],
                final=self._final(finals, attachments) if any(finals) else None,
                environment_us=_column(seconds, np.float64, 1e6),
                server_us=(perf_counter() - arrived) * 1e6,
                errors=errors,
            ),
            attachments,
        )

    def _final(
        self, finals: Sequence[tuple[Any, dict[str, Any]] | None], attachments: Attachments
    ) -> v2.Final:
        ended = [(place, *final) for place, final in enumerate(finals) if final is not None]
        return v2.Final(
            places=[place for place, _, _ in ended],
            observations=self._contract.observations(
                [observation for _, observation, _ in ended], attachments
            ),
            infos=[self._contract.info(info) for _, _, info in ended],
        )

    # --- everything else ------------------------------------------------------------------------------

    def _open(self, request: v2.Open) -> None:
        errors = []
        new = []
        for number in request.slots:
            if number in self._slots:
                errors.append(self._slots[number].refused(f"Slot {number} is open already"))
            else:
                new.append(number)
        opened = self._wait_for_all([self._sessions.open() for _ in new])
        for number, session in zip(new, opened, strict=True):
            if isinstance(session, Session):
                driver = self._contract.driver(session, self._loop)
                self._slots[number] = Slot(
                    number, session, driver, request.autoreset, request.max_episode_steps
                )
            else:
                errors.append(_not_opened(number, session))
        failed = {error.slot for error in errors}
        made = [number for number in request.slots if number not in failed]
        self._send(v2.encode(v2.Opened(id=request.id, slots=made, errors=errors)))

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
        errors = [_unknown(number) for number in request.slots if number not in self._slots]
        numbers, values = [], []
        for slot, value in zip(known, self._wait_for_all([read(slot) for slot in known]), strict=True):
            if isinstance(value, BaseException):
                errors.append(slot.failed(value))
            else:
                numbers.append(slot.number)
                values.append(value)
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

        return asyncio.run_coroutine_threadsafe(gather(), self._loop).result()

    def _fail(self, request_id: int | None, code: ErrorCode, message: str) -> None:
        self._send(v2.encode(v2.Failed(code=code, message=message, id=request_id)))

    def _send(self, parts: list[Payload]) -> None:
        try:
            self._port.send(*parts)
        except OSError as error:
            log.debug("a client left before its answer: %s", error)


def _job(
    slot: Slot, work: Callable[[Slot, Any], Done], argument: Any, pending: Pending
) -> Callable[[], None]:
    def job() -> None:
        done = work(slot, argument)
        slot.is_busy = False
        pending.add([done])

    return job


def _column(values: Sequence[Any], dtype: type[np.generic], factor: float = 1) -> Any:
    """Numbers of many slots as an array, and of a few as a list."""
    array = np.array(values, dtype)
    if factor != 1:
        array *= factor
    return array.tolist() if len(values) <= _FEW else array


def _unknown(number: int) -> v2.SlotError:
    return v2.SlotError(
        number, ErrorCode.UNKNOWN_SESSION, f"Slot {number} is not open on this socket; open it first", {}
    )


def _not_opened(number: int, error: BaseException) -> v2.SlotError:
    match error:
        case CapacityReachedError():
            numbers = {"active_sessions": error.active, "max_sessions": error.capacity}
            return v2.SlotError(number, ErrorCode.CAPACITY_REACHED, str(error), numbers)
        case FactoryFailedError():
            details = {"factory_name": error.factory_name}
            return v2.SlotError(number, ErrorCode.FACTORY_ERROR, str(error), details)
    log.error("a session could not be opened", exc_info=error)
    return v2.SlotError(number, ErrorCode.SESSION_ERROR, f"{type(error).__name__}: {error}", {})
