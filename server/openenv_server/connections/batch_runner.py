"""Runs resets and steps in the slots of one connection."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from openenv_gym.wire.framing import Payload
from openenv_gym.wire.v2 import SlotError
from openenv_server.connections.batches import GatheredBatch, SequentialBatch, Work
from openenv_server.connections.results import ResultEncoder, not_open
from openenv_server.connections.slot import Slot, SlotResult
from openenv_server.connections.step_watchdog import StepWatchdog, StoppedBatch
from openenv_server.errors import ErrorReply, HandedOverError, StepLimitExceededError, reply_to
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.counters import Durations
from openenv_server.sessions.replay_cache import ReplayCache

log = logging.getLogger("openenv_server")


class BatchRunner:
    """Runs the fast slots of a request on the connection's thread, and the slow ones on theirs.

    Args:
        sessions: The server's sessions.
        slots: The connection's slots, by number.
        replay_cache: Keeps the answers.
        encoder: Encodes the answers.
        send: Sends a frame.
        serve: Continues to serve the connection, on a new thread, after its own thread was abandoned.

    Attributes:
        is_idle: Whether no slow slot was busy when the last request was answered.
    """

    def __init__(
        self,
        sessions: Sessions,
        slots: dict[int, Slot],
        replay_cache: ReplayCache,
        encoder: ResultEncoder,
        *,
        send: Callable[[list[Payload]], None],
        serve: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._slots = slots
        self._replay_cache = replay_cache
        self._encoder = encoder
        self._send = send
        self._serve = serve
        self.is_idle = False
        self._batch: SequentialBatch | None = None
        self._watchdog = StepWatchdog(sessions.step_timeout_s or math.inf)
        self.was_quiet = self._watchdog.was_quiet

    def run(
        self,
        request_id: int,
        numbers: Sequence[int],
        work: Work,
        arguments: Sequence[Any],
        min_ready: int,
        arrived: float,
    ) -> None:
        """Run a reset or a step.

        Args:
            request_id: The request.
            numbers: Its slots.
            work: `Slot.reset` or `Slot.step`.
            arguments: The argument of each slot; an `ErrorReply` stands for an action that is refused.
            min_ready: How many results each answer but the last has at least; 0 waits for all.
            arrived: When the request arrived, by ``time.perf_counter()``.

        Raises:
            HandedOverError: The batch exceeded the step timeout, and another thread serves the connection.
        """
        counters = self._sessions.counters
        durations = counters.reset_s if work is Slot.reset else counters.step_s
        answer = partial(self._answer, request_id, arrived, self._encoder.busy.seconds, durations)
        slots = [self._slots.get(number) for number in numbers]
        fast = [slot for slot in slots if slot is not None and slot.is_fast and not slot.is_busy]
        if len(fast) == len(numbers) and ErrorReply not in set(map(type, arguments)):
            self.is_idle = True
            batch = SequentialBatch(fast, arguments, work, answer)
            self._replay_cache.add(request_id, numbers, batch)
            self._run_here(batch, arrived)
            return
        here: list[tuple[Slot, Any]] = []
        elsewhere: list[tuple[Slot, Any]] = []
        refused: list[SlotResult] = []
        for number, slot, argument in zip(numbers, slots, arguments, strict=True):
            if slot is None:
                refused.append(not_open(number))
            elif type(argument) is ErrorReply and not slot.resets_next:
                refused.append(slot.refused(argument.message, argument.details))
            elif slot.is_busy:
                refused.append(slot.refused("A reset or a step is already in progress in this slot"))
            elif slot.is_fast:
                here.append((slot, argument))
            else:
                elsewhere.append((slot, argument))
        self.is_idle = not elsewhere
        gathered = GatheredBatch(len(numbers), min_ready, answer)
        self._replay_cache.add(request_id, numbers, gathered)
        for slot, argument in elsewhere:
            self._submit(slot, work, argument, gathered, arrived)
        gathered.add(refused)
        if here:
            slots_here, arguments_here = zip(*here, strict=True)
            self._run_here(SequentialBatch(slots_here, arguments_here, work, gathered.add), arrived)

    def _run_here(self, batch: SequentialBatch, arrived: float) -> None:
        """Run a batch on this thread."""
        self._batch = batch
        self._sessions.counters.queue_s.add(perf_counter() - arrived, len(batch.slots))
        if not batch.run():
            # The watchdog stopped it, and may have abandoned its last slot.
            session = batch.slots[len(batch.results) - 1].session
            if session.is_abandoned:
                self._sessions.settle(session)
            raise HandedOverError

    def _submit(self, slot: Slot, work: Work, argument: Any, batch: GatheredBatch, arrived: float) -> None:
        """Run a slot on its session's thread."""

        def run() -> None:
            with slot.session.turn(work.__name__):
                self._watchdog.start(slot)
                self._sessions.counters.queue_s.add(perf_counter() - arrived)
                result = work(slot, argument)
            if self._watchdog.end(slot):
                batch.add([result])

        self._watchdog.queue(slot, batch)
        slot.session.submit(run)

    def _answer(
        self,
        request_id: int,
        arrived: float,
        busy_before_s: float,
        durations: Durations,
        results: Sequence[SlotResult],
    ) -> None:
        for frame in self._encoder.frames(request_id, results, arrived, busy_before_s, durations):
            self._send(frame)

    # --- the step timeout -----------------------------------------------------------------------------

    def check_watchdog(self) -> None:
        """Abandon slots that exceed the step timeout. Call it on the event loop, again and again."""
        for slot, batch in self._watchdog.take_overdue():
            error = self._abandon(slot)
            slot.session.submit(partial(self._sessions.settle, slot.session))
            _in_thread(batch.add, [error])
        stopped = self._watchdog.stop(self._batch)
        if stopped is not None:
            self._batch = None
            failed: list[SlotResult] = []
            if stopped.stuck is not None:
                failed.append(self._abandon(stopped.stuck))
                if stopped.batch.has_stopped:
                    self._sessions.settle(stopped.stuck.session)  # it returned at the last moment
            stopped.batch.release_lock()
            _in_thread(self._continue, stopped, failed)

    def _abandon(self, slot: Slot) -> SlotError:
        """Abandon a slot whose thread does not return; returns the error that its client receives."""
        log.error(
            "slot %d took more than %g s: its session is closed, its thread is abandoned",
            slot.number,
            self._watchdog.limit_s,
            extra={"slot": slot.number, **slot.session.log_fields},
        )
        self._slots.pop(slot.number, None)
        self._sessions.abandon(slot.session)
        exceeded = StepLimitExceededError(self._watchdog.limit_s)
        return SlotError(slot.number, *reply_to(exceeded, "a step exceeded the timeout"))

    def _continue(self, stopped: StoppedBatch, failed: list[SlotResult]) -> None:
        """Finish a batch that was stopped, together with its thread, and serve the connection from here."""
        old = stopped.batch
        position = old.slots.index(stopped.stuck) if stopped.stuck is not None else len(old.results)
        results = [*old.results[:position], *failed]
        gathered = GatheredBatch(len(old.slots), 0, old.answer)
        self._replay_cache.replace(old, gathered)
        for slot, argument in list(zip(old.slots, old.arguments, strict=True))[len(results) :]:
            slot.is_fast = False
            self._submit(slot, old.work, argument, gathered, perf_counter())
        gathered.add(results)
        self._serve()


def _in_thread(work: Callable[..., None], *arguments: Any) -> None:
    """Run something on a thread, so that the event loop does not wait for it."""
    threading.Thread(target=work, args=arguments, daemon=True).start()
