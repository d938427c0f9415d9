"""The replay cache: which answers a client can still ask for after its connection broke."""

from __future__ import annotations

import time
from collections.abc import Sequence

from openenv_server.sessions.replay_cache import ReplayCache


class Request:
    def __init__(self) -> None:
        self.replayed: list[list[int]] = []
        self.kept: list[list[int]] = []

    def replay(self, slots: Sequence[int]) -> None:
        self.replayed.append(list(slots))

    def keep(self, slots: Sequence[int]) -> None:
        self.kept.append(list(slots))


def test_two_requests_in_flight_are_both_answered() -> None:
    cache, first, second = ReplayCache(), Request(), Request()
    cache.add(1, [0, 1], first)
    cache.add(2, [2, 3], second)
    missing = [(1, [0, 1]), (2, [2])]
    assert cache.unknown(missing) == []
    cache.replay(missing)
    assert (first.replayed, second.replayed) == ([[0, 1]], [[2]])


def test_many_requests_in_flight_are_all_answered() -> None:
    cache = ReplayCache()
    requests = [Request() for _ in range(50)]
    for number, request in enumerate(requests):
        cache.add(number, [number], request)
    cache.replay([(number, [number]) for number in range(50)])
    assert [request.replayed for request in requests] == [[[number]] for number in range(50)]


def test_a_newer_request_of_the_same_slots_acknowledges_the_older() -> None:
    cache, first, second = ReplayCache(), Request(), Request()
    cache.add(1, [0, 1], first)
    cache.add(2, [0, 1], second)
    assert cache.unknown([(1, [0, 1]), (2, [0, 1])]) == [1]
    cache.replay([(1, [0, 1]), (2, [0, 1])])
    assert (first.replayed, second.replayed) == ([], [[0, 1]])


def test_only_the_slots_of_the_newer_request_are_acknowledged() -> None:
    cache, both, half, other_half = ReplayCache(), Request(), Request(), Request()
    cache.add(1, [0, 1, 2, 3], both)
    cache.add(2, [0, 1], half)
    assert cache.unknown([(1, [2, 3]), (2, [0, 1])]) == []
    cache.replay([(1, [2, 3])])
    assert both.replayed == [[2, 3]]
    cache.add(3, [3, 2], other_half)
    assert cache.unknown([(1, [2, 3]), (2, [0, 1]), (3, [2, 3])]) == [1]


def test_the_order_of_the_slots_does_not_matter() -> None:
    cache = ReplayCache()
    cache.add(1, [0, 1], Request())
    cache.add(2, [1, 0], Request())
    assert cache.unknown([(1, [0]), (2, [0])]) == [1]


def test_a_request_that_never_arrived_is_unknown() -> None:
    cache, first = ReplayCache(), Request()
    cache.add(1, [0], first)
    missing = [(1, [0]), (2, [1])]
    assert cache.unknown(missing) == [2]
    cache.replay(missing)
    assert first.replayed == [[0]]


def test_a_request_may_be_replayed_again() -> None:
    cache, first = ReplayCache(), Request()
    cache.add(1, [0], first)
    for _ in range(3):
        cache.replay([(1, [0])])
    assert first.replayed == [[0]] * 3


def test_another_object_takes_over_a_request() -> None:
    cache, old, new, other = ReplayCache(), Request(), Request(), Request()
    cache.add(1, [0], old)
    cache.add(2, [1], other)
    cache.replace(old, new)
    cache.replay([(1, [0]), (2, [1])])
    assert (old.replayed, new.replayed, other.replayed) == ([], [[0]], [[1]])


def test_a_slot_that_is_forgotten_is_not_kept() -> None:
    cache, both, single = ReplayCache(), Request(), Request()
    cache.add(1, [0, 1], both)
    cache.add(2, [2], single)
    cache.forget([0, 2])
    assert cache.unknown([(1, [1]), (2, [2])]) == [2]
    assert (cache.latest_of(0), cache.latest_of(1)) == (None, 1)


def test_a_request_forgets_the_answers_that_newer_requests_acknowledge() -> None:
    """Else each slot that pauses would keep the answers of all others."""
    cache, everything = ReplayCache(), Request()
    cache.add(0, list(range(8)), everything)
    for slot in range(7):
        cache.add(slot + 1, [slot], Request())
    assert everything.kept == [[4, 5, 6, 7], [6, 7], [7]]


def test_adding_requests_of_single_slots_takes_constant_time() -> None:
    def seconds(slots: int) -> float:
        cache, request = ReplayCache(), Request()
        rounds = 40_000 // slots
        begin = time.perf_counter()
        for number in range(rounds * slots):
            cache.add(number, [number % slots], request)
        return time.perf_counter() - begin

    assert min(seconds(2000) for _ in range(3)) < 5 * min(seconds(20) for _ in range(3))
