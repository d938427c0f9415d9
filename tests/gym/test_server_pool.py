"""`ServerPool`: which servers new sessions go to, and what is said if there are too few."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openenv_gym.errors import (
    AccessRefusedError,
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    SessionLostError,
)
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Capacity
from openenv_gym.vector import server_pool
from openenv_gym.vector.server_pool import ServerPool, for_each, in_proportion
from tests.support.scripted import Clock

A, B, C = (Endpoint(f"http://{name}:8000") for name in "abc")
SCHEMAS = {"type": "object"}, {"type": "object"}


class Servers:
    """What the servers at some addresses answer.

    Attributes:
        answers: Their capacities: free and total; None if a server does not say; or an error.
        asked: The servers that were asked for their capacity, in no order.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answers: dict[Endpoint, tuple[int, int] | EndpointError | None] = {}
        self.schemas: dict[Endpoint, Any] = {}
        self.asked: list[Endpoint] = []

    def pool(self, addresses: Any = None, **answers: Any) -> ServerPool:
        self.answers = {Endpoint(f"http://{name}:8000"): answer for name, answer in answers.items()}
        urls = [endpoint.base_url for endpoint in self.answers] if addresses is None else addresses
        pool = ServerPool(urls, connect_timeout_s=5.0)
        self.asked.clear()
        return pool

    def get_schemas(self, endpoint: Endpoint, *, timeout_s: float) -> Any:
        answer = self.answers[endpoint]
        if isinstance(answer, EndpointError):
            self.asked.append(endpoint)
            raise answer
        return self.schemas.get(endpoint, SCHEMAS)

    def get_capacity(self, endpoint: Endpoint, *, timeout_s: float) -> Capacity | None:
        self.asked.append(endpoint)
        answer = self.answers[endpoint]
        if isinstance(answer, EndpointError):
            raise answer
        return None if answer is None else Capacity(*answer)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    clock = Clock()
    clock.patch(monkeypatch, "vector.server_pool")
    servers = Servers(clock)
    monkeypatch.setattr(server_pool, "get_schemas", servers.get_schemas)
    monkeypatch.setattr(server_pool, "get_capacity", servers.get_capacity)
    return servers


def ready(pool: ServerPool) -> ServerPool:
    """The pool, which knows the schemas."""
    pool._schemas = SCHEMAS
    return pool


AWAY = EndpointUnreachableError("Nothing answers.", advice="Start it.")


# --- proportions ------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.lists(st.integers(0, 100), min_size=1, max_size=12))
def test_shares_sum_up_and_nobody_gets_more_than_is_free(count: int, free: list[int]) -> None:
    shares = in_proportion(count, free)
    assert len(shares) == len(free)
    assert sum(shares) == min(count, sum(free))
    assert all(0 <= share <= most for share, most in zip(shares, free, strict=True))
    if count <= sum(free):
        quotas = [count * part / max(sum(free), 1) for part in free]
        assert all(abs(share - quota) < 1 for share, quota in zip(shares, quotas, strict=True))


# --- placing ----------------------------------------------------------------------------------------------


def test_a_single_server_is_not_asked(servers: Servers) -> None:
    pool = servers.pool(a=(1, 1))
    assert pool.place(64) == [(A, 64)]
    assert servers.asked == []


def test_several_servers_get_sessions_in_proportion_to_what_is_free(servers: Servers) -> None:
    pool = ready(servers.pool(a=(30, 64), b=(10, 64), c=(0, 64)))
    assert pool.place(8) == [(A, 6), (B, 2)]


def test_fewer_are_placed_if_fewer_are_free(servers: Servers) -> None:
    pool = ready(servers.pool(a=(2, 4), b=(1, 4)))
    assert pool.place(8) == [(A, 2), (B, 1)]
    with pytest.raises(CapacityError):
        pool.place_all(8)
    assert pool.place_all(3) == [(A, 2), (B, 1)]


def test_a_server_that_does_not_say_counts_as_the_emptiest(servers: Servers) -> None:
    pool = ready(servers.pool(a=None, b=(4, 8)))
    assert dict(pool.place(8)) == {A: 5, B: 3}
    assert sum(share for _, share in pool.place(100)) == 100


def test_servers_that_are_away_get_none(servers: Servers) -> None:
    pool = ready(servers.pool(a=AWAY, b=(4, 8)))
    assert pool.place(4) == [(B, 4)]


def test_servers_that_failed_are_not_asked(servers: Servers) -> None:
    pool = ready(servers.pool(a=(4, 8), b=(4, 8)))
    assert pool.place(4, without={A: SessionLostError("lost")}) == [(B, 4)]
    assert servers.asked == [B]


def test_if_no_server_is_left_the_reason_that_is_worth_a_wait_is_raised(servers: Servers) -> None:
    pool = ready(servers.pool(a=(4, 8), b=(4, 8)))
    full, refused = CapacityError("full"), AccessRefusedError("go away")
    with pytest.raises(CapacityError) as caught:
        pool.place(1, without={A: full, B: refused})
    assert caught.value is full
    with pytest.raises(AccessRefusedError):
        pool.place(1, without={A: AWAY, B: refused})
    servers.answers[B] = AWAY
    with pytest.raises(CapacityError):
        pool.place(1, without={A: full})


def test_if_no_server_answers_the_first_reason_is_named(servers: Servers) -> None:
    cause = OSError("no route")
    first = EndpointUnreachableError("Nothing answers at a.", advice="Start it.", endpoint=A.base_url)
    first.__cause__ = cause
    pool = ready(servers.pool(a=first, b=AWAY))
    with pytest.raises(EndpointUnreachableError, match="None of the 2 servers answers") as caught:
        pool.place(4)
    assert (caught.value.endpoint, caught.value.advice) == (A.base_url, "Start it.")
    assert caught.value.__cause__ is cause


def test_a_slow_server_is_not_asked_for_ten_seconds_unless_no_other_answers(servers: Servers) -> None:
    pool = ready(servers.pool(a=DeadlineExceededError("slow"), b=(4, 8)))
    pool.place(2)
    assert set(servers.asked) == {A, B}
    servers.asked.clear()
    servers.clock.now += 9.0
    pool.place(2)
    assert servers.asked == [B]
    servers.answers[B] = AWAY
    servers.asked.clear()
    with pytest.raises(EndpointUnreachableError):
        pool.place(2)
    assert set(servers.asked) == {A, B}
    servers.answers.update({A: (1, 1), B: (4, 8)})
    servers.clock.now += 10.1
    assert dict(pool.place(5)) == {A: 1, B: 4}


def test_an_unreachable_server_is_asked_every_time(servers: Servers) -> None:
    pool = ready(servers.pool(a=AWAY, b=(4, 8)))
    pool.place(2)
    servers.answers[A] = (8, 8)
    assert dict(pool.place(3)) == {A: 2, B: 1}


def test_a_server_that_came_back_is_compared_again(servers: Servers) -> None:
    pool = ready(servers.pool(a=(4, 4), b=(4, 4)))
    pool.place(2)
    servers.schemas[B] = ({"type": "object"}, {"type": "object", "title": "Other"})
    pool.place(2)  # known to be the same
    pool.forget(B)
    with pytest.raises(ConfigurationError, match=r"http://a:8000 and http://b:8000 serve different"):
        pool.place(2)


def test_addresses_may_change(servers: Servers) -> None:
    current = [A.base_url]
    pool = ready(servers.pool(lambda: current, a=(4, 4), b=(4, 4)))
    assert not pool.are_several
    assert pool.place(2) == [(A, 2)]
    current[:] = [B.base_url, A.base_url, B.base_url]
    assert pool.are_several
    assert pool.place(2) == [(B, 1), (A, 1)]
    current.clear()
    with pytest.raises(ConfigurationError, match="empty"):
        pool.place(2)


def test_a_copy_keeps_the_current_addresses_and_forgets_times(servers: Servers) -> None:
    current = [A.base_url]
    pool = ready(servers.pool(lambda: current, a=(4, 4), b=DeadlineExceededError("slow"), c=(1, 1)))
    current.extend([B.base_url, C.base_url])
    pool.place(2)
    state = pool.__getstate__()
    assert state["_addresses"] == [A.base_url, B.base_url, C.base_url]
    assert state["_avoided_until"] == {}
    assert pickle.loads(pickle.dumps(pool)).endpoints() == [A, B, C]


# --- schemas ----------------------------------------------------------------------------------------------


def test_servers_that_are_away_are_left_out_with_a_warning(servers: Servers) -> None:
    pool = servers.pool(a=AWAY, b=(4, 4), c=(4, 4))
    with pytest.warns(UserWarning, match="1 of the 3 servers do not answer.*http://a:8000"):
        assert pool.read_schemas() == SCHEMAS
    assert pool.first == B


def test_servers_of_different_environments_are_refused(servers: Servers) -> None:
    pool = servers.pool(a=(4, 4), b=(4, 4))
    servers.schemas[B] = ({"type": "object", "title": "Other"}, {"type": "object"})
    with pytest.raises(ConfigurationError, match=r"http://a:8000 and http://b:8000"):
        pool.read_schemas()


def test_a_single_server_that_is_away_raises_its_own_error(servers: Servers) -> None:
    with pytest.raises(EndpointUnreachableError) as caught:
        servers.pool(a=AWAY).read_schemas()
    assert caught.value is AWAY
    with pytest.raises(EndpointUnreachableError, match="None of the 2 servers"):
        servers.pool(a=AWAY, b=AWAY).read_schemas()


# --- too few ----------------------------------------------------------------------------------------------


def too_few(pool: ServerPool, count: int) -> CapacityError:
    with pytest.raises(CapacityError) as caught:
        pool.place_all(count)
    return caught.value


@pytest.mark.parametrize(
    ("answers", "in_all", "says"),
    [
        ({"a": (1, 4), "b": (1, 4)}, None, "2 of the 6 requested sessions. The others are in use."),
        ({"a": (1, 2), "b": (1, 2)}, 4, "4 sessions in all, and 6 were requested."),
        ({"a": (2, 2), "b": AWAY}, None, "http://b:8000 did not answer. The others have 2 sessions in all."),
    ],
    ids=["in use", "never enough", "away"],
)
def test_too_few_sessions_are_counted(
    servers: Servers, answers: dict[str, Any], in_all: int | None, says: str
) -> None:
    error = too_few(ready(servers.pool(**answers)), 6)
    assert (error.asked_for, error.available, error.in_all) == (6, 2, in_all)
    assert error.endpoint == A.base_url
    assert says in error.message
    assert bool(error.advice) is (in_all is not None)


def test_with_changing_addresses_more_sessions_may_come(servers: Servers) -> None:
    addresses: Callable[[], list[str]] = lambda: [A.base_url, B.base_url]  # noqa: E731
    error = too_few(ready(servers.pool(addresses, a=(1, 2), b=(1, 2))), 6)
    assert error.in_all is None
    assert "The total is 4 now." in error.message


def test_a_server_that_does_not_say_may_have_more(servers: Servers) -> None:
    pool = ready(servers.pool(a=None, b=(4, 8)))
    assert not pool.never_have(1000)


def test_servers_that_were_left_out_may_have_more(servers: Servers) -> None:
    pool = ready(servers.pool(a=(1, 1), b=(1, 1)))
    with pytest.raises(CapacityError) as caught:
        pool.place_all(4, without={A: CapacityError("full")})
    assert caught.value.in_all is None
    assert "did not answer" not in caught.value.message  # it did


def test_a_single_server_is_asked_whether_waiting_is_pointless(servers: Servers) -> None:
    pool = ready(servers.pool(a=(0, 4)))
    assert not pool.never_have(4)
    assert pool.never_have(5)
    assert pool.too_few(5, 0).in_all == 4
    servers.answers[A] = AWAY
    assert not pool.never_have(5)


# --- all at once ------------------------------------------------------------------------------------------


def test_for_each_keeps_the_order_and_raises_after_all_have_finished() -> None:
    finished: list[int] = []

    def call(item: int) -> int:
        finished.append(item)
        if item == 1:
            raise ValueError("one")
        return -item

    assert for_each(call, [5]) == [-5]
    assert for_each(call, []) == []
    assert for_each(call, [4, 3, 2]) == [-4, -3, -2]
    finished.clear()
    with pytest.raises(ValueError, match="one"):
        for_each(call, [1, 2, 3])
    assert sorted(finished) == [1, 2, 3]
