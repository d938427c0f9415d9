"""Runs resets and steps in the slots of one connection."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from openenv_gym.tracing import Span
from openenv_gym.wire import v2
from openenv_gym.wire.framing import Payload
from openenv_gym.wire.v2 import SlotError
from openenv_server.connections.batches import (
    NO_DEADLINE,
    Answer,
    Deadline,
    Detached,
    GatheredBatch,
    SequentialBatch,
    Work,
)
from openenv_server.connections.results import RequestContext, ResultEncoder, not_open
from openenv_server.connections.slot import Slot, SlotResult
from openenv_server.connections.step_watchdog import DETACH_FOR_OTHERS_S, DETACH_S, StepWatchdog
from openenv_server.errors import ErrorReply, HandedOverError, ServerError, SessionAbandonedError, reply_to
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.counters import CallDurations
from openenv_server.sessions.lifecycle import EndReason
from openenv_server.sessions.replay_cache import ReplayCache
from openenv_server.sessions.running import find_in_this_thread
from openenv_server.sessions.session import Session

log = logging.getLogger("openenv_server")


class BatchRunner:
    """Runs the fast slots of a request on the connection's thread, and the slow ones on theirs.

    If a fast slot takes long, its thread ends with it, and a new one serves the connection; the other slots
    of the request run on their sessions' threads. So a slot that hangs holds up no other.

    Args:
        sessions: The server's sessions.
        slots: The connection's slots, by number.
        replay_cache: Keeps the answers.
        encoder: Encodes the answers.
        send: Sends a frame.
        serve: Continues to serve the connection, on a new thread, after its own is stuck in a slot.

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
        counters = sessions.counters
        self._steps_s = CallDurations(counters.step_s, counters.request_s("step", "v2"))
        self._resets_s = CallDurations(counters.reset_s, counters.request_s("reset", "v2"))
        self.is_idle: bool = False
        self._batch: SequentialBatch | None = None
        self._thread = 0
        self._watchdog = StepWatchdog(sessions.step_timeout_s or math.inf)
        self.was_quiet = self._watchdog.was_quiet

    def begin_thread(self) -> None:
        """Note that the connection is served by this thread from now on."""
        self._thread = threading.get_ident()
        find_in_this_thread(self._running_session)

    def forget_last(self) -> None:
        """Drop the last request and its results, after the connection has ended."""
        self._batch = None

    @property
    def has_several_clients(self) -> bool:
        """Whether the slots belong to several clients, as far as one can tell."""
        return self._encoder.sends_payloads and len(self._slots) > 1

    def _running_session(self) -> Session | None:
        """The session that the connection's thread is stepping. Call it on that thread."""
        batch = self._batch
        if batch is None or batch.has_ended or self._thread != threading.get_ident():
            return None  # or another thread serves the connection, because this one is stuck
        return batch.slots[len(batch.results)].session

    def run(
        self,
        request: v2.Reset | v2.Step,
        arrived: float,
        numbers: Sequence[int],
        work: Work,
        arguments: Sequence[Any],
        min_ready: int = 0,
        span: Span | None = None,
    ) -> None:
        """Run a reset or a step.

        Args:
            request: The request.
            arrived: When it arrived, by ``time.perf_counter()``.
            numbers: Its slots; of a batch, the first.
            work: `Slot.reset` or `Slot.step`.
            arguments: The argument of each slot; an `ErrorReply` stands for an action that is refused.
            min_ready: How many results each answer but the last has at least; 0 waits for all.
            span: Ends with the last answer.

        Raises:
            HandedOverError: A slot took long, and another thread serves the connection.
        """
        timeout_s = request.timeout_s
        deadline = NO_DEADLINE if timeout_s is None else Deadline(arrived + timeout_s, timeout_s)
        is_step = work.__name__ == "step"
        durations = self._steps_s if is_step else self._resets_s
        context = RequestContext(request, arrived, self._encoder.busy.seconds, durations)
        answer: Answer = partial(self._answer, context)
        if span is not None:
            answer = _traced(answer, span, len(numbers))
        slots = [self._slots.get(number) for number in numbers]
        fast = [
            slot
            for slot in slots
            if slot is not None and slot.is_fast and not slot.is_busy and (is_step or slot.resets_fast)
        ]
        if len(fast) == len(numbers) and ErrorReply not in set(map(type, arguments)):
            self.is_idle = True
            batch = SequentialBatch(fast, arguments, work, answer, min_ready, deadline)
            self._replay_cache.add(request.id, numbers, batch)
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
            elif slot.is_fast and (is_step or slot.resets_fast):
                here.append((slot, argument))
            else:
                elsewhere.append((slot, argument))
        self.is_idle = not elsewhere
        gathered = GatheredBatch(len(numbers), min_ready, answer, deadline)
        self._replay_cache.add(request.id, numbers, gathered)
        for slot, argument in elsewhere:
            self._submit(slot, work, argument, gathered, arrived)
        gathered.add(refused)
        if here:
            slots_here, arguments_here = zip(*here, strict=True)
            batch = SequentialBatch(slots_here, arguments_here, work, gathered.add, 1, deadline)
            self._run_here(batch, arrived)

    def _run_here(self, batch: SequentialBatch, arrived: float) -> None:
        """Run a batch on this thread."""
        self._batch = batch
        self._sessions.counters.queue_s.add(perf_counter() - arrived, len(batch.slots))
        if not batch.run():
            if batch.detached is not None:
                slot, gathered, has_returned = batch.detached
                try:
                    if slot.session.step_lock is not None:
                        slot.session.step_lock.release(slot.session)
                    if self._watchdog.end(slot):
                        gathered.add(batch.results[-1:])
                finally:
                    has_returned.set()
            raise HandedOverError

    def _submit(self, slot: Slot, work: Work, argument: Any, batch: GatheredBatch, arrived: float) -> None:
        """Run a slot on its session's thread."""

        def run() -> None:
            try:
                with slot.session.turn(work.__name__):
                    if not self._watchdog.start(slot):
                        return
                    self._sessions.counters.queue_s.add(perf_counter() - arrived)
                    result = work(slot, argument)
            except SessionAbandonedError:
                return
            if self._watchdog.end(slot):
                batch.add([result])

        self._watchdog.queue(slot, batch)
        slot.session.submit(run)

    def _answer(self, context: RequestContext, results: Sequence[SlotResult]) -> None:
        for frame in self._encoder.frames(context, results):
            self._send(frame)

    # --- slots that take too long -----------------------------------------------------------------------

    def check_watchdog(self) -> None:
        """Give up slots that take too long. Call it on the event loop, again and again."""
        for slot, batch, error in self._watchdog.take_overdue():
            _in_thread(batch.add, [self.abandon(slot, error)])
        running = self._batch
        detach_s = DETACH_FOR_OTHERS_S if self.has_several_clients else DETACH_S
        if running is not None and self._watchdog.is_stuck(running, detach_s):
            gathered = running.take_over(self._detach)
            if gathered is not None:
                self._batch = None
                _in_thread(self._continue, running, gathered)

    def abandon(self, slot: Slot, error: ServerError) -> SlotError:
        """Give up a slot whose environment does not return; returns the error that its client receives.

        Call it on the event loop.
        """
        for number in slot.numbers:
            if self._slots.get(number) is slot:
                del self._slots[number]
        where = f"slot {slot.number}, request_id {self._replay_cache.latest_of(slot.number)}"
        self._sessions.abandon(slot.session, f"{error} ({where})", EndReason.TIMEOUT)
        return SlotError(slot.number, *reply_to(error, "a slot took too long"))

    def forget(self, slot: Slot, error: SlotError) -> None:
        """Answer the request that a slot is busy with, if any, after its session was given up."""
        batch = self._watchdog.give_up(slot)
        if batch is not None:
            _in_thread(batch.add, [error])

    def _detach(self, detached: Detached) -> None:
        """Keep the thread of a slot's session from running anything beside the thread that is stuck in it."""
        self._watchdog.detach(detached)
        detached.slot.session.submit(lambda: _wait(detached.has_returned))

    def _continue(self, old: SequentialBatch, gathered: GatheredBatch) -> None:
        """Go on with a batch that was taken over from its thread, and serve the connection from here."""
        self._replay_cache.replace(old, gathered)
        self.is_idle = False
        stuck = None if old.detached is None else old.detached.slot
        place = len(old.results) if stuck is None else old.slots.index(stuck)
        left = list(zip(old.slots, old.arguments, strict=True))[place + (stuck is not None) :]
        results = old.results[:place]
        for slot, argument in left:
            slot.is_fast = False
            self._submit(slot, old.work, argument, gathered, perf_counter())
        gathered.add(results)
        self._serve()


def _traced(answer: Answer, span: Span, slots: int) -> Answer:
    """Answer, and end a span once all of so many slots are answered."""
    left = slots

    def answer_and_count(results: Sequence[SlotResult]) -> None:
        nonlocal left
        answer(results)
        left -= len(results)  # those that are replayed count again, but a span ends only once
        if errors := [result.message for result in results if isinstance(result, SlotError)]:
            span.fail(errors)
        if left <= 0:
            span.end()

    return answer_and_count


def _in_thread(work: Callable[..., None], *arguments: Any) -> None:
    """Run something on a thread, so that the event loop does not wait for it."""
    threading.Thread(target=work, args=arguments, name="openenv-connection", daemon=True).start()


def _wait(event: threading.Event) -> None:
    event.wait()
