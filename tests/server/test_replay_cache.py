"""The replay cache: which answers a client can still ask for after its connection broke."""

from __future__ import annotations

from collections.abc import Sequence

from openenv_server.sessions.replay_cache import ReplayCache


class Request:
    def __init__(self) -> None:
        self.replayed: list[list[int]] = []

    def replay(self, slots: Sequence[int]) -> None:
        self.replayed.append(list(slots))


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
