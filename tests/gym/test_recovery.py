"""`ResetRetry` and `retry`: which errors are retried, how often, and for how long."""

from __future__ import annotations

import logging
import math

import pytest

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    NotAnOpenEnvServerError,
    OpenEnvError,
    RemoteEnvironmentError,
    SessionLostError,
    StepTimeoutError,
    UnauthorizedError,
)
from openenv_gym.session import recovery
from openenv_gym.session.recovery import LOSS_RETRIES, ResetRetry, check_on_session_lost, retry
from openenv_gym.wire.framing import CloseCode, PeerClosedError
from tests.support.scripted import Clock, cut

FINAL = [
    EndpointError,
    NotAnOpenEnvServerError,
    UnauthorizedError,
    RemoteEnvironmentError,
    ConfigurationError,
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.patch(monkeypatch, "session.recovery")
    return clock


def attempts(retries: ResetRetry, error: OpenEnvError, clock: Clock) -> list[float]:
    """Fail with the same error until it is given up on; how long after the start each attempt was."""
    begin = clock.now
    found: list[float] = []
    while (at := retries.next_attempt(error)) is not None:
        assert at >= clock.now
        clock.now = at
        found.append(at - begin)
        assert len(found) < 1000
    return found


def test_a_lost_session_is_retried_immediately_and_twice(clock: Clock) -> None:
    assert attempts(ResetRetry(60.0), cut(), clock) == [0.0] * LOSS_RETRIES == [0.0, 0.0]


@pytest.mark.parametrize(
    "loss", [cut(retryable=False), StepTimeoutError("slow"), DeadlineExceededError("silent")]
)
def test_losses_that_the_server_caused_are_retried_only_with_truncate(
    loss: OpenEnvError, clock: Clock
) -> None:
    assert attempts(ResetRetry(60.0), loss, clock) == []
    assert attempts(ResetRetry(0.0, truncates=True), loss, clock) == [0.0, 0.0]


def test_with_truncate_losses_are_retried_with_backoff_until_the_capacity_timeout(clock: Clock) -> None:
    found = attempts(ResetRetry(5.0, truncates=True), cut(), clock)
    assert found[:2] == [0.0, 0.0]
    assert 0.05 <= found[2] <= 0.1
    assert found[-1] == 5.0
    assert len(found) > 5


@pytest.mark.parametrize("error", [CapacityError("full"), EndpointUnreachableError("nobody")])
def test_full_and_unreachable_servers_are_retried_with_backoff_until_the_capacity_timeout(
    error: OpenEnvError, clock: Clock
) -> None:
    found = attempts(ResetRetry(20.0), error, clock)
    pauses = [later - sooner for sooner, later in zip([0.0, *found], found, strict=False)]
    for number, pause in enumerate(pauses[:-1]):
        longest = min(0.1 * 2**number, 2.0)
        assert longest / 2 <= pause <= longest + 1e-9
    assert found[-1] == 20.0  # one last attempt right at the timeout
    assert error.advice == "Retried for 20 s (capacity_timeout_s)."


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("kind", FINAL)
def test_other_errors_are_not_retried(kind: type[OpenEnvError], truncates: bool, clock: Clock) -> None:
    error = kind("no", advice="Do something else.")
    assert attempts(ResetRetry(60.0, truncates=truncates), error, clock) == []
    assert error.advice == "Do something else."


def test_too_few_sessions_in_all_are_not_waited_for(clock: Clock) -> None:
    error = CapacityError("too few", asked_for=8, in_all=4)
    assert attempts(ResetRetry(math.inf), error, clock) == []
    assert error.advice == ""


def test_the_place_of_a_lost_session_is_waited_for(clock: Clock) -> None:
    assert attempts(ResetRetry(0.0, has_lost=True), CapacityError("full"), clock)[-1] == 5.0
    assert attempts(ResetRetry(20.0, has_lost=True), CapacityError("full"), clock)[-1] == 20.0
    assert attempts(ResetRetry(0.0, has_lost=True), EndpointUnreachableError("nobody"), clock) == []


@pytest.mark.parametrize(("before", "pause_s"), [(0, 0.1), (3, 0.4), (100, 2.0)])
def test_the_sooner_ones_turn_in_line_the_more_often_one_asks(
    before: int, pause_s: float, clock: Clock
) -> None:
    found = attempts(ResetRetry(20.0), CapacityError("full", details={"waiting_before": before}), clock)
    assert found[:3] == pytest.approx([pause_s, 2 * pause_s, 3 * pause_s])
    assert found[-1] == 20.0


@pytest.mark.parametrize("before", [-1, "0", None, [0]])
def test_a_place_in_line_that_is_no_place_is_ignored(before: object, clock: Clock) -> None:
    error = CapacityError("full", details={"waiting_before": before})
    assert len(attempts(ResetRetry(20.0), error, clock)) < 30


def test_one_wait_has_one_ticket_with_the_time_that_is_left(clock: Clock) -> None:
    retries = ResetRetry(20.0)
    first = retries.ticket()
    clock.now += 15.0
    second = retries.ticket()
    clock.now += 15.0
    last = retries.ticket()
    assert first is not None
    assert second is not None
    assert last is not None
    assert first.name == second.name == last.name != ""
    assert [first.wait_s, second.wait_s, last.wait_s] == [20.0, 5.0, 0.0]
    assert ResetRetry(20.0).ticket() != ResetRetry(20.0).ticket()
    assert ResetRetry(0.0).ticket() is None
    assert ResetRetry(0.0, has_lost=True).ticket() is not None


def test_losses_and_a_full_server_are_counted_apart(clock: Clock) -> None:
    retries = ResetRetry(1.0)
    assert retries.next_attempt(cut()) == clock.now
    first = retries.next_attempt(CapacityError("full"))
    assert first is not None
    assert 0.05 <= first - clock.now <= 0.1
    clock.now = first
    assert retries.next_attempt(cut()) == clock.now
    assert retries.next_attempt(cut()) is None
    clock.now += 1.0
    assert retries.next_attempt(CapacityError("full")) is None


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (CapacityError("full"), "Pass capacity_timeout_s= to wait for a free session."),
        (EndpointUnreachableError("nobody", advice="Start it."), "Start it."),
    ],
)
def test_without_a_timeout_a_full_server_is_the_users_to_wait_for(
    error: OpenEnvError, advice: str, clock: Clock
) -> None:
    assert attempts(ResetRetry(0.0), error, clock) == []
    assert error.advice == advice


def test_advice_is_added_once_and_after_the_errors_own(clock: Clock) -> None:
    error = CapacityError("full", advice="Serve more.")
    for _ in range(2):
        attempts(ResetRetry(2.5), error, clock)
    assert error.advice == "Serve more. Retried for 2.5 s (capacity_timeout_s)."
    assert str(error) == f"full. {error.advice}"


def test_waiting_for_an_unreachable_server_is_logged_once(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_warned_at", {})
    with caplog.at_level(logging.WARNING, "openenv_gym"):
        for retry_of_a_slot in [ResetRetry(3.0) for _ in range(16)]:
            error = EndpointUnreachableError("Nothing answers.", endpoint="http://host")
            retry_of_a_slot.next_attempt(error)
        attempts(ResetRetry(3.0), CapacityError("full"), clock)
    (record,) = caplog.records
    assert record.msg % ("Nothing answers.", 3.0) == (
        "Nothing answers. Retrying for up to 3 s (capacity_timeout_s)."
    )


def test_retry_sleeps_between_calls_and_returns_the_result(clock: Clock) -> None:
    answers: list[OpenEnvError | str] = [EndpointUnreachableError("nobody"), CapacityError("full"), "here"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OpenEnvError):
            raise answer
        return answer

    assert retry(call, 10.0) == "here"
    assert len(clock.pauses) == 2
    assert 0.05 <= clock.pauses[0] <= 0.1 <= clock.pauses[1] <= 0.2


def test_retry_raises_after_the_timeout_and_other_errors_at_once(clock: Clock) -> None:
    def fail(error: OpenEnvError) -> None:
        raise error

    with pytest.raises(CapacityError, match=r"Retried for 4 s"):
        retry(lambda: fail(CapacityError("full")), 4.0)
    assert sum(clock.pauses) == pytest.approx(4.0)
    clock.pauses.clear()
    with pytest.raises(SessionLostError):
        retry(lambda: fail(cut()), 4.0)
    assert clock.pauses == []


def test_only_raise_and_truncate_can_be_done_about_a_loss() -> None:
    assert [check_on_session_lost("raise"), check_on_session_lost("truncate")] == ["raise", "truncate"]
    with pytest.raises(ConfigurationError, match="'ignore'"):
        check_on_session_lost("ignore")  # type: ignore[arg-type]


def test_a_server_that_says_that_it_stops_is_waited_for(clock: Clock) -> None:
    def stopping() -> SessionLostError:
        error = SessionLostError("stopping")
        error.__cause__ = PeerClosedError(CloseCode.GOING_AWAY)
        return error

    assert attempts(ResetRetry(0.0), stopping(), clock) == []
    found = attempts(ResetRetry(5.0), stopping(), clock)
    assert 0.05 <= found[0] <= 0.1
    assert found[-1] == 5.0
