"""The key, further headers and certificates: they reach the server, and nobody else."""

from __future__ import annotations

import asyncio
import copy
import http.server
import logging
import os
import pickle
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import trustme
from fastapi import FastAPI
from openenv_server import create_app

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import (
    AccessRefusedError,
    ConfigurationError,
    EndpointError,
    InvalidEndpointError,
    NotAnOpenEnvServerError,
    UnauthorizedError,
    UntrustedServerError,
)
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.credentials import Credentials
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2

KEY = "sesame-4711"
VARIABLE = "OPENENV_API_KEY"


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


def app(key: str | None = None) -> FastAPI:
    with pytest.MonkeyPatch.context() as patch:
        if key is not None:
            patch.setenv(VARIABLE, key)
        return create_app(Sharing, CountAction, CountObservation)


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with running(app(KEY)) as base_url:
        yield base_url


def drive_one(base_url: str, **keywords: Any) -> None:
    env = RemoteEnv(base_url, **keywords)
    assert env.reset(options={"start": 3})[0] == 3
    assert env.step(env.action_space.sample() * 0 + 4)[0] == 7
    env.close()


def drive_many(base_url: str, **keywords: Any) -> None:
    envs = RemoteVectorEnv(base_url, 3, **keywords)
    assert envs.reset(seed=1)[0].tolist() == [1, 2, 3]
    assert envs.step(envs.action_space.sample() * 0 + 2)[0].tolist() == [3, 4, 5]
    envs.close()


def drive_client(base_url: str, **keywords: Any) -> None:
    with GenericEnvClient(base_url, **keywords) as client:
        assert client.reset(start=5).observation["total"] == 5
        assert client.state()["step_count"] == 0


DRIVERS = pytest.mark.parametrize("drive", [drive_one, drive_many, drive_client])


# --- the key ----------------------------------------------------------------------------------------------


@DRIVERS
@pytest.mark.parametrize("speaks", [lambda app: app, without_v2], ids=["v2", "v1"])
def test_the_key_opens_the_server(
    drive: Callable[..., None], speaks: Callable[[FastAPI], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(speaks(app(KEY))) as base_url:
        drive(base_url, api_key=KEY)
        drive(base_url, headers={"Authorization": f"Bearer {KEY}"})
        monkeypatch.setenv(VARIABLE, KEY)
        drive(base_url)
        # What is said is meant, whatever the variable is.
        with pytest.raises(UnauthorizedError):
            drive(base_url, api_key="another")
        monkeypatch.setenv(VARIABLE, "another")
        drive(base_url, api_key=KEY)
        with pytest.raises(UnauthorizedError):
            drive(base_url)


@DRIVERS
def test_without_the_key_it_is_said_what_to_do(locked: str, drive: Callable[..., None]) -> None:
    with pytest.raises(UnauthorizedError, match=rf"asks for a key \(.*\)\. Pass api_key=, or set {VARIABLE}"):
        drive(locked)
    with pytest.raises(UnauthorizedError, match=r"rejects the key.*api_key=") as wrong:
        drive(locked, api_key=KEY[::-1])
    assert isinstance(wrong.value, EndpointError)
    shown = "".join(traceback.format_exception(wrong.value))
    assert KEY[::-1] not in shown


def test_a_key_that_changes_on_the_server_is_said_at_the_next_socket() -> None:
    with running(app()) as base_url:
        env = RemoteEnv(base_url)
    port = int(base_url.rpartition(":")[2])
    with running_at(port, app(KEY)), pytest.raises(UnauthorizedError, match=r"the handshake at /ws"):
        env.reset()


@contextmanager
def running_at(port: int, served: FastAPI) -> Iterator[None]:
    """Serves at an address of before."""
    import socket

    import uvicorn

    listening = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(served, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield
    server.should_exit = True
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_headers_go_with_each_request_and_each_handshake() -> None:
    seen: list[tuple[str, str | None, str | None]] = []
    served = app()

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            seen.append((scope["path"], headers.get("x-tenant"), headers.get("origin")))
        await served(scope, receive, send)

    with running(watching) as base_url:
        for drive in (drive_one, drive_many, drive_client):
            drive(base_url, headers={"X-Tenant": "blue"})
    assert {path for path, _, _ in seen} == {"/schema", "/ws"}
    assert len(seen) == 5
    # And no origin, as none of them is a page.
    assert {(tenant, origin) for _, tenant, origin in seen} == {("blue", None)}


@pytest.mark.parametrize(
    "keywords",
    [
        {"api_key": "two words"},
        {"api_key": "line\r\nX-Admin: 1"},
        {"api_key": "ключ"},
        {"headers": {"X-A": "line\r\nX-Admin: 1"}},
        {"headers": {"X A": "1"}},
        {"headers": {"X-A": 1}},
        {"api_key": KEY, "headers": {"authorization": "Basic x"}},
        {"ca_file": "/nowhere/ca.pem"},
        {"ca_file": __file__},
    ],
)
def test_what_cannot_be_sent_is_refused_when_the_object_is_made(keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"api_key=|header|ca_file=") as refused:
        GenericEnvClient("http://127.0.0.1:9", **keywords)
    assert "X-Admin" not in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidEndpointError, match=r"no user and no password.*api_key=") as refused:
        RemoteEnv("https://me:hunter2@env.example")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://localhost:8000/?token=hunter2", "no query.*api_key="),
        ("http://localhost:8000?token=hunter2", "no query.*headers="),
        ("https://env.example/my/env/ws?token=hunter2#a", "no query"),
        ("http://localhost:8000/#hunter2", "no query and no fragment"),
        ("http://localhost:8000x?token=hunter2", "not a base URL"),
    ],
)
def test_a_token_in_the_url_is_refused_and_not_shown(url: str, match: str) -> None:
    for make in (RemoteEnv, lambda url: RemoteVectorEnv(url, 2), GenericEnvClient):
        with pytest.raises(InvalidEndpointError, match=match) as refused:
            make(url)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://localhost:8000/my env", r"contains ' '.*write %20"),
        ("http://local host:8000", "contains ' '"),
        ("http://localhost:80\n00", r"contains '\\n'"),
        ("http://localhost:8000/a\tb", r"contains '\\t'"),
        ("http://localhost:8000/größe", "contains 'ö'.*write %C3%B6"),
        ("http://localhost\\ws", "contains"),
        (f"http://{'a' * 64}.example", "not a host name"),
        ("http://my..example", "not a host name"),
        ("http://.example", "not a host name"),
    ],
)
def test_a_url_with_characters_that_none_has_is_refused(url: str, match: str) -> None:
    for make in (RemoteEnv, GenericEnvClient):
        with pytest.raises(InvalidEndpointError, match=match):
            make(url)
    assert Endpoint.parse(" http://localhost:8000/a%20b/ws/\n").base_url == "http://localhost:8000/a%20b"


# --- where the key must not be ----------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [{"api_key": KEY}, {"headers": {"Authorization": f"Bearer {KEY}"}}])
def test_the_key_is_in_no_text_and_in_no_pickle(locked: str, secret: dict[str, Any]) -> None:
    env, envs = RemoteEnv(locked, **secret), RemoteVectorEnv(locked, 2, **secret)
    client = GenericEnvClient(locked, **secret)
    env.reset()
    envs.reset()
    for thing in (env, envs, client, env.endpoint, env.endpoint.credentials, client._session):
        assert KEY not in f"{thing} {thing!r}"
    for thing in (env, envs, env.endpoint, client._session):
        assert KEY.encode() not in pickle.dumps(thing)
    for closing in (env, envs, client):
        closing.close()


def test_the_key_is_in_no_log_and_in_no_error(locked: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    drive_one(locked, api_key=KEY)
    drive_client(locked, api_key=KEY)
    with running(FastAPI()) as elsewhere, pytest.raises(NotAnOpenEnvServerError) as stranger:
        RemoteEnv(elsewhere, api_key=KEY)
    with pytest.raises(EndpointError) as nobody:
        RemoteEnv("http://127.0.0.1:9", api_key=KEY)
    with running(app("another-1")) as other, pytest.raises(UnauthorizedError) as unauthorized:
        BlockingConnection(Endpoint.parse(other, api_key=KEY), connect_timeout_s=5)
    for raised in (stranger, nobody, unauthorized):
        assert KEY not in "".join(traceback.format_exception(raised.value))
    assert KEY not in caplog.text


def test_a_deep_copy_keeps_the_key_and_a_pickle_takes_the_variables(
    locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = RemoteEnv(locked, api_key=KEY, report_times=True)
    twin = copy.deepcopy(env)
    assert twin.reset(seed=2)[0] == 2
    twin.close()
    parcel = pickle.dumps(env)
    without = pickle.loads(parcel)
    assert (without.endpoint.base_url, without.report_times) == (env.endpoint.base_url, True)
    assert without.observation_space == env.observation_space
    with pytest.raises(UnauthorizedError, match=VARIABLE):
        without.reset()
    monkeypatch.setenv(VARIABLE, KEY)
    again = pickle.loads(parcel)
    assert again.reset(seed=2)[0] == 2
    again.close()
    env.close()


def test_gym_make_takes_the_key(locked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = gym.make("openenv/remote", base_url=locked, api_key=KEY)
    assert KEY not in str(env)
    env.reset()
    env.close()
    envs = gym.make_vec("openenv/remote", 2, base_url=locked, api_key=KEY)
    envs.reset()
    envs.close()
    # By the variable, the key is not in the spec either.
    monkeypatch.setenv(VARIABLE, KEY)
    env = gym.make("openenv/remote", base_url=locked)
    env.reset()
    assert env.spec is not None
    assert KEY not in repr(env.spec)
    assert KEY.encode() not in pickle.dumps(env.unwrapped)
    env.close()


def test_a_redirect_shows_the_key_to_nobody() -> None:
    seen: list[str | None] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    class Redirecting(Elsewhere):
        def do_GET(self) -> None:
            self.send_response(302)
            scheme = "ws" if "Upgrade" in self.headers else "http"
            self.send_header("Location", f"{scheme}://127.0.0.1:{elsewhere}{self.path}")
            self.end_headers()

    with listening(Elsewhere) as elsewhere, listening(Redirecting) as here:
        endpoint = Endpoint.parse(f"http://127.0.0.1:{here}", api_key=KEY, headers={"X-Key": KEY})
        for request in (
            lambda: get_json(endpoint, "/schema", timeout_s=5),
            lambda: BlockingConnection(endpoint, connect_timeout_s=5),
        ):
            with pytest.raises(
                NotAnOpenEnvServerError,
                match=rf"302 .*redirects to (http://127\.0\.0\.1:{elsewhere})\. .*make \1 ",
            ):
                request()
    assert seen == []


@contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, b'{"message": "Not in this region", "code": "X"}', "403 to GET /schema: Not in this region"),
        (429, b"Slow down", "429 to GET /schema: Slow down"),
        (403, b"", "403 to GET /schema: no reason given"),
        (403, b'{"detail": "No"}', r'403 to GET /schema: {"detail": "No"}'),
    ],
)
def test_what_another_server_says_when_it_refuses_is_handed_on(status: int, body: bytes, said: str) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with listening(Refusing) as port:
        with pytest.raises(AccessRefusedError, match=said):
            RemoteEnv(f"http://127.0.0.1:{port}")
        with pytest.raises(AccessRefusedError, match=said.replace("GET /schema", "the handshake at /ws")):
            BlockingConnection(Endpoint.parse(f"http://127.0.0.1:{port}"), connect_timeout_s=5)


# --- cookies ----------------------------------------------------------------------------------------------


def sticky(app: Any, *, sets_cookie: str) -> Any:
    """A load balancer that refuses handshakes without its cookie, which it sets over HTTP, or then."""
    cookie = (b"set-cookie", b"lb=one; HttpOnly; Expires=Wed, 21 Oct 2099 07:28:00 GMT")

    async def balance(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_cookie(message: Any) -> None:
            if message["type"] == "http.response.start" and sets_cookie == "http":
                message["headers"] = [*message["headers"], cookie]
            await send(message)

        if scope["type"] == "websocket" and b"lb=one" not in dict(scope["headers"]).get(b"cookie", b""):
            headers = [cookie] if sets_cookie == "refusal" else []
            await send({"type": "websocket.http.response.start", "status": 421, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b""})
        else:
            await app(scope, receive, send_with_cookie)

    return balance


@pytest.mark.parametrize("speaks", [lambda app: app, without_v2], ids=["v2", "v1"])
def test_the_cookies_of_a_load_balancer_are_sent_back(speaks: Callable[[FastAPI], Any]) -> None:
    with running(sticky(speaks(app()), sets_cookie="http")) as base_url:
        drive_one(base_url)
        drive_many(base_url)
        with pytest.raises(AccessRefusedError, match=r"421 to the handshake at /ws: a load balancer.*Cookie"):
            drive_client(base_url)  # it asks nothing over HTTP
        drive_client(base_url, headers={"cookie": "a=b; lb=one"})
    with running(sticky(speaks(app()), sets_cookie="refusal")) as base_url:
        for drive in (drive_one, drive_many, drive_client):
            drive(base_url)

        async def drive_async() -> None:
            async with GenericEnvClient(base_url) as client:
                assert (await client.reset(start=5)).observation["total"] == 5

        asyncio.run(drive_async())


def test_cookies_are_kept_dropped_and_joined_with_the_users() -> None:
    endpoint = Endpoint.parse("http://127.0.0.1:8000/env", headers={"User-Agent": "me", "Cookie": "mine=1"})
    endpoint.cookies.update(
        "/schema", ["lb=one; Path=/", "other=2; Path=/elsewhere", "tls=3; Secure", "=", ""]
    )
    assert endpoint.headers_for("/ws") == [("User-Agent", "me"), ("Cookie", "mine=1; lb=one")]
    assert copy.deepcopy(endpoint).headers_for("/ws") == endpoint.headers_for("/ws")
    assert "one" not in repr(endpoint)
    assert b"one" not in pickle.dumps(endpoint)  # it may be a secret
    endpoint.cookies.update("/ws", ["lb=; Path=/; Max-Age=0"])
    assert dict(endpoint.headers_for("/ws"))["Cookie"] == "mine=1"


# --- certificates -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """An authority that no machine trusts, and the file with its certificate."""
    made = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(path)
    return made, str(path)


@contextmanager
def running_tls(authority: trustme.CA, folder: Path, *names: str, **options: Any) -> Iterator[str]:
    certificate = authority.issue_cert(*names)
    files = {"ssl_keyfile": folder / "key.pem", "ssl_certfile": folder / "chain.pem"}
    certificate.private_key_pem.write_to_path(files["ssl_keyfile"])
    files["ssl_certfile"].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    with running(app(KEY), **{name: str(path) for name, path in files.items()}, **options) as base_url:
        assert base_url.startswith("https://")
        yield base_url


def test_over_tls_with_an_authority_of_ones_own(authority: tuple[trustme.CA, str], tmp_path: Path) -> None:
    made, ca_file = authority
    with running_tls(made, tmp_path, "127.0.0.1") as base_url:
        for drive in (drive_one, drive_many, drive_client):
            drive(base_url, api_key=KEY, ca_file=ca_file)
            drive(base_url.replace("https", "wss"), api_key=KEY, ca_file=Path(ca_file))
        with pytest.raises(UnauthorizedError):
            drive_one(base_url, ca_file=ca_file)
        connection = BlockingConnection(
            Endpoint.parse(base_url, api_key=KEY, ca_file=ca_file), connect_timeout_s=5, offers_v2=True
        )
        assert connection.is_v2
        assert isinstance(connection.raw_socket, ssl.SSLSocket)
        connection.hang_up()
        env = RemoteEnv(base_url, api_key=KEY, ca_file=ca_file)
        twin = copy.deepcopy(env)
        twin.reset()
        twin.close()
        assert pickle.loads(pickle.dumps(env)).endpoint.credentials.ca_file == ca_file


def test_large_messages_pass_tls(authority: tuple[trustme.CA, str], tmp_path: Path) -> None:
    made, ca_file = authority
    with running_tls(made, tmp_path, "127.0.0.1") as base_url:
        with GenericEnvClient(base_url, api_key=KEY, ca_file=ca_file) as client:
            text = "x" * 3_000_000
            assert client.reset(episode_id=text).observation["total"] == 0
            assert client.state()["episode_id"] == text
        envs = RemoteVectorEnv(base_url, 2, api_key=KEY, ca_file=ca_file)
        envs.reset(options={"episode_id": text})
        assert [state["episode_id"] == text for state in envs.get_attr("state")] == [True, True]
        envs.close()


def test_a_certificate_that_is_not_trusted_is_refused_and_said(
    authority: tuple[trustme.CA, str], tmp_path: Path
) -> None:
    made, _ = authority
    another = tmp_path / "another.pem"
    trustme.CA().cert_pem.write_to_path(another)
    with running_tls(made, tmp_path, "127.0.0.1") as base_url:
        for trusted in (None, another):
            with pytest.raises(
                UntrustedServerError, match=r"is not trusted: .*certificate.*ca_file="
            ) as http_:
                RemoteEnv(base_url, api_key=KEY, ca_file=trusted)
            with (
                pytest.raises(UntrustedServerError, match=r"is not trusted: .*certificate.*ca_file="),
                GenericEnvClient(base_url, api_key=KEY, ca_file=trusted) as client,
            ):
                client.reset()
            assert KEY not in "".join(traceback.format_exception(http_.value))


def test_a_certificate_of_another_host_is_refused_and_said(
    authority: tuple[trustme.CA, str], tmp_path: Path
) -> None:
    made, ca_file = authority
    with running_tls(made, tmp_path, "env.example") as base_url:
        for url in (base_url, base_url.replace("127.0.0.1", "localhost")):
            with pytest.raises(UntrustedServerError, match=r"mismatch.*if it is for another host name"):
                RemoteEnv(url, api_key=KEY, ca_file=ca_file)
            with (
                pytest.raises(UntrustedServerError, match=r"mismatch.*if it is for another host name"),
                GenericEnvClient(url, api_key=KEY, ca_file=ca_file) as client,
            ):
                client.reset()


def test_the_certificates_are_read_once(authority: tuple[trustme.CA, str]) -> None:
    endpoint = Endpoint.parse("https://127.0.0.1:9", ca_file=authority[1])
    assert copy.deepcopy(endpoint).credentials.tls is endpoint.credentials.tls
    assert endpoint.credentials.tls.verify_mode is ssl.CERT_REQUIRED
    assert Credentials().tls.check_hostname


# --- from the command line --------------------------------------------------------------------------------


@pytest.mark.slow
def test_openenv_serve_and_spaces_share_the_variable() -> None:
    environment = {**os.environ, VARIABLE: KEY}
    command = [sys.executable, "-m", "openenv_cli"]
    server = subprocess.Popen(
        [*command, "serve", "--gym", "CartPole-v1", "--port", "0", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert server.stdout is not None
        base_url = server.stdout.readline().strip()
        shown = subprocess.run(
            [*command, "spaces", base_url], capture_output=True, text=True, env=environment, timeout=60
        )
        assert shown.stdout.startswith("action"), shown.stderr
        refused = subprocess.run(
            [*command, "spaces", base_url], capture_output=True, text=True, env=os.environ, timeout=60
        )
        assert refused.returncode == 5
        assert refused.stderr.startswith(f"Error: {base_url} asks for a key")
        envs = RemoteVectorEnv(base_url, 4, api_key=KEY)
        envs.reset()
        envs.close()
    finally:
        server.terminate()
        _, log = server.communicate(timeout=20)
    assert KEY not in log
