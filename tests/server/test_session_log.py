"""The log tells of each session when it opened, broke, resumed and closed, and why; the counters agree."""

from __future__ import annotations

import json
import logging
import platform
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import websocket
from openenv_server import create_app
from openenv_server.sessions.lifecycle import EndReason

from openenv_gym import GenericEnvClient
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import first_observation
from openenv_gym.wire import v2
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of, without_v2
from tests.support.v2_client import V2Client
from tests.support.waiting import wait_for

ABRUPTLY = struct.pack("ii", 1, 0)  # SO_LINGER: an RST instead of a FIN


class Sleeper(Counter):
    """Sleeps for so many tenths of a second in a step."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def step(self, action: CountAction) -> CountObservation:
        time.sleep(action.amount / 10)
        return super().step(action)


class V1:
    """One session over version 1, which is reset and takes two steps."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.socket = websocket.create_connection(base_url.replace("http", "ws") + "/ws", timeout=5)
        self.ask("reset")
        for _ in range(2):
            self.ask("step", amount=0)

    def send(self, kind: str, **data: Any) -> None:
        self.socket.send(json.dumps({"type": kind, "data": data}))

    def ask(self, kind: str, **data: Any) -> None:
        self.send(kind, **data)
        assert json.loads(self.socket.recv())["type"] == "observation"

    def begin_step(self, tenths: int) -> None:
        self.send("step", amount=tenths)

    def break_(self) -> None:
        self.socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPTLY)
        self.socket.shutdown()

    def violate(self) -> None:
        self.socket.send_binary(b"not text")

    def close(self) -> None:
        self.socket.close()


class V2:
    """The same over version 2."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.client = V2Client(base_url)
        self.client.open([0])
        self.client.send(v2.Reset(id=self.client.next_id(), slots=[0]), "reset")
        self.client.result("reset")
        for _ in range(2):
            self.begin_step(0)
            self.client.result("step")

    def begin_step(self, tenths: int) -> None:
        actions = [{"amount": tenths}]
        self.client.send(v2.Step(id=self.client.next_id(), slots=[0], actions=actions), "step")

    def break_(self) -> None:
        raw = self.client.connection.raw_socket
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPTLY)
        raw.close()

    def violate(self) -> None:
        self.client.connection.raw_socket.sendall(b"\xff" * 100)

    def close(self) -> None:
        self.client.close()


Client = V1 | V2


class Case(NamedTuple):
    """What ends a session, and the reason then.

    Attributes:
        protocol: The client's.
        end: What it does.
        reason: Why the session ends, as the log says.
        settings: Of the server.
    """

    protocol: type[Client]
    end: Callable[[Any], object]
    reason: EndReason
    settings: Mapping[str, float] = MappingProxyType({})


def _nothing(client: Client) -> None:
    """Be silent; the server does something."""


def _leave_in_a_step(client: Client) -> None:
    client.begin_step(9)
    time.sleep(0.3)  # the server watches a client of version 1 once a request takes that long
    client.close()


CASES = [
    Case(V1, lambda client: client.close(), EndReason.CLIENT_LEFT),
    Case(V1, lambda client: client.send("close"), EndReason.CLIENT_LEFT),
    Case(V1, lambda client: client.break_(), EndReason.CONNECTION_LOST),
    Case(V1, _nothing, EndReason.IDLE, {"session_timeout_s": 0.3}),
    Case(V1, lambda client: client.begin_step(5), EndReason.TIMEOUT, {"step_timeout_s": 0.2}),
    Case(V1, _leave_in_a_step, EndReason.ABANDONED),
    Case(V1, _nothing, EndReason.DRAIN),
    Case(V1, lambda client: client.violate(), EndReason.PROTOCOL_ERROR),
    Case(V2, lambda client: client.close(), EndReason.CLIENT_LEFT),
    Case(V2, lambda client: client.break_(), EndReason.GRACE_OVER, {"resume_grace_s": 0.2}),
    Case(V2, _nothing, EndReason.IDLE, {"session_timeout_s": 0.3}),
    Case(V2, lambda client: client.begin_step(5), EndReason.TIMEOUT, {"step_timeout_s": 0.2}),
    Case(V2, _leave_in_a_step, EndReason.ABANDONED),
    Case(V2, _nothing, EndReason.DRAIN),
    Case(V2, lambda client: client.violate(), EndReason.PROTOCOL_ERROR),
]


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields and the message of each line about a session."""
    return [
        {**vars(record), "message": record.getMessage()}
        for record in caplog.records
        if hasattr(record, "event")
    ]


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{c.protocol.__name__}-{c.reason}-{i}" for i, c in enumerate(CASES)]
)
def test_the_end_of_a_session_is_logged_with_its_reason(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openenv_server")
    app = create_app(Sleeper, CountAction, CountObservation, **case.settings)  # type: ignore[arg-type]
    with running(app, ws_ping_interval=None) as base_url:
        client = case.protocol(base_url)
        case.end(client)
        if case.reason != EndReason.DRAIN:
            wait_for(lambda: app.state.sessions.counters.closed, 10)
    opened, *cut, closed = events(caplog)
    assert (opened["event"], closed["event"]) == ("opened", "closed")
    assert [event["event"] for event in cut] == ["cut"] * (case.reason == EndReason.GRACE_OVER)
    assert opened["session"] == closed["session"]
    assert (closed["protocol"], closed["reason"]) == (case.protocol.__name__.lower(), case.reason)
    assert (closed["steps"], closed["resets"]) == (2, 1)
    assert 0 < closed["seconds"] < 10
    assert closed["message"].endswith(f"steps and 1 resets in {closed['seconds']:.1f} s: {case.reason}")
    assert app.state.sessions.counters.closed == {case.reason: 1}


def test_a_cut_and_a_resumption_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openenv_server")
    with running(create_app(Sleeper, CountAction, CountObservation)) as base_url:
        client = V2(base_url)
        client.client.connection.raw_socket.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: len(events(caplog)) == 2, 5)
        client.begin_step(1)
        client.client.result("step")
        client.close()
    opened, cut, resumed, closed = events(caplog)
    assert [line["event"] for line in events(caplog)] == ["opened", "cut", "resumed", "closed"]
    assert opened["client"] == cut["client"]
    assert resumed["client"] == closed["client"] != cut["client"]
    assert cut["message"].endswith("; it is kept for 60 s")
    assert 0 < resumed["away_s"] < 5
    assert closed["steps"] == 3


def test_a_session_of_one_http_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openenv_server")
    app = create_app(Sleeper, CountAction, CountObservation, step_timeout_s=0.2)
    with running(without_v2(app)) as base_url:
        assert status_of(f"{base_url}/reset", {})[0] == 200
        assert status_of(f"{base_url}/step", {"action": {"amount": 5}})[0] == 504
    closed = [event for event in events(caplog) if event["event"] == "closed"]
    assert [(event["protocol"], event["reason"], event["resets"]) for event in closed] == [
        ("http", EndReason.REQUEST_DONE, 1),
        ("http", EndReason.TIMEOUT, 0),
    ]
    assert closed[0]["agent"].startswith("Python-urllib/")


def test_sessions_of_tools_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openenv_server")
    app = create_app(Sleeper, CountAction, CountObservation, session_timeout_s=0.3)
    with running(app) as base_url:
        body = {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create"}
        named = status_of(f"{base_url}/mcp", body)[1]["result"]
        status_of(f"{base_url}/mcp", {**body, "method": "openenv/session/close", "params": named})
        status_of(f"{base_url}/mcp", body)
        wait_for(lambda: EndReason.IDLE in app.state.sessions.counters.closed, 5)
        websocket.create_connection(base_url.replace("http", "ws") + "/mcp", timeout=5).close()
        wait_for(lambda: app.state.sessions.counters.closed.total() == 3, 5)
    closed = [event for event in events(caplog) if event["event"] == "closed"]
    assert [(event["protocol"], event["reason"]) for event in closed] == [
        ("mcp", EndReason.CLIENT_LEFT),
        ("mcp", EndReason.IDLE),
        ("mcp", EndReason.CLIENT_LEFT),
    ]


def test_the_log_names_the_version_of_the_client(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "openenv_server")
    app = create_app(Sleeper, CountAction, CountObservation)
    agent = f"openenv-gym/{version('openenv-gym')} Python/{platform.python_version()}"
    with running(without_v2(app)) as base_url, GenericEnvClient(base_url) as client:
        client.reset()
    with running(app) as base_url:
        with GenericEnvClient(base_url) as client:
            client.reset()
        first_observation(Endpoint(base_url), timeout_s=5)
        with GenericEnvClient(base_url, headers={"user-agent": "mine/2"}) as client:
            client.reset()
    opened = [event for event in events(caplog) if event["event"] == "opened"]
    assert [(event["protocol"], event["agent"]) for event in opened] == [
        *(("v1", agent), ("v2", agent), ("http", agent), ("v2", "mine/2")),
    ]
    assert f"({'v1'}, {agent}) opened" in opened[0]["message"]


def test_a_failure_is_logged_with_the_id_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "openenv_server")
    app = create_app(Sleeper, CountAction, CountObservation, step_timeout_s=0.5)
    with running(app) as base_url:
        url = f"{base_url}/step"
        body = json.dumps({"action": {"amount": -1}, "request_id": "in the body"}).encode()
        for headers in ({"X-Request-ID": "in the header"}, {}):
            request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=5)
        client = V2(base_url)
        client.begin_step(-1)
        client.client.result("step")
        request_id = client.client.next_id() - 1
        client.begin_step(9)
        client.client.result("step")
    *failed, given_up = caplog.records
    assert [vars(record)["request_id"] for record in failed] == ["in the header", "in the body", request_id]
    assert failed[0].getMessage().endswith(", request_id in the header]")
    assert f"(slot 0, request_id {request_id + 2})" in given_up.getMessage()
