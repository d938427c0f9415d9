"""`Session`: the same life over either version of the protocol."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from openenv_gym.client import PayloadCoding
from openenv_gym.errors import (
    CapacityError,
    EndpointUnreachableError,
    OpenEnvError,
    ProtocolError,
    RemoteEnvironmentError,
    ResetNeededError,
    ServerEndedError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.session import Outcome, Session
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.wire import v1, v2
from tests.support.scripted import (
    ENDPOINT,
    Clock,
    Response,
    ScriptedConnection,
    ScriptedTransport,
    cut,
    opened,
)


class Dialect:
    """The messages of a server that speaks one version; the n-th request of a connection has the id n."""

    def __init__(self, version: int) -> None:
        self.version = version

    def connection(self, *script: Response, opens: bool = True, **keywords: Any) -> ScriptedConnection:
        """A connection whose session can be opened, with the responses that follow."""
        if self.version == 1:
            return ScriptedConnection(*script, is_v2=False, **keywords)
        # Without a token and grace, nothing is resumed, as over version 1.
        first: list[Response] = [opened(0, payloads=True, token="")] if opens else []
        return ScriptedConnection(*first, *script, **keywords)

    def result(
        self,
        number: int,
        observation: dict[str, Any],
        reward: float | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        info: dict[str, Any] | None = None,
    ) -> Response:
        if self.version == 1:
            data = {"observation": observation, "reward": reward, "done": terminated or truncated}
            data.update(truncated=truncated, metadata=info or {})
            return v1.encode_observation(json.dumps(data))
        return v2.Result(
            id=number,
            slots=[0],
            observations=[observation],
            rewards=[reward],
            terminated=[terminated] if terminated else None,
            truncated=[truncated] if truncated else None,
            infos=[(0, info)] if info else [],
            environment_us=[7.0],
            server_us=9.0,
        )

    def state(self, number: int, state: dict[str, Any]) -> Response:
        if self.version == 1:
            return v1.encode_state(json.dumps(state))
        return v2.Values(id=number, slots=[0], values=[state])

    def error(self, number: int, code: str, message: str = "no") -> Response:
        """A request that failed in its only slot."""
        if self.version == 1:
            return json.dumps({"type": "error", "data": {"code": code, "message": message}})
        errors = [v2.SlotError(0, code, message, {})]
        if number == 1:
            return v2.Opened(id=1, slots=[], errors=errors)
        return v2.Result(id=number, slots=[], observations=[], rewards=[], errors=errors)

    def requests(self, connection: ScriptedConnection) -> list[str]:
        """The types of the requests after the opening of the session."""
        if self.version == 1:
            return [json.loads(text)["type"] for text in connection.sent]
        return [request.__struct_config__.tag for request in connection.sent[1:]]


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return Dialect(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    clock.patch(monkeypatch, "session.recovery", "session.session", "session.reconnect")
    return clock


class DoCoding(PayloadCoding):
    """Payloads with one field."""

    def payload(self, action: Any) -> dict[str, Any]:
        return {"do": action}

    def column(self, action: Any) -> Any:
        return [self.payload(action)]


class ColumnCoding(DoCoding):
    payloads = False


def session_over(
    *connections: ScriptedConnection | BaseException,
    clock: Clock | None = None,
    coding: type[PayloadCoding] = DoCoding,
    **keywords: Any,
) -> tuple[Session, ScriptedTransport]:
    transport = ScriptedTransport(*connections, clock=clock)
    session = Session(ENDPOINT, transport, coding(), Timeouts(), **keywords)
    return session, transport


def plain(outcome: Outcome) -> tuple[Any, ...]:
    return outcome[:5]


def test_outcomes_are_the_same_over_both_versions(dialect: Dialect) -> None:
    session, transport = session_over(
        dialect.connection(
            dialect.result(2, {"total": 0}, info={"fresh": True}),
            dialect.result(3, {"total": 4}, 4.0),
            dialect.result(4, {"total": 5}, 1.0, truncated=True, info={"why": "long"}),
            dialect.result(5, {"total": 0}),
            dialect.result(6, {"total": 9}, -1.5, terminated=True),
            dialect.state(7, {"step_count": 1}),
        )
    )
    assert not session.is_open
    assert plain(run(session.reset({}))) == ({"total": 0}, None, False, False, {"fresh": True})
    assert session.is_open
    assert plain(run(session.step(4))) == ({"total": 4}, 4.0, False, False, {})
    assert plain(run(session.step(1))) == ({"total": 5}, 1.0, False, True, {"why": "long"})
    assert plain(run(session.reset({}))) == ({"total": 0}, None, False, False, {})
    assert plain(run(session.step(9))) == ({"total": 9}, -1.5, True, False, {})
    assert run(session.state()) == {"step_count": 1}
    assert len(transport.connects) == 1


def test_actions_seeds_and_options_arrive(dialect: Dialect) -> None:
    connection = dialect.connection(
        *[dialect.result(2 + number, {}) for number in range(4)],
    )
    session, _ = session_over(connection)
    run(session.reset({"seed": 7, "level": 3}))
    run(session.step("left"))
    run(session.reset({}))
    run(session.reset({"seed": "seven"}))  # not a seed of the protocol, but perhaps of the environment
    if dialect.version == 1:
        sent = [json.loads(text)["data"] for text in connection.sent]
        assert sent == [{"seed": 7, "level": 3}, {"do": "left"}, {}, {"seed": "seven"}]
    else:
        first, step, second, third = connection.sent[1:]
        assert (first.seeds, first.options) == ([7], {"level": 3})
        assert step.actions == [{"do": "left"}]
        assert (second.seeds, second.options) == ([None], {})
        assert (third.seeds, third.options) == ([None], {"seed": "seven"})


def test_times_of_a_step(dialect: Dialect) -> None:
    session, _ = session_over(dialect.connection(dialect.result(2, {}), dialect.result(3, {})))
    run(session.reset({}))
    times = run(session.step(0)).times
    assert 0 < times.sent_at <= times.received_at
    if dialect.version == 2:
        assert (times.server_us, times.environment_us) == (9.0, 7.0)


# --- which version ----------------------------------------------------------------------------------------


def test_a_server_without_payloads_is_spoken_to_in_version_1(clock: Clock) -> None:
    columns = ScriptedConnection(opened(0, payloads=False), v2.Closed(id=2, slots=[0]))
    dialect = Dialect(1)
    first = dialect.connection(dialect.result(1, {"total": 0}), cut())
    second = dialect.connection(dialect.result(1, {"total": 1}))
    session, transport = session_over(columns, first, second, clock=clock)
    assert run(session.reset({})).observation == {"total": 0}
    assert [type(request) for request in columns.sent] == [v2.Open, v2.Close]
    assert columns.sent[0].payloads
    assert not columns.is_open
    assert run(session.reset({})).observation == {"total": 1}  # a new session, in version 1 at once
    assert [connect["offers_v2"] for connect in transport.connects] == [True, False, False]


def test_columns_are_read_from_a_server_without_payloads() -> None:
    result = v2.Result(id=2, slots=[0], observations=[5], rewards=[0.0], environment_us=[0.0])
    connection = ScriptedConnection(opened(0, payloads=False), result)
    session, _ = session_over(connection, coding=ColumnCoding)
    assert run(session.reset({})).observation == 5
    assert not connection.sent[0].payloads


# --- interrupts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["send", "receive"])
def test_the_response_to_an_interrupted_step_is_never_read(dialect: Dialect, where: str) -> None:
    connection = dialect.connection(dialect.result(2, {"total": 0}))
    again = dialect.connection(dialect.result(2, {"total": 100}), dialect.result(3, {"total": 101}))
    session, transport = session_over(connection, again)
    run(session.reset({}))
    if where == "send":
        connection.breaks_send = KeyboardInterrupt()
    else:
        connection.expect(KeyboardInterrupt())
    connection.expect(dialect.result(3, {"total": 1}))  # late
    with pytest.raises(KeyboardInterrupt):
        run(session.step(1))
    with pytest.raises(ResetNeededError):
        run(session.step(1))
    assert not connection.is_open
    assert run(session.reset({})).observation == {"total": 100}
    assert run(session.step(1)).observation == {"total": 101}
    assert len(transport.connects) == 2


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("interrupted", ["reset", "state"])
def test_the_response_to_an_interrupted_call_is_never_read(
    dialect: Dialect, interrupted: str, steps: bool
) -> None:
    connection = dialect.connection(dialect.result(2, {"total": 0}))
    again = dialect.connection(dialect.state(2, {"fresh": True}))
    session, _ = session_over(connection, again)
    run(session.reset({}))
    connection.breaks_send = KeyboardInterrupt()
    connection.expect(dialect.result(3, {"total": 1}))
    with pytest.raises(KeyboardInterrupt):
        run(session.reset({}) if interrupted == "reset" else session.state())
    if steps:
        with pytest.raises(ResetNeededError):
            run(session.step(1))
    assert run(session.state()) == {"fresh": True}
    assert not connection.is_open


def test_the_interrupted_session_is_ended_on_the_server(dialect: Dialect) -> None:
    connection = dialect.connection(dialect.result(2, {}), KeyboardInterrupt())
    session, _ = session_over(connection)
    run(session.reset({}))
    with pytest.raises(KeyboardInterrupt):
        run(session.step(1))
    assert "hang_up" in connection.ends


# --- losses -----------------------------------------------------------------------------------------------


def test_a_reset_is_retried_in_a_new_session_twice(dialect: Dialect, clock: Clock) -> None:
    broken = [dialect.connection(cut()) for _ in range(2)]
    session, transport = session_over(*broken, dialect.connection(dialect.result(2, {"a": 1})), clock=clock)
    assert run(session.reset({"seed": 3})).observation == {"a": 1}
    assert [dialect.requests(connection) for connection in broken] == [["reset"]] * 2
    assert len(transport.connects) == 3
    assert sum(clock.pauses) == 0


def test_a_reset_that_always_breaks_is_given_up(dialect: Dialect, clock: Clock) -> None:
    session, transport = session_over(*[dialect.connection(cut()) for _ in range(9)], clock=clock)
    with pytest.raises(SessionLostError, match="Call reset"):
        run(session.reset({}))
    assert len(transport.connects) == 3
    with pytest.raises(ResetNeededError):
        run(session.step(0))


def test_a_session_that_the_server_ends_on_purpose_is_not_retried(dialect: Dialect, clock: Clock) -> None:
    session, transport = session_over(dialect.connection(cut(retryable=False)), clock=clock)
    with pytest.raises(SessionLostError):
        run(session.reset({}))
    assert len(transport.connects) == 1


def test_a_lost_step_is_never_sent_again(dialect: Dialect) -> None:
    connection = dialect.connection(dialect.result(2, {}), cut())
    session, transport = session_over(connection)
    run(session.reset({}))
    with pytest.raises(SessionLostError):
        run(session.step(1))
    for _ in range(2):
        with pytest.raises(ResetNeededError):
            run(session.step(1))
    assert dialect.requests(connection) == ["reset", "step"]
    assert len(transport.connects) == 1


def test_a_step_needs_an_episode_and_sends_nothing(dialect: Dialect) -> None:
    connection = dialect.connection(dialect.state(2, {}))
    session, transport = session_over(connection)
    with pytest.raises(ResetNeededError):
        run(session.step(1))
    assert transport.connects == []
    run(session.state())  # opens a session, in which no episode runs
    with pytest.raises(ResetNeededError):
        run(session.step(1))
    assert dialect.requests(connection) == ["state"]


def test_a_failed_reset_leaves_no_episode(dialect: Dialect) -> None:
    script = [dialect.result(2, {}), dialect.error(3, "EXECUTION_ERROR"), dialect.result(4, {"new": True})]
    session, transport = session_over(dialect.connection(*script))
    run(session.reset({}))
    with pytest.raises(RemoteEnvironmentError):
        run(session.reset({}))
    with pytest.raises(ResetNeededError):
        run(session.step(1))
    assert run(session.reset({})).observation == {"new": True}
    assert len(transport.connects) == 1


def test_the_session_continues_after_the_environment_raised(dialect: Dialect) -> None:
    script = [dialect.result(2, {}), dialect.error(3, "EXECUTION_ERROR"), dialect.result(4, {"total": 2})]
    session, _ = session_over(dialect.connection(*script))
    run(session.reset({}))
    with pytest.raises(RemoteEnvironmentError) as caught:
        run(session.step(1, "step 1"))
    assert (caught.value.operation, caught.value.endpoint) == ("step 1", ENDPOINT.base_url)
    assert run(session.step(1)).observation == {"total": 2}


def test_the_session_is_gone_after_the_server_gave_up_on_a_step(dialect: Dialect) -> None:
    session, transport = session_over(
        dialect.connection(dialect.result(2, {}), dialect.error(3, "TIMEOUT")),
        dialect.connection(dialect.result(2, {"new": True})),
    )
    run(session.reset({}))
    with pytest.raises(StepTimeoutError):
        run(session.step(1))
    assert not session.is_open
    with pytest.raises(ResetNeededError):
        run(session.step(1))
    assert run(session.reset({})).observation == {"new": True}
    assert len(transport.connects) == 2


# --- waiting for a server ---------------------------------------------------------------------------------


def full(dialect: Dialect) -> ScriptedConnection:
    return dialect.connection(dialect.error(1, "CAPACITY_REACHED", "8 of 8 in use"), opens=False)


def test_a_reset_waits_for_a_full_server(dialect: Dialect, clock: Clock) -> None:
    session, transport = session_over(
        full(dialect),
        EndpointUnreachableError("restarting"),
        full(dialect),
        dialect.connection(dialect.result(2, {"a": 1})),
        clock=clock,
        capacity_timeout_s=20.0,
    )
    assert run(session.reset({})).observation == {"a": 1}
    assert len(transport.connects) == 4
    assert len(clock.pauses) == 3
    assert 0.2 < sum(clock.pauses) < 0.8


def test_a_full_server_is_an_error_if_nobody_waits(dialect: Dialect, clock: Clock) -> None:
    session, _ = session_over(full(dialect), clock=clock)
    with pytest.raises(CapacityError, match=r"8 of 8 in use.*Pass capacity_timeout_s=") as caught:
        run(session.reset({}))
    assert caught.value.endpoint == ENDPOINT.base_url
    assert not session.is_open


# --- explaining -------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Session], Any]] = {
    "open": lambda session: session.open(),
    "reset": lambda session: session.reset({}),
    "state": lambda session: session.state(),
    "render": lambda session: session.render(),
}


def explained(error: OpenEnvError) -> None:
    error.advice += " The server's log is empty."


@pytest.mark.parametrize("call", CALLS)
def test_an_error_is_explained_before_it_is_raised(call: str) -> None:
    session, _ = session_over(EndpointUnreachableError("nobody"), explain=explained)
    with pytest.raises(EndpointUnreachableError, match="log is empty"):
        run(CALLS[call](session))


def test_an_error_of_a_step_is_explained(dialect: Dialect) -> None:
    session, _ = session_over(dialect.connection(dialect.result(2, {}), cut()), explain=explained)
    run(session.reset({}))
    with pytest.raises(SessionLostError, match="log is empty"):
        run(session.step(1))


def test_a_server_that_has_exited_is_not_waited_for(clock: Clock) -> None:
    def explain(error: OpenEnvError) -> None:
        raise ServerEndedError("Killed.") from error

    session, transport = session_over(
        EndpointUnreachableError("nobody"), clock=clock, capacity_timeout_s=60.0, explain=explain
    )
    with pytest.raises(ServerEndedError):
        run(session.reset({}))
    assert clock.pauses == []
    assert len(transport.connects) == 1


# --- malformed responses ----------------------------------------------------------------------------------


def test_a_response_without_a_part_is_a_protocol_error() -> None:
    result = v2.Result(id=2, slots=[0], observations=[], rewards=[], environment_us=[])
    session, _ = session_over(ScriptedConnection(opened(0, payloads=True), result))
    with pytest.raises(ProtocolError, match="reset: a part of the response is missing"):
        run(session.reset({}))


def test_a_response_of_the_wrong_kind_ends_the_session(dialect: Dialect) -> None:
    connection = dialect.connection(dialect.state(2, {}))
    session, _ = session_over(connection)
    with pytest.raises(ProtocolError, match="answered reset with"):
        run(session.reset({}))
    assert not connection.is_open


def test_a_response_that_is_no_message_is_a_protocol_error(dialect: Dialect) -> None:
    connection = dialect.connection("[1, 2")
    session, _ = session_over(connection)
    with pytest.raises(ProtocolError):
        run(session.reset({}))


# --- the end ----------------------------------------------------------------------------------------------


def test_close_ends_the_session_and_may_be_repeated(dialect: Dialect) -> None:
    connection = dialect.connection(dialect.result(2, {}), v2.Closed(id=3, slots=[0]))
    session, _ = session_over(connection)
    run(session.reset({}))
    run(session.close())
    run(session.close())
    assert dialect.requests(connection) == ["reset", "close"]
    assert not connection.is_open
    with pytest.raises(ResetNeededError):
        run(session.step(0))


def test_a_pickle_has_no_connection() -> None:
    session = Session(ENDPOINT, BlockingTransport(), PayloadCoding(), Timeouts())
    session._channel = object()  # type: ignore[assignment]
    session._has_episode = True
    copy = pickle.loads(pickle.dumps(session))
    assert not copy.is_open
    with pytest.raises(ResetNeededError):
        run(copy.step(0))
