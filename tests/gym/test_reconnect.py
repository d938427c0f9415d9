"""Reconnecting and its budget, over a transport that only exists in the test, with a clock that it moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openenv_gym.errors import DeadlineExceededError, EndpointUnreachableError, SessionLostError
from openenv_gym.session import reconnect as module
from openenv_gym.session.reconnect import ReconnectBudget, reconnect
from openenv_gym.transport.blocking import run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2

ENDPOINT = Endpoint.parse("http://server:1")
RESUMED = v2.Resumed(id=1, slots=[0], unknown=[7])
GONE = v2.Failed(code="UNKNOWN_SESSION", message="no such session")


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Line:
    """A connection to one worker that gives one response."""

    endpoint = ENDPOINT
    sends_close = True
    has_gateway = False

    def __init__(
        self, response: v2.Answer = RESUMED, worker: tuple[int, int] = (0, 1), is_v2: bool = True
    ) -> None:
        self.response, self.worker, self.is_v2 = response, worker, is_v2
        self.is_dropped = False

    async def send(self, message: Any, *, timeout_s: float, operation: str) -> None:
        assert operation == "resume"

    async def receive(self, *, timeout_s: float, operation: str) -> bytes:
        return b"".join(v2.encode(self.response))  # type: ignore[arg-type]

    def drop(self) -> None:
        self.is_dropped = True


class Network:
    """A transport whose connects succeed or fail in a given order; the last one repeats."""

    def __init__(self, clock: Clock, *outcomes: Line | Exception, connect_s: float = 0.0) -> None:
        self.clock, self.outcomes, self.connect_s = clock, list(outcomes), connect_s
        self.slept: list[float] = []
        self.timeouts: list[float] = []

    async def connect(self, endpoint: Endpoint, *, timeout_s: float, offers_v2: bool = True) -> Any:
        self.timeouts.append(timeout_s)
        self.clock.now += min(self.connect_s, timeout_s)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds

    async def run_blocking(self, call: Callable[[Any], None], argument: Any) -> None:
        call(argument)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def unreachable(*, refused: bool = False) -> EndpointUnreachableError:
    error = EndpointUnreachableError("nothing answers")
    error.__cause__ = ConnectionRefusedError() if refused else TimeoutError()
    return error


def attempt(
    network: Network, lost: Line | None = None, *, grace_s: float = 10.0, retryable: bool = True
) -> Any:
    return run(
        reconnect(
            lost or Line(),  # type: ignore[arg-type]
            network,
            v2.Resume(id=1, slots=[0], token="secret"),
            grace_s=grace_s,
            timeout_s=5.0,
            operation="step 3",
            cause=SessionLostError("it broke", retryable=retryable),
        )
    )


def test_the_first_attempt_is_made_at_once(clock: Clock) -> None:
    network = Network(clock, line := Line())
    connection, response = attempt(network)
    assert connection is line
    assert response.unknown == [7]
    assert network.slept == [0.0]
    assert line.sends_close
    assert not line.is_dropped


def test_pauses_grow_until_the_grace_is_over(clock: Clock) -> None:
    network = Network(clock, unreachable())
    with pytest.raises(SessionLostError, match=r"broke during step 3.*failed for 10 s") as lost:
        attempt(network)
    assert lost.value.retryable
    assert clock.now == pytest.approx(110.0)
    assert len(network.timeouts) > 10
    assert network.slept[1] <= 0.05
    assert max(network.slept) <= 1.0
    assert sorted(network.slept[1:5]) == pytest.approx(network.slept[1:5], abs=0.1)


def test_no_attempt_outlasts_the_grace(clock: Clock) -> None:
    network = Network(clock, unreachable(), connect_s=4.0)
    with pytest.raises(SessionLostError):
        attempt(network)
    assert network.timeouts[0] == 5.0
    assert network.timeouts[-1] < 5.0
    assert clock.now == pytest.approx(110.0)


def test_a_server_that_refuses_connections_has_exited(clock: Clock) -> None:
    network = Network(clock, unreachable(refused=True))
    with pytest.raises(SessionLostError, match="the server has exited"):
        attempt(network)
    assert 0.6 < clock.now - 100 < 2


def test_a_gateway_that_refuses_connections_says_nothing_about_the_server(clock: Clock) -> None:
    lost = Line()
    lost.has_gateway = True
    attempt(Network(clock, *[unreachable(refused=True)] * 8, Line()), lost, grace_s=60)
    assert clock.now - 100 > 2


def test_a_refusal_amid_other_failures_is_not_an_exit(clock: Clock) -> None:
    outcomes = [unreachable(refused=True), unreachable()] * 4
    attempt(Network(clock, *outcomes, Line()), grace_s=60)
    assert clock.now - 100 > 2


def test_a_connection_that_broke_on_purpose_is_not_resumed(clock: Clock) -> None:
    network = Network(clock, Line())
    with pytest.raises(SessionLostError, match="it broke"):
        attempt(network, retryable=False)
    assert network.timeouts == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [(Line(GONE), "No such session"), (Line(is_v2=False), "now speaks version 1 only")],
    ids=["unknown session", "older server"],
)
def test_a_server_without_the_sessions_ends_the_attempts(clock: Clock, line: Line, reason: str) -> None:
    with pytest.raises(SessionLostError, match=f"(?i){reason}"):
        attempt(Network(clock, line))
    assert line.is_dropped


def test_other_workers_of_the_server_are_passed_over(clock: Clock) -> None:
    others, mine = [Line(worker=(0, 2)) for _ in range(3)], Line(worker=(1, 2))
    connection, _ = attempt(Network(clock, *others, mine), Line(worker=(1, 2)))
    assert connection is mine
    assert all(line.is_dropped for line in others)


def test_a_response_that_is_late_is_another_reason_to_retry(clock: Clock) -> None:
    class Silent(Line):
        async def receive(self, *, timeout_s: float, operation: str) -> bytes:
            raise DeadlineExceededError("silence")

    network = Network(clock, silent := Silent(), line := Line())
    connection, _ = attempt(network)
    assert connection is line
    assert not silent.sends_close  # a farewell would end the sessions


def test_channels_share_the_budget_and_the_last_ones_get_half_a_second(clock: Clock) -> None:
    budget = ReconnectBudget(4.0)
    granted = []
    for _ in range(4):
        with budget.spend() as seconds:
            granted.append(seconds)
            clock.now += min(seconds, 3.0)
    assert granted == pytest.approx([4.0, 1.0, 0.5, 0.5])


def test_a_budget_is_regained_slowly(clock: Clock) -> None:
    budget = ReconnectBudget(4.0)
    with budget.spend():
        clock.now += 4.0
    clock.now += 5.0
    with budget.spend() as seconds:
        assert seconds == pytest.approx(1.5)
    clock.now += 100.0
    with budget.spend() as seconds:
        assert seconds == 4.0


def test_a_budget_without_a_limit_stays_so(clock: Clock) -> None:
    budget = ReconnectBudget()
    with budget.spend() as seconds:
        assert seconds == float("inf")
        clock.now += 100.0
    with budget.spend() as seconds:
        assert seconds == float("inf")
