"""Batches that another thread takes over: every slot is run once, and its result is sent once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from openenv_server.connections.batches import Detached, SequentialBatch
from openenv_server.step_lock import PROCESS_LOCK, StepLock


class OneSession:
    def __init__(self, lock: StepLock | None) -> None:
        self.step_lock = lock


class Slots:
    """Three slots, whose work blocks where it is told to.

    Attributes:
        blocks: By slot, what its work waits for.
        begun: By slot, set when its work begins.
        runs: The slots that were run, in order.
    """

    def __init__(self, *, in_turn: bool) -> None:
        lock = PROCESS_LOCK if in_turn else None
        self.all: list[Any] = [
            SimpleNamespace(number=number, session=OneSession(lock)) for number in range(3)
        ]
        self.blocks: dict[int, threading.Event] = {}
        self.begun = [threading.Event() for _ in range(3)]
        self.runs: list[int] = []

    def work(self, slot: Any, argument: Any) -> Any:
        self.begun[slot.number].set()
        if slot.number in self.blocks:
            assert self.blocks[slot.number].wait(10)
        self.runs.append(slot.number)
        return SimpleNamespace(slot=slot.number)


def ignore(detached: Detached) -> None:
    """Detach nothing else."""


def in_thread(call: Callable[[], bool]) -> tuple[threading.Thread, list[bool]]:
    returned: list[bool] = []
    thread = threading.Thread(target=lambda: returned.append(call()))
    thread.start()
    return thread, returned


@pytest.mark.parametrize("in_turn", [True, False])
def test_a_batch_that_is_stuck_runs_its_slot_and_no_further_one(in_turn: bool) -> None:
    slots, answers = Slots(in_turn=in_turn), list[Any]()
    slots.blocks[1] = threading.Event()
    batch = SequentialBatch(slots.all, [None] * 3, slots.work, answers.append)
    thread, returned = in_thread(batch.run)
    assert slots.begun[1].wait(10)
    batch.should_stop = True
    detached: list[Detached] = []
    gathered = batch.take_over(detached.append)
    assert gathered is not None
    assert batch.take_over(detached.append) is None
    assert [(found.slot, found.batch) for found in detached] == [(slots.all[1], gathered)]
    slots.blocks[1].set()
    thread.join()
    assert (returned, slots.runs, answers) == ([False], [0, 1], [])
    assert [result.slot for result in batch.results] == [0, 1]
    if in_turn:  # the lock belongs to the slot until its result is taken
        assert not PROCESS_LOCK._lock.acquire(blocking=False)
        PROCESS_LOCK.release(slots.all[1].session)
    with PROCESS_LOCK.held_by(slots):
        pass


def test_a_batch_that_stops_in_time_leaves_the_rest() -> None:
    slots = Slots(in_turn=True)
    slots.blocks[1] = threading.Event()
    batch = SequentialBatch(slots.all, [None] * 3, slots.work, lambda results: None)
    thread, returned = in_thread(batch.run)
    assert slots.begun[1].wait(10)
    batch.should_stop = True
    slots.blocks[1].set()
    thread.join()
    assert batch.take_over(ignore) is not None
    assert (returned, slots.runs, batch.detached) == ([False], [0, 1], None)


def test_a_batch_that_waits_for_its_turn_runs_nothing_once_it_is_taken_over() -> None:
    slots = Slots(in_turn=True)
    batch = SequentialBatch(slots.all, [None] * 3, slots.work, lambda results: None)
    with PROCESS_LOCK.held_by(slots):
        thread, returned = in_thread(batch.run)
        batch.should_stop = True
        assert batch.take_over(ignore) is not None
    thread.join()
    assert (returned, slots.runs, batch.detached) == ([False], [], None)


def test_a_batch_that_has_ended_is_not_taken_over() -> None:
    slots, answers = Slots(in_turn=False), list[Any]()
    batch = SequentialBatch(slots.all, [None] * 3, slots.work, answers.append)
    assert batch.run()
    batch.should_stop = True
    assert batch.take_over(ignore) is None
    assert [result.slot for result in answers[0]] == [0, 1, 2]


@pytest.mark.parametrize("repetition", range(50))
def test_a_batch_that_is_taken_over_at_any_moment_runs_no_slot_twice(repetition: int) -> None:
    slots, answers = Slots(in_turn=False), list[Any]()
    batch = SequentialBatch(slots.all, [None] * 3, slots.work, answers.append)
    thread, returned = in_thread(batch.run)
    batch.should_stop = True
    detached: list[Detached] = []
    gathered = batch.take_over(detached.append)
    thread.join()
    if gathered is None:
        assert (returned, slots.runs, len(answers)) == ([True], [0, 1, 2], 1)
        return
    done = len(batch.results)
    if detached:
        assert detached[0].slot is slots.all[done - 1]
    assert (returned, slots.runs, answers) == ([False], list(range(done)), [])
