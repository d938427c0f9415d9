"""`V2Channel`: what is resumed, sent again and ignored after a cut, and what is never resumed."""

from __future__ import annotations

from typing import Any

import pytest

from openenv_gym.errors import (
    ActionRefusedError,
    CapacityError,
    DeadlineExceededError,
    EndpointUnreachableError,
    ProtocolError,
    RemoteError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.reconnect import CONNECTS_A_WORKER, ReconnectBudget
from openenv_gym.session.recovery import LOSS_RETRIES
from openenv_gym.session.v2 import V2Channel
from openenv_gym.transport.blocking import run
from openenv_gym.wire import v2
from tests.support.scripted import (
    ENDPOINT,
    Clock,
    Response,
    ScriptedConnection,
    ScriptedTransport,
    cut,
    opened,
    result,
)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.patch(monkeypatch, "session.reconnect")
    monkeypatch.setattr("openenv_gym.session.v2.perf_counter", clock.perf_counter)
    return clock


def channel_over(
    first: ScriptedConnection, *others: ScriptedConnection | BaseException, clock: Clock, **keywords: Any
) -> tuple[V2Channel, ScriptedTransport]:
    transport = ScriptedTransport(*others, clock=clock)
    return V2Channel(first, transport, Timeouts(), **keywords), transport


def resumed(request_id: int, *slots: int, unknown: tuple[int, ...] = ()) -> v2.Resumed:
    return v2.Resumed(id=request_id, slots=list(slots), unknown=list(unknown))


def error(slot: int, code: str = "EXECUTION_ERROR") -> v2.SlotError:
    return v2.SlotError(slot, code, "it failed", {})


def step(channel: V2Channel, *slots: int, gather: bool = True) -> None:
    run(channel.send_step(list(slots), [{"do": slot} for slot in slots], "step 1", gather=gather))


def read(channel: V2Channel) -> v2.Result:
    return run(channel.result("step 1"))


# --- timeouts ---------------------------------------------------------------------------------------------


def test_a_server_that_heeds_timeouts_gets_them_and_more_time(clock: Clock) -> None:
    old, new = opened(0), opened(0)
    new.timeouts = True
    for response, sent, waits_s in ((old, None, 60.0), (new, 60.0, 63.0)):
        channel, _ = channel_over(ScriptedConnection(response), clock=clock)
        run(channel.open([0]))
        step(channel, 0)
        run(channel.send_reset([0], [None], {}, "reset"))
        requests = channel.connection.sent[1:]  # type: ignore[attr-defined]
        assert [request.timeout_s for request in requests] == [sent, sent]
        assert channel.late_at(is_reset=False) - clock.now == waits_s
        run(channel.send_step([0], [{}], "step 2", timeout_s=2.0))
        assert channel.connection.sent[-1].timeout_s == (2.0 if sent else None)  # type: ignore[attr-defined]


def test_a_slot_that_the_server_gave_up_on_is_open_no_longer(clock: Clock) -> None:
    late = v2.SlotError(1, "DEADLINE_EXCEEDED", "too late", {"timeout_s": 3.0})
    channel, _ = channel_over(ScriptedConnection(opened(0, 1), result(2, 0, errors=[late])), clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0, 1)
    (refused,) = read(channel).errors
    failure = channel.slot_error(refused, "step 1 of slot 1")
    assert isinstance(failure, DeadlineExceededError)
    assert "did not answer step 1 of slot 1 within 3 s" in str(failure)
    assert channel.slots == {0}


# --- what is asked for after a cut ------------------------------------------------------------------------


def test_resuming_names_the_session_and_what_is_missing(clock: Clock) -> None:
    first = ScriptedConnection(opened(0, 1, 2, token="secret"), result(2, 1, value="one"), cut())
    second = ScriptedConnection(resumed(3, 0, 1, 2), result(2, 0, 2, value="rest"))
    channel, transport = channel_over(first, second, clock=clock)
    run(channel.open([0, 1, 2]))
    step(channel, 0, 1, 2, gather=False)
    assert read(channel).slots == [1]
    rest = read(channel)
    assert (rest.slots, rest.observations[0]) == ([0, 2], {"value": "rest"})
    assert second.sent == [v2.Resume(id=3, slots=[0, 1, 2], token="secret", missing=[(2, [0, 2])])]
    assert channel.connection is second
    assert not second.has_pending
    assert transport.connects[0]["endpoint"] == ENDPOINT


def test_two_requests_in_flight_survive_a_cut(clock: Clock) -> None:
    first = ScriptedConnection(opened(0, 1), cut())
    second = ScriptedConnection(resumed(4, 0, 1, unknown=(3,)), result(3, 1), result(2, 0))
    channel, _ = channel_over(first, second, clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0)
    step(channel, 1)
    assert [read(channel).slots, read(channel).slots] == [[1], [0]]
    request, again = second.sent
    assert request.missing == [(2, [0]), (3, [1])]
    assert again == first.sent[2]  # the one that never arrived, as it was
    assert not channel.connection.has_pending


def test_nothing_is_missing_in_a_request_that_is_complete(clock: Clock) -> None:
    first = ScriptedConnection(opened(0), result(2, 0), cut())
    second = ScriptedConnection(resumed(4, 0, unknown=(3,)), result(3, 0))
    channel, _ = channel_over(first, second, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    read(channel)
    step(channel, 0)
    read(channel)
    assert second.sent[0].missing == [(3, [0])]


def test_other_requests_are_resumed_too(clock: Clock) -> None:
    first = ScriptedConnection(opened(0), cut())
    second = ScriptedConnection(resumed(3, 0, unknown=(2,)), cut())
    third = ScriptedConnection(resumed(4, 0, unknown=(2,)), v2.Values(id=2, slots=[0], values=[{"a": 1}]))
    channel, _ = channel_over(first, second, third, clock=clock)
    run(channel.open([0]))
    assert run(channel.states([0])) == [{"a": 1}]
    assert [type(request) for request in third.sent] == [v2.Resume, v2.GetState]


def test_an_id_that_the_server_invents_is_not_sent_again(clock: Clock) -> None:
    first = ScriptedConnection(opened(0), cut())
    second = ScriptedConnection(resumed(3, 0, unknown=(77,)), result(2, 0))
    channel, _ = channel_over(first, second, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    assert read(channel).slots == [0]
    assert len(second.sent) == 1


# --- duplicates -------------------------------------------------------------------------------------------


def test_a_result_that_arrives_twice_is_read_once(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0), result(2, 0), result(2, 0, value="again"), result(3, 0))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    read(channel)
    step(channel, 0)
    assert read(channel).id == 3


def test_a_part_of_a_result_that_arrives_twice_is_read_once(clock: Clock) -> None:
    connection = ScriptedConnection(
        opened(0, 1, 2),
        result(2, 0),
        result(2, 0, value="again"),
        result(2, errors=[error(1)]),
        result(2, errors=[error(1)]),
        result(2),  # about no slot
        result(2, 2),
        result(2, 2),
        result(3, 0, 1, 2),
    )
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0, 1, 2]))
    step(channel, 0, 1, 2, gather=False)
    found = [read(channel) for _ in range(3)]
    assert [(one.slots, [each.slot for each in one.errors]) for one in found] == [
        ([0], []),
        ([], [1]),
        ([2], []),
    ]
    assert not connection.has_pending
    step(channel, 0, 1, 2)
    assert read(channel).id == 3


def test_a_request_is_pending_until_its_last_slot_is_there(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0, 1), result(2, 1), result(2, 0))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0, 1, gather=False)
    read(channel)
    assert connection.has_pending
    read(channel)
    assert not connection.has_pending


def test_results_that_arrive_before_another_response_are_kept_in_their_order(clock: Clock) -> None:
    connection = ScriptedConnection(
        opened(0, 1),
        result(2, 0, value="a"),
        result(2, 0, value="again"),
        result(3, 1, value="b"),
        v2.Values(id=4, slots=[0], values=["state"]),
    )
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0)
    step(channel, 1)
    assert not channel.has_result
    assert run(channel.states([0])) == ["state"]
    assert channel.has_result
    assert connection.exchanges == 2  # the next message must not overwrite them
    assert [read(channel).observations[0]["value"] for _ in range(2)] == ["a", "b"]
    assert not channel.has_result


# --- opening ----------------------------------------------------------------------------------------------


def test_sessions_are_opened_again_on_a_new_connection_if_there_is_no_token_yet(clock: Clock) -> None:
    first, second, third = (
        ScriptedConnection(cut()),
        ScriptedConnection(cut()),
        ScriptedConnection(opened(0)),
    )
    channel, transport = channel_over(first, second, third, clock=clock)
    run(channel.open([0]))
    request = v2.Open(id=1, slots=[0], info_columns=True, timeout_s=60.0)
    assert first.sent == second.sent == third.sent == [request]
    assert channel.connection is third
    assert channel.slots == {0}
    assert len(transport.connects) == LOSS_RETRIES


def test_opening_is_given_up_after_two_retries(clock: Clock) -> None:
    channel, transport = channel_over(*[ScriptedConnection(cut()) for _ in range(9)], clock=clock)
    with pytest.raises(SessionLostError):
        run(channel.open([0]))
    assert len(transport.connects) == LOSS_RETRIES
    assert channel.slots == set()


def test_opening_is_not_retried_if_the_server_refuses_it_for_good(clock: Clock) -> None:
    channel, transport = channel_over(ScriptedConnection(cut(retryable=False)), clock=clock)
    with pytest.raises(SessionLostError):
        run(channel.open([0]))
    assert transport.connects == []


def test_more_sessions_of_a_connection_are_resumed(clock: Clock) -> None:
    """They are not opened a second time, since the server may have opened them before the cut."""
    first = ScriptedConnection(opened(0), cut())
    second = ScriptedConnection(resumed(3, 0), v2.Opened(id=2, slots=[1], token="token", grace_s=30.0))
    channel, _ = channel_over(first, second, clock=clock)
    run(channel.open([0]))
    run(channel.open([1]))
    assert second.sent == [v2.Resume(id=3, slots=[0], token="token", missing=[(2, [1])])]
    assert channel.slots == {0, 1}


def test_more_sessions_are_not_opened_on_a_new_connection_without_the_others(clock: Clock) -> None:
    gone = v2.Failed(code="UNKNOWN_SESSION", message="the token is unknown", id=3)
    first, second = ScriptedConnection(opened(0), cut()), ScriptedConnection(gone)
    channel, transport = channel_over(first, second, ScriptedConnection(opened(1)), clock=clock)
    run(channel.open([0]))
    with pytest.raises(SessionLostError, match="token is unknown"):
        run(channel.open([1]))
    assert len(transport.connects) == 1
    assert not channel.is_open


def test_too_few_free_sessions_are_an_error_with_the_counts(clock: Clock) -> None:
    response = v2.Opened(
        id=1, slots=[1], token="t", errors=[error(0, "CAPACITY_REACHED"), error(2, "CAPACITY_REACHED")]
    )
    connection = ScriptedConnection(response, v2.Closed(id=2, slots=[1]))
    channel, _ = channel_over(connection, clock=clock)
    with pytest.raises(CapacityError) as caught:
        run(channel.open([0, 1, 2]))
    assert (caught.value.asked_for, caught.value.available) == (3, 1)
    assert caught.value.in_all is None
    assert (caught.value.endpoint, caught.value.operation) == (ENDPOINT.base_url, "open")
    assert connection.sent[1] == v2.Close(id=2, slots=[1], timeout_s=60.0)  # all or none
    assert not connection.is_open
    assert channel.slots == set()


def test_a_lack_of_more_sessions_leaves_the_others_open(clock: Clock) -> None:
    more = v2.Opened(id=2, slots=[1], token="t", errors=[error(2, "CAPACITY_REACHED")])
    connection = ScriptedConnection(opened(0), more, v2.Closed(id=3, slots=[1]), result(4, 0))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0]))
    with pytest.raises(CapacityError):
        run(channel.open([1, 2]))
    assert connection.sent[2].slots == [1]
    assert channel.slots == {0}
    step(channel, 0)
    assert read(channel).slots == [0]


def test_one_session_that_is_refused_is_a_lack_of_one(clock: Clock) -> None:
    response = v2.Opened(id=1, slots=[], errors=[error(0, "CAPACITY_REACHED")])
    channel, _ = channel_over(ScriptedConnection(response), clock=clock)
    with pytest.raises(CapacityError) as caught:
        run(channel.open([0]))
    assert (caught.value.asked_for, caught.value.available) == (1, 0)


def test_an_environment_that_cannot_be_made_is_not_a_lack_of_sessions(clock: Clock) -> None:
    response = v2.Opened(id=1, slots=[], errors=[error(0, "FACTORY_ERROR"), error(1, "FACTORY_ERROR")])
    channel, _ = channel_over(ScriptedConnection(response), clock=clock)
    with pytest.raises(RemoteError) as caught:
        run(channel.open([0, 1]))
    assert caught.value.code == "FACTORY_ERROR"


# --- what is not resumed ----------------------------------------------------------------------------------


def test_nothing_is_resumed_after_an_abort(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0))
    channel, transport = channel_over(connection, ScriptedConnection(resumed(3, 0)), clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    channel.abort()
    with pytest.raises(SessionLostError):
        read(channel)
    assert connection.ends == ["hang_up"]
    assert transport.connects == []


@pytest.mark.parametrize("where", ["send", "receive"])
def test_nothing_is_resumed_after_an_interrupt_of_a_call(clock: Clock, where: str) -> None:
    connection = ScriptedConnection(opened(0))
    channel, transport = channel_over(connection, clock=clock)
    run(channel.open([0]))
    if where == "send":
        connection.breaks_send = KeyboardInterrupt()
        connection.expect(v2.Values(id=2, slots=[0], values=["late"]))
    else:
        connection.expect(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(channel.states([0]))
    with pytest.raises(SessionLostError):
        run(channel.states([0]))
    assert transport.connects == []


@pytest.mark.parametrize("failure", [DeadlineExceededError("silent"), cut(retryable=False)])
def test_silence_and_a_farewell_are_not_resumed(failure: Response, clock: Clock) -> None:
    channel, transport = channel_over(ScriptedConnection(opened(0), failure), clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    with pytest.raises((DeadlineExceededError, SessionLostError)) as caught:
        read(channel)
    assert caught.value is failure
    assert transport.connects == []


def test_a_server_that_keeps_no_sessions_is_asked_once(clock: Clock) -> None:
    first = ScriptedConnection(opened(0, grace_s=0.0), cut())
    channel, transport = channel_over(first, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    with pytest.raises(SessionLostError) as caught:
        read(channel)
    assert caught.value.retryable
    assert transport.connects == []


def test_sessions_that_break_again_and_again_are_lost_after_the_grace_period(clock: Clock) -> None:
    class Slow(ScriptedTransport):
        async def connect(self, *args: Any, **keywords: Any) -> ScriptedConnection:
            self.clock.now += 4.0
            return await super().connect(*args, **keywords)

    cuts = [ScriptedConnection(resumed(number + 3, 0), cut()) for number in range(99)]
    transport = Slow(*cuts, clock=clock)
    channel = V2Channel(ScriptedConnection(opened(0, grace_s=10.0), cut()), transport, Timeouts())
    run(channel.open([0]))
    step(channel, 0)
    with pytest.raises(SessionLostError):
        read(channel)
    assert len(transport.connects) == 3


# --- reconnecting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [cut(), DeadlineExceededError("no response"), v2.Closed(id=3, slots=[]), "malformed"],
    ids=["cut", "silence", "another response", "malformed"],
)
def test_an_attempt_that_fails_after_connecting_keeps_the_sessions(failure: Response, clock: Clock) -> None:
    """A close frame would end them on the server."""
    failing = ScriptedConnection(failure)
    last = ScriptedConnection(resumed(3, 0), result(2, 0))
    channel, _ = channel_over(ScriptedConnection(opened(0), cut()), failing, last, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    assert read(channel).slots == [0]
    assert channel.connection is last
    assert last.sends_close
    assert not failing.sends_close
    assert not failing.is_open
    assert "hang_up" not in failing.ends


def test_a_process_that_never_accepts_is_tried_for_the_whole_grace_period(clock: Clock) -> None:
    first = ScriptedConnection(opened(0, grace_s=10.0), cut(), worker=(1, 2))
    others = [ScriptedConnection(resumed(3, 0), worker=(0, 2)) for _ in range(2000)]
    channel, transport = channel_over(first, *others, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    begin = clock.now
    with pytest.raises(SessionLostError, match="its process 1 did not accept"):
        read(channel)
    assert clock.now - begin == pytest.approx(10.0)
    assert len(transport.connects) % (2 * CONNECTS_A_WORKER) == 0
    assert not any(other.sent for other in others)


def test_a_server_restarted_with_fewer_processes_is_not_asked(clock: Clock) -> None:
    first = ScriptedConnection(opened(0, grace_s=1.0), cut(), worker=(0, 2))
    others = [ScriptedConnection(resumed(3, 0), result(2, 0), worker=(0, 1)) for _ in range(2000)]
    channel, _ = channel_over(first, *others, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    with pytest.raises(SessionLostError):
        read(channel)


def test_channels_share_the_time_to_reconnect(clock: Clock) -> None:
    budget = ReconnectBudget(3.0)
    took: list[float] = []
    for _ in range(3):
        away = [EndpointUnreachableError("away") for _ in range(1000)]
        channel, _ = channel_over(ScriptedConnection(opened(0), cut()), *away, clock=clock, budget=budget)
        run(channel.open([0]))
        step(channel, 0)
        begin = clock.now
        with pytest.raises(SessionLostError):
            read(channel)
        took.append(clock.now - begin)
    assert took == pytest.approx([3.0, 0.5, 0.5])


# --- errors of the server ---------------------------------------------------------------------------------


def test_a_refused_request_is_forgotten_and_its_slots_are_known(clock: Clock) -> None:
    refusal = v2.Failed(code="VALIDATION_ERROR", message="bad", id=2)
    connection = ScriptedConnection(opened(0, 1), refusal, result(3, 1))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0)
    step(channel, 1)
    with pytest.raises(ActionRefusedError):
        read(channel)
    assert channel.refused == [0]
    assert connection.is_open
    assert read(channel).slots == [1]


def test_a_refusal_without_a_number_is_about_the_only_request(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0), v2.Failed(code="INTERNAL_ERROR", message="oops"))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    with pytest.raises(RemoteError):
        read(channel)
    assert channel.refused == [0]
    assert connection.is_open
    assert not connection.has_pending


def test_a_refusal_that_may_be_about_any_request_ends_the_connection(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0, 1), v2.Failed(code="INTERNAL_ERROR", message="oops"))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0)
    step(channel, 1)
    with pytest.raises(RemoteError):
        read(channel)
    assert not connection.is_open


@pytest.mark.parametrize(
    ("code", "kind", "is_gone"),
    [
        ("TIMEOUT", StepTimeoutError, True),
        ("UNKNOWN_SESSION", SessionLostError, True),
        ("VALIDATION_ERROR", ActionRefusedError, False),
    ],
)
def test_some_errors_of_a_slot_end_its_session(code: str, kind: type, is_gone: bool, clock: Clock) -> None:
    channel, _ = channel_over(ScriptedConnection(opened(0, 1)), clock=clock)
    run(channel.open([0, 1]))
    assert type(channel.slot_error(error(0, code), "step 1")) is kind
    assert channel.slots == ({1} if is_gone else {0, 1})


def test_a_server_that_ends_the_connection_says_why(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0), v2.Failed(code="SESSION_ERROR", message="shutting down"))
    channel, transport = channel_over(connection, clock=clock)
    run(channel.open([0]))
    step(channel, 0)
    with pytest.raises(SessionLostError, match="shutting down") as caught:
        read(channel)
    assert not caught.value.retryable
    assert not connection.is_open
    assert transport.connects == []


def test_an_action_that_cannot_be_encoded_sends_nothing(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0), result(3, 0))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0]))
    with pytest.raises(ProtocolError, match="step 1: it cannot be encoded"):
        run(channel.send_step([0], [{"do": object()}], "step 1"))
    assert len(connection.sent) == 1
    assert not connection.has_pending
    step(channel, 0)
    assert read(channel).slots == [0]


# --- closing ----------------------------------------------------------------------------------------------


def test_close_ends_all_sessions_and_skips_other_responses(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0, 1), result(2, 0), v2.Closed(id=3, slots=[0, 1]))
    channel, _ = channel_over(connection, clock=clock)
    run(channel.open([0, 1]))
    step(channel, 0)
    run(channel.close())
    assert connection.sent[-1] == v2.Close(id=3, slots=[0, 1], timeout_s=60.0)
    assert connection.ends == ["hang_up"]
    assert channel.slots == set()
    run(channel.close())
    assert len(connection.sent) == 3


def test_close_does_not_wait_for_a_silent_server(clock: Clock) -> None:
    connection = ScriptedConnection(opened(0), DeadlineExceededError("silent"))
    channel, transport = channel_over(connection, clock=clock)
    run(channel.open([0]))
    run(channel.close())
    assert not channel.is_open
    assert transport.connects == []


def test_close_tries_for_a_second_to_reach_a_server_after_a_cut(clock: Clock) -> None:
    """The server would keep the sessions for the grace period."""
    away = [EndpointUnreachableError("away") for _ in range(100)]
    channel, transport = channel_over(ScriptedConnection(opened(0), cut()), *away, clock=clock)
    run(channel.open([0]))
    begin = clock.now
    run(channel.close())
    assert transport.connects
    assert clock.now - begin <= 1.0 + 1e-9
