"""Who may speak with a server, how much, and what is told of its failures."""

from __future__ import annotations

import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
import websocket
from fastapi import FastAPI
from openenv_server import create_app
from openenv_server.app import EnvironmentServer
from openenv_server.socket_takeover import TakeoverProtocol

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.errors import (
    AccessRefusedError,
    CapacityError,
    ConfigurationError,
    RemoteEnvironmentError,
    RemoteError,
    SessionLostError,
)
from openenv_gym.wire import v2
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2
from tests.support.v2_client import V2Client

KEY = "sesame-4711"
BEARER = {"Authorization": f"Bearer {KEY}"}
PROTOCOLS = pytest.mark.parametrize("protocol", [None, v2.SUBPROTOCOL], ids=["v1", "v2"])
SERVERS = pytest.mark.parametrize("ws", [TakeoverProtocol, "websockets-sansio"], ids=["socket", "event loop"])


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


def app(**settings: str) -> FastAPI:
    """The application as it is made where these variables are set."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        return create_app(Sharing, CountAction, CountObservation)


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(app(OPENENV_API_KEY=KEY)) as base_url:
        yield base_url


def ask(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes, Any]:
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, sent), timeout=10) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def open_socket(
    base_url: str, headers: dict[str, str] | None = None, protocol: str | None = None, **options: Any
) -> websocket.WebSocket:
    """A socket as another program than ours opens it."""
    lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
    return websocket.create_connection(f"ws{base_url[4:]}/ws", header=lines, timeout=10, **options)


def refusal(base_url: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
    """How the server refuses a handshake."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        open_socket(base_url, **arguments)
    return refused.value.status_code, json.loads(refused.value.resp_body)


def serves_others(base_url: str, **keywords: Any) -> None:
    """Shows that a server does its work, over both versions of the protocol."""
    with GenericEnvClient(base_url, **keywords) as client:
        assert client.reset(start=2).observation["total"] == 2
    envs = RemoteVectorEnv(base_url, 2, **keywords)
    envs.reset()
    assert envs.step(envs.action_space.sample() * 0 + 3)[0].tolist() == [3, 3]
    envs.close()


# --- the key ----------------------------------------------------------------------------------------------


def routes() -> list[tuple[str, str]]:
    """Every HTTP route of the application, as it lists them itself, and the pages beside them."""
    paths = app().openapi()["paths"]
    listed = [(path, method) for path, methods in paths.items() for method in methods]
    assert {"/reset", "/step", "/state", "/health", "/metadata", "/schema", "/mcp"} <= set(paths)
    listed.remove(("/mcp", "delete"))  # which needs the session of a client
    return [*listed, ("/", "get"), ("/docs", "get"), ("/redoc", "get"), ("/openapi.json", "get")]


@pytest.mark.parametrize(("path", "method"), routes())
def test_every_route_but_probes_asks_for_the_key(locked: str, path: str, method: str) -> None:
    body = {"/step": b'{"action": {"amount": 1}}'}.get(path, b"{}") if method == "post" else None
    with_key = ask(f"{locked}{path}", body, BEARER)[0]
    status, content, headers = ask(f"{locked}{path}", body)
    if path in ("/health", "/live", "/ready"):
        assert (status, with_key) == (200, 200)
        return
    # These fail past the guard: a step in an environment that was never reset, and requests for no task.
    failing = {"/step": 500, "/{env_name}/splits": 404}
    assert with_key == failing.get(path, 422 if "{env_name}" in path else 200)
    assert status == 401
    assert set(json.loads(content)) == {"message", "code"}
    assert json.loads(content)["code"] == "UNAUTHORIZED"
    assert headers["WWW-Authenticate"] == "Bearer"


def test_what_is_not_there_asks_for_the_key_too(locked: str) -> None:
    for path in ("/nowhere", "/ws", "/health/", "/health/x", "//health", "/docs?health", "/%68ealth/../docs"):
        assert ask(f"{locked}{path}")[0] == 401, path


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        "Bearer ",
        "Bearer",
        "",
        KEY,
        f"Basic {KEY}",
        "Bearer \xe9",
    ],
)
@PROTOCOLS
def test_a_wrong_key_opens_nothing(locked: str, authorization: str, protocol: str | None) -> None:
    headers = {"Authorization": authorization}
    assert ask(f"{locked}/schema", headers=headers)[0] == 401
    if authorization.isascii():
        status, answer = refusal(locked, headers=headers, protocol=protocol)
        assert (status, answer["code"]) == (401, "UNAUTHORIZED")
        assert KEY not in answer["message"]


@SERVERS
@PROTOCOLS
def test_the_handshake_asks_for_the_key(
    ws: Any, protocol: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with running(app(OPENENV_API_KEY=KEY), ws=ws) as base_url:
        status, answer = refusal(base_url, protocol=protocol)
        assert (status, answer["code"]) == (401, "UNAUTHORIZED")
        opened = open_socket(base_url, BEARER, protocol)
        assert opened.handshake_response is not None
        assert opened.handshake_response.status == 101
        opened.close()
        serves_others(base_url, api_key=KEY)
    if ws is TakeoverProtocol:
        assert caplog.text == "", "anybody could fill the log"


@PROTOCOLS
def test_where_a_server_cannot_say_why_the_handshake_is_refused_all_the_same(protocol: str | None) -> None:
    served = app(OPENENV_API_KEY=KEY)

    async def without_extensions(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "extensions": {}}
        await served(scope, receive, send)

    with running(without_extensions) as base_url:
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            open_socket(base_url, protocol=protocol)
        assert refused.value.status_code == 403
        serves_others(base_url, api_key=KEY)


def test_the_server_shows_its_key_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    served = app(OPENENV_API_KEY=KEY)
    with running(served) as base_url:
        assert ask(f"{base_url}/step", b'{"action": {"amount": 10}}', BEARER)[0] == 500
        serves_others(base_url, api_key=KEY)
        assert KEY.encode() not in ask(f"{base_url}/openapi.json", headers=BEARER)[1]
    assert KEY not in repr(served.user_middleware)
    assert "the environment raised" in caplog.text
    assert KEY not in caplog.text


def test_two_keys_are_none() -> None:
    with running(app(OPENENV_API_KEY=KEY)) as base_url:
        for keys, status in (([KEY], 200), (["wrong", KEY], 401), ([KEY, "wrong"], 401)):
            with closing(HTTPConnection(base_url.removeprefix("http://"), timeout=10)) as connection:
                connection.putrequest("GET", "/schema")
                for key in keys:
                    connection.putheader("Authorization", f"Bearer {key}")
                connection.endheaders()
                assert connection.getresponse().status == status


def test_an_application_of_ones_own_is_guarded_as_well() -> None:
    own = FastAPI()

    @own.get("/mine")
    def mine() -> str:
        return "mine"

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENENV_API_KEY", KEY)
        EnvironmentServer(Sharing, CountAction, CountObservation).register_routes(own)
    with running(own) as base_url:
        assert ask(f"{base_url}/mine")[0] == 401
        assert ask(f"{base_url}/mine", headers=BEARER)[:2] == (200, b'"mine"')


@pytest.mark.parametrize("key", ["", " ", "two words", "ключ", "one\ntwo words"])
def test_a_key_that_is_none_keeps_the_server_from_starting(key: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"OPENENV_API_KEY: a key must be printable ASCII"
    ) as refused:
        app(OPENENV_API_KEY=key)
    assert not key.strip() or key not in str(refused.value)


# --- pages of other origins -------------------------------------------------------------------------------


@PROTOCOLS
def test_a_page_of_another_origin_is_refused_and_told_which_setting(protocol: str | None) -> None:
    with running(app()) as base_url:
        port = base_url.rpartition(":")[2]
        for origin in ("http://evil.example", "null", f"http://localhost:{port}", "http://127.0.0.1:1"):
            status, answer = refusal(base_url, protocol=protocol, origin=origin)
            assert (status, answer["code"]) == (403, "FORBIDDEN"), origin
            assert "ALLOWED_ORIGINS" in answer["message"]
            assert ask(f"{base_url}/reset", b"{}", {"Origin": origin})[0] == 403
        assert ask(f"{base_url}/schema", headers={"Origin": "http://evil.example"})[0] == 200
        serves_others(base_url)


@PROTOCOLS
def test_the_servers_own_pages_and_programs_are_let_in(protocol: str | None) -> None:
    with running(app(ALLOWED_HOSTS="env.example")) as base_url:
        # The library sends the server's own address as the origin, as its pages would.
        open_socket(base_url, protocol=protocol).close()
        open_socket(base_url, protocol=protocol, suppress_origin=True).close()
        assert ask(f"{base_url}/reset", b"{}", {"Origin": base_url})[0] == 200
        # Behind a proxy that ends TLS: the page is https, and the host has no port.
        behind = {"protocol": protocol, "origin": "https://env.example", "host": "env.example"}
        open_socket(base_url, **behind).close()
        assert refusal(base_url, **{**behind, "host": "env.example:8000"})[0] == 403


@pytest.mark.parametrize(
    "allowed", ["https://a.example, http://b.example:81", '["http://b.example:81"]', "*"]
)
def test_origins_on_the_list_are_let_in(allowed: str) -> None:
    with running(app(ALLOWED_ORIGINS=allowed)) as base_url:
        open_socket(base_url, origin="http://b.example:81").close()
        assert ask(f"{base_url}/reset", b"{}", {"Origin": "http://b.example:81"})[0] == 200
        if allowed != "*":
            for origin in ("https://b.example:81", "http://b.example", "http://b.example:81.evil.example"):
                assert refusal(base_url, origin=origin)[0] == 403


@pytest.mark.parametrize("allowed", ["app.example", "https://app.example/path", "[1]", "[", "http://x:port"])
def test_a_list_that_is_none_keeps_the_server_from_starting(allowed: str) -> None:
    with pytest.raises(ConfigurationError, match="ALLOWED_ORIGINS"):
        app(ALLOWED_ORIGINS=allowed)


# --- limits -----------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused() -> None:
    with running(app(MAX_MESSAGE_BYTES="2000")) as base_url:
        for body in (b" " * 2001, b" " * 1_000_000, iter([b" " * 1500] * 2), iter([b" " * 3000, b"x"])):
            status, content, _ = ask(f"{base_url}/reset", body)
            assert status == 413
            assert "MAX_MESSAGE_BYTES" in json.loads(content)["message"]
        assert ask(f"{base_url}/reset", b" " * 1998 + b"{}")[0] == 200
        assert ask(f"{base_url}/reset", iter([b'{"start"', b": 5}"]))[1].startswith(b'{"observation":{')
        serves_others(base_url)


@SERVERS
def test_a_message_that_is_too_large_ends_its_session_and_no_other(ws: Any) -> None:
    with running(app(MAX_MESSAGE_BYTES="2000"), ws=ws) as base_url, GenericEnvClient(base_url) as other:
        other.reset()
        with GenericEnvClient(base_url) as client:
            client.reset()
            with pytest.raises(SessionLostError, match=r"bytes is larger than it.*MAX_MESSAGE_BYTES"):
                client.step({"amount": 1, "more": "é" * 1000})
        for size in (2000, 3_000_000):
            lane = V2Client(base_url)
            lane.open([0])
            with pytest.raises(SessionLostError, match=r"bytes is larger than it.*MAX_MESSAGE_BYTES"):
                lane.ask(v2.Reset(id=1, slots=[0], options={"more": "x" * size}), "reset")
        assert other.step({"amount": 4}).observation["total"] == 4
        serves_others(base_url)


def test_more_slots_than_a_socket_may_have_are_refused() -> None:
    with running(app(MAX_SLOTS_PER_SOCKET="2")) as base_url:
        envs = RemoteVectorEnv(base_url, 3)
        with pytest.raises(
            CapacityError,
            match=r"has 2 of the 3 requested.*at most 2 slots \(MAX_SLOTS_PER_SOCKET\)",
        ):
            envs.reset()
        lane = V2Client(base_url)
        lane.open([7])
        lane.open([8])
        answer = lane.ask(v2.Open(id=9, slots=[9]), "open")
        assert isinstance(answer, v2.Opened)
        assert [(error.slot, error.code) for error in answer.errors] == [(9, "CAPACITY_REACHED")]
        lane.ask(v2.Close(id=10, slots=[7]), "close")
        lane.open([9])
        serves_others(base_url)
        lane.close()
        envs.close()


@PROTOCOLS
def test_more_sockets_than_an_address_may_have_are_refused(protocol: str | None) -> None:
    with running(app(MAX_SOCKETS_PER_ADDRESS="2")) as base_url:
        with (
            closing(open_socket(base_url, protocol=protocol)) as first,
            closing(open_socket(base_url, protocol=protocol)),
        ):
            status, answer = refusal(base_url, protocol=protocol)
            assert (status, answer["code"]) == (429, "CAPACITY_REACHED")
            assert "MAX_SOCKETS_PER_ADDRESS" in answer["message"]
            with (
                pytest.raises(AccessRefusedError, match=r"429 to the handshake.*MAX_SOCKETS_PER_ADDRESS"),
                GenericEnvClient(base_url) as client,
            ):
                client.reset()
            if protocol is None:
                first.send('{"type": "reset"}')
                assert '"observation"' in first.recv()
        wait_until_serving(base_url)
        serves_others(base_url)


def wait_until_serving(base_url: str) -> None:
    """Waits until the server has noticed that sockets were closed."""
    deadline = time.monotonic() + 5
    while True:
        try:
            open_socket(base_url).close()
        except websocket.WebSocketBadStatusException:
            assert time.monotonic() < deadline, "the sockets still count"
            time.sleep(0.02)
        else:
            return


# --- what is told of failures -----------------------------------------------------------------------------


def ids_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return re.findall(r"\[error_id ([0-9a-f]{8})", caplog.text)


def test_what_an_environment_raises_can_be_found_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "openenv_server")
    with running(app()) as base_url:
        content = json.loads(ask(f"{base_url}/reset", b'{"fail": true}')[1])
        assert (content["message"], content["code"]) == ("ValueError: told to fail", "EXECUTION_ERROR")
        seen = [content["error_id"]]
        with GenericEnvClient(base_url) as client:
            client.reset()
            with pytest.raises(RemoteEnvironmentError, match="too much") as raised:
                client.step({"amount": 10})
            seen.append(raised.value.details["error_id"])
            assert f"traceback under error_id {seen[-1]}." in str(raised.value)
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        with pytest.raises(RemoteEnvironmentError, match=r"slot 1.*too much") as raised:
            envs.step(envs.action_space.sample() * 0 + [0, 10])
        seen.append(raised.value.details["error_id"])
        envs.close()
        serves_others(base_url)
    assert ids_in(caplog) == seen
    assert len(set(seen)) == 3
    assert caplog.text.count("Traceback") == 3


def test_of_the_servers_own_failures_a_client_gets_an_id_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR, "openenv_server")
    served = app()

    @served.get("/broken")
    def broken() -> None:
        raise RuntimeError("a secret of the server")

    with running(served) as base_url, running(without_v2(served)) as old_url:
        status, content, _ = ask(f"{base_url}/broken")
        answer = json.loads(content)
        assert (status, answer["code"]) == (500, "INTERNAL_ERROR")
        assert b"secret" not in content
        seen = [answer["error_id"]]

        with monkeypatch.context() as patch:
            patch.setattr("openenv_server.sessions.session.Session.open", break_down)
            # Version 1: the socket is closed with the id as the reason.
            with GenericEnvClient(old_url) as client, pytest.raises(SessionLostError) as lost:
                client.reset()
            assert "secret" not in str(lost.value)
            seen += re.findall(r"error_id ([0-9a-f]{8})", str(lost.value))
            # Version 2: the slot is refused.
            envs = RemoteVectorEnv(base_url, 1)
            with pytest.raises(RemoteError) as refused:
                envs.reset()
            assert "secret" not in str(refused.value)
            seen.append(refused.value.details["error_id"])
            envs.close()
        with monkeypatch.context() as patch:
            patch.setattr("openenv_server.connections.worker.ConnectionWorker._reset", break_down)
            envs = RemoteVectorEnv(base_url, 1)
            with pytest.raises(SessionLostError) as lost:
                envs.reset()
            assert "secret" not in str(lost.value)
            seen += re.findall(r"error_id ([0-9a-f]{8})", str(lost.value))
            envs.close()
        serves_others(base_url)
        assert json.loads(ask(f"{base_url}/health")[1])["active_sessions"] == 0
    logged = ids_in(caplog)  # more than a client saw, if it retried
    assert set(seen) <= set(logged)
    assert len(set(seen)) == 4
    assert caplog.text.count("RuntimeError: a secret of the server") == len(logged)


def break_down(*arguments: Any, **keywords: Any) -> None:
    raise RuntimeError("a secret of the server")
