"""Both transports, blocking and asyncio, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import trustme
from openenv_server import create_app

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import (
    AccessRefusedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    NotAnOpenEnvServerError,
    ProtocolError,
    SessionLostError,
    UnauthorizedError,
    UntrustedServerError,
)
from openenv_gym.transport.asynchronous import AsyncTransport
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.transport.connection import Connection, Transport
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.error_mapping import HANDSHAKE, connect_error
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.transport.http import get_json
from openenv_gym.transport.routes import route_to
from openenv_gym.wire import v1, v2
from openenv_gym.wire.framing import CloseCode, Opcode, PeerClosedError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2
from tests.support.websocket_peer import peer

Runner = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["blocking", "asyncio"])
def both(request: pytest.FixtureRequest) -> tuple[Transport, Runner]:
    """A transport, and what runs coroutines over it."""
    return (BlockingTransport(), run) if request.param == "blocking" else (AsyncTransport(), asyncio.run)


async def asked(connection: Connection, message: Any, timeout_s: float = 5) -> bytes:
    await connection.send(message, timeout_s=timeout_s, operation="step 3")
    return bytes(await connection.receive(timeout_s=timeout_s, operation="step 3"))


def echo(frames: FrameSocket) -> None:
    while True:
        opcode, payload = frames.receive()
        frames.send(payload, opcode=opcode)


def silent(frames: FrameSocket) -> None:
    while True:
        frames.receive()


def connected(
    both: tuple[Transport, Runner],
    endpoint: Endpoint,
    use: Callable[[Connection], Awaitable[Any]],
    *,
    timeout_s: float = 5,
    offers_v2: bool = True,
) -> Any:
    transport, drive = both

    async def main() -> Any:
        connection = await transport.connect(endpoint, timeout_s=timeout_s, offers_v2=offers_v2)
        try:
            return await use(connection)
        finally:
            connection.hang_up()
            assert not connection.is_open

    return drive(main())


def test_the_two_versions_are_told_apart(both: tuple[Transport, Runner]) -> None:
    async def state(connection: Connection) -> Any:
        assert connection.worker == (0, 1)
        assert connection.is_open
        if connection.is_v2:
            return v2.decode_answer(await asked(connection, v2.encode(v2.Open(id=1, slots=[0]))))
        return v1.decode_answer(await asked(connection, v1.STATE_REQUEST))

    app = create_app(Counter, CountAction, CountObservation)
    with running(app) as base_url:
        assert isinstance(connected(both, Endpoint(base_url), state), v2.Opened)
        assert isinstance(connected(both, Endpoint(base_url), state, offers_v2=False), v1.StateAnswer)
    with running(without_v2(app)) as base_url:
        assert isinstance(connected(both, Endpoint(base_url), state), v1.StateAnswer)


@pytest.mark.parametrize("size", [0, 100, 5000, 8192, 70_000, 3_000_001])
def test_messages_of_every_size_go_both_ways(both: tuple[Transport, Runner], size: int) -> None:
    payload = os.urandom(size)

    async def echoed(connection: Connection) -> None:
        assert await asked(connection, [payload[:10], memoryview(payload)[10:]]) == payload
        assert connection.has_pending
        kept = memoryview(b"")
        await connection.send([payload], timeout_s=5, operation="step")
        first = await connection.receive(timeout_s=5, operation="step")
        kept = connection.exchange_memory(kept)
        assert await asked(connection, [bytes(size)]) == bytes(size)
        assert first == payload

    with peer(echo) as endpoint:
        connected(both, endpoint, echoed)


def test_a_silent_server_is_given_up_in_time_and_told(both: tuple[Transport, Runner]) -> None:
    codes = []

    def wait(frames: FrameSocket) -> None:
        try:
            silent(frames)
        except PeerClosedError as closed:
            codes.append(closed.code)

    async def too_long(connection: Connection) -> None:
        begin = time.monotonic()
        with pytest.raises(DeadlineExceededError, match=r"did not answer step 3 within 0\.3 s") as late:
            await asked(connection, [b"x"], timeout_s=0.3)
        assert time.monotonic() - begin < 2
        assert (late.value.endpoint, late.value.operation) == (connection.endpoint.base_url, "step 3")
        assert not connection.is_open
        with pytest.raises(SessionLostError, match="is closed") as closed:
            await asked(connection, [b"x"])
        assert not closed.value.retryable

    with peer(wait) as endpoint:
        connected(both, endpoint, too_long)
    assert codes == [CloseCode.NORMAL]


def test_a_later_receive_may_wait_longer_or_shorter(both: tuple[Transport, Runner]) -> None:
    def slow(frames: FrameSocket) -> None:
        for pause_s in (0.4, 0.0):
            frames.receive()
            time.sleep(pause_s)
            frames.send(b"here")
        silent(frames)

    async def use(connection: Connection) -> None:
        assert await asked(connection, [b"1"], timeout_s=5) == b"here"
        assert await asked(connection, [b"2"], timeout_s=0.2) == b"here"
        begin = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await asked(connection, [b"3"], timeout_s=0.2)
        assert 0.15 < time.monotonic() - begin < 2

    with peer(slow) as endpoint:
        connected(both, endpoint, use)


def test_a_server_that_does_not_read_is_given_up_in_time(both: tuple[Transport, Runner]) -> None:
    done = threading.Event()

    async def flood(connection: Connection) -> None:
        async def send_all() -> None:
            for _ in range(100):
                await connection.send([bytes(1 << 22)], timeout_s=0.3, operation="step")

        with pytest.raises(DeadlineExceededError):
            await send_all()
        done.set()

    with peer(lambda frames: done.wait(10) and None) as endpoint:
        connected(both, endpoint, flood)


@pytest.mark.parametrize(
    ("end", "retryable"),
    [
        (lambda frames: frames.raw.close(), True),
        (lambda frames: frames.send_close(CloseCode.NORMAL, "bye"), True),
        (lambda frames: frames.send_close(CloseCode.SERVICE_RESTART), True),
        (lambda frames: frames.send_close(CloseCode.TOO_BIG, "too much"), False),
        (lambda frames: frames.send_close(CloseCode.GOING_AWAY, "The server is stopping"), False),
        (lambda frames: frames.send_close(CloseCode.GOING_AWAY), True),  # a gateway: Caddy
        (lambda frames: frames.send_close(CloseCode.PROTOCOL_ERROR), False),
        (lambda frames: frames.raw.sendall(b"\xff\x00"), False),
    ],
)
def test_what_ended_a_connection_decides_whether_a_retry_makes_sense(
    both: tuple[Transport, Runner], end: Callable[[FrameSocket], None], retryable: bool
) -> None:
    def behave(frames: FrameSocket) -> None:
        frames.receive()
        end(frames)
        if frames.raw.fileno() >= 0:
            silent(frames)

    async def use(connection: Connection) -> None:
        with pytest.raises(SessionLostError, match=r"(broke|closed the session) during step 3") as lost:
            await asked(connection, [b"x"])
        assert lost.value.retryable is retryable
        assert isinstance(lost.value.__cause__, ConnectionError)
        assert lost.value.operation == "step 3"
        assert not connection.is_open

    with peer(behave) as endpoint:
        connected(both, endpoint, use)


def test_what_a_server_said_before_it_hung_up_is_still_read(both: tuple[Transport, Runner]) -> None:
    transport, _ = both

    def refuse(frames: FrameSocket) -> None:
        frames.send(b"full")
        frames.send_close()

    async def use(connection: Connection) -> None:
        await transport.sleep(0.2)
        await connection.send([b"open"], timeout_s=5, operation="open")
        await connection.send([b"again"], timeout_s=5, operation="open")
        assert await connection.receive(timeout_s=5, operation="open") == b"full"
        with pytest.raises(SessionLostError):
            await connection.receive(timeout_s=5, operation="open")

    with peer(refuse) as endpoint:
        connected(both, endpoint, use)


def test_a_frame_of_the_wrong_kind_drops_the_session(both: tuple[Transport, Runner]) -> None:
    async def use(connection: Connection) -> None:
        with pytest.raises(ProtocolError, match="sent a text frame, which version 2"):
            await asked(connection, "text")
        assert not connection.is_open

    with peer(echo) as endpoint:
        connected(both, endpoint, use)


def test_pings_are_answered_while_nobody_receives(both: tuple[Transport, Runner]) -> None:
    transport, _ = both

    def ping(frames: FrameSocket) -> None:
        for _ in range(3):
            frames.has_answered_ping = False
            frames.send(b"there?", opcode=Opcode.PING)
            frames.set_timeout(1)
            with pytest.raises(TimeoutError):
                frames.receive()
            assert frames.has_answered_ping
        frames.send(b"done")
        with pytest.raises(PeerClosedError):
            frames.receive()

    async def use(connection: Connection) -> None:
        await transport.sleep(3.2)
        assert await connection.receive(timeout_s=5, operation="step") == b"done"

    with peer(ping) as endpoint:
        connected(both, endpoint, use)


def test_close_says_farewell_and_waits_for_the_server(both: tuple[Transport, Runner]) -> None:
    said = []

    def behave(frames: FrameSocket) -> None:
        said.append(bytes(frames.receive()[1]))
        time.sleep(0.2)
        said.append(b"closing")
        frames.send_close()

    async def use(connection: Connection) -> None:
        await connection.close("farewell")
        assert said == [b"farewell", b"closing"]
        assert not connection.is_open
        await connection.close("farewell")

    with peer(behave) as endpoint:
        connected(both, endpoint, use)


def test_close_waits_for_a_second_at_most(both: tuple[Transport, Runner]) -> None:
    async def use(connection: Connection) -> None:
        begin = time.monotonic()
        await connection.close("farewell")
        assert time.monotonic() - begin < 2

    with peer(silent) as endpoint:
        connected(both, endpoint, use)


# --- what can be wrong with an endpoint -------------------------------------------------------------------


@contextmanager
def answering(data: bytes | None) -> Iterator[Endpoint]:
    """A server that gives every connection the same bytes; with None it gives nothing, and stays."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            raw, _ = listening.accept()
            with raw:
                raw.recv(4096)
                if data is None:
                    stop.wait(10)
                else:
                    raw.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}")
        stop.set()
        thread.join(timeout=10)


@pytest.mark.parametrize(
    ("data", "kind", "match"),
    [
        (None, DeadlineExceededError, "did not open a WebSocket within 0.5 s"),
        (b"", EndpointUnreachableError, r"without an answer to the handshake.*make https://127\.0\.0\.1:"),
        (b"HTTP/1.1 20", EndpointUnreachableError, "broke in the handshake"),
        (b"SSH-2.0\r\n", NotAnOpenEnvServerError, "not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", NotAnOpenEnvServerError, "expects TLS.*Make https://127"),
        (b"HTTP/1.1 503 No\r\n\r\n", EndpointUnreachableError, "A gateway answers 503 to the handshake"),
        (
            b'HTTP/1.1 503 No\r\nContent-Length: 24\r\n\r\n{"message": "try later"}',
            EndpointUnreachableError,
            "answers 503 to the handshake at /ws: try later",
        ),
        (b"HTTP/1.1 421 No\r\n\r\n", AccessRefusedError, "421.*load balancer"),
        (b"HTTP/1.1 426 No\r\nServer: x\r\n\r\n", NotAnOpenEnvServerError, r"\(Server: x\).*Upgrade"),
        (b"HTTP/1.1 200 OK\r\n\r\n", NotAnOpenEnvServerError, "answers 200 to the handshake"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
            NotAnOpenEnvServerError,
            "redirects to http://127.*/x\\.",
        ),
        (b"HTTP/1.1 401 No\r\n\r\n", UnauthorizedError, "asks for a key"),
        (
            b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nwhy",
            AccessRefusedError,
            "403 to the handshake.*: why",
        ),
        (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n\r\n", NotAnOpenEnvServerError, "no WebSocket at /ws"),
    ],
)
def test_an_endpoint_that_opens_no_websocket(
    both: tuple[Transport, Runner], data: bytes | None, kind: type[EndpointError], match: str
) -> None:
    transport, drive = both
    with answering(data) as endpoint:
        with pytest.raises(kind, match=match) as refused:
            drive(transport.connect(endpoint, timeout_s=0.5))
        assert refused.value.endpoint == endpoint.base_url
        assert refused.value.operation


def test_an_endpoint_where_nothing_listens(both: tuple[Transport, Runner]) -> None:
    transport, drive = both
    for url in ("http://127.0.0.1:9", "http://localhost:9", "http://no-such-host.invalid"):
        with pytest.raises(EndpointUnreachableError, match="Nothing answers at") as nobody:
            drive(transport.connect(Endpoint(url), timeout_s=5))
        assert isinstance(nobody.value.__cause__, OSError)
        assert isinstance(nobody.value, ConnectionError)


@pytest.mark.parametrize(
    "use",
    [
        RemoteEnv,
        lambda url: RemoteVectorEnv(url, 2),
        lambda url: GenericEnvClient(url).reset(),
        lambda url: GenericEnvClient(url).connect(),
        lambda url: asyncio.run(AsyncTransport().connect(Endpoint(url), timeout_s=5)),
    ],
    ids=["env", "vector env", "reset", "connect", "asyncio"],
)
def test_a_host_that_does_not_exist_is_unreachable_for_every_client(use: Callable[[str], Any]) -> None:
    for url in ("http://no-such-host.invalid:8000", "https://no-such-host.invalid"):
        with pytest.raises(EndpointUnreachableError, match="Nothing answers at") as nobody:
            use(url)
        assert isinstance(nobody.value, ConnectionError)


def large(url: str) -> None:
    with GenericEnvClient(url) as client:
        client.reset(episode_id="x" * 20_000_000)


async def large_async(url: str) -> None:
    async with GenericEnvClient(url) as client:
        await client.reset(episode_id="x" * 20_000_000)


@pytest.mark.parametrize("speaks", [lambda app: app, without_v2], ids=["v2", "v1"])
@pytest.mark.parametrize("send", [large, lambda url: asyncio.run(large_async(url))], ids=["sync", "async"])
def test_a_message_that_a_plain_uvicorn_refuses_is_said_with_the_limit(
    speaks: Callable[[Any], Any], send: Callable[[str], None]
) -> None:
    app = speaks(create_app(Counter, CountAction, CountObservation))
    with (
        running(app, ws="auto", ws_max_size=2**24) as base_url,
        pytest.raises(
            SessionLostError, match=r"message of 20,000,0\d\d bytes is larger.*--ws-max-size"
        ) as lost,
    ):
        send(base_url)
    assert not lost.value.retryable


def test_over_tls(both: tuple[Transport, Runner], tmp_path: Path) -> None:
    transport, drive = both
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    payload = os.urandom(500_000)

    async def use(connection: Connection) -> None:
        assert await asked(connection, [payload]) == payload
        assert await asked(connection, [b"x"]) == b"x"

    with peer(echo, tls=context) as endpoint:
        trusting = Endpoint.parse(endpoint.base_url, ca_file=tmp_path / "ca.pem")
        connected(both, trusting, use)
    with peer(echo, tls=context) as endpoint, pytest.raises(UntrustedServerError, match="not trusted"):
        drive(transport.connect(endpoint, timeout_s=5))


@pytest.mark.parametrize("kind", [ssl.SSLEOFError, ssl.SSLZeroReturnError])
def test_a_peer_that_is_gone_in_the_tls_handshake_is_away(kind: type[ssl.SSLError]) -> None:
    error = connect_error(Endpoint("https://example.com"), kind(8, "EOF"), HANDSHAKE, 5)
    assert isinstance(error, EndpointUnreachableError)  # which is retried


@pytest.mark.parametrize("closes_politely", [True, False])
def test_over_tls_a_peer_that_is_gone_is_a_broken_connection(
    both: tuple[Transport, Runner], tmp_path: Path, closes_politely: bool
) -> None:
    transport, _ = both
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def leave(frames: FrameSocket) -> None:
        if closes_politely:
            frames.raw.unwrap()  # type: ignore[attr-defined]

    async def use(connection: Connection) -> None:
        await transport.sleep(0.6)  # the keepalive thread sees the end before the step is sent
        for _ in range(3):
            await connection.send([b"x"], timeout_s=5, operation="step")
        with pytest.raises(SessionLostError) as lost:
            await connection.receive(timeout_s=5, operation="step")
        assert lost.value.retryable

    with peer(leave, tls=context) as endpoint:
        connected(both, Endpoint.parse(endpoint.base_url, ca_file=tmp_path / "ca.pem"), use)


# --- proxies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_proxied"),
    [
        ("http://env.example", "", True),
        ("https://env.example:8443/base", "", True),
        ("http://env.example", "example", False),
        ("http://env.example", "other, .example", False),
        ("http://env.example", "*", False),
        ("http://10.1.2.3:8000", "", True),
        ("http://10.1.2.3:8000", "10.0.0.0/8", False),
        ("http://127.0.0.1:8000", "", False),
        ("http://[::1]:8000", "", False),
        ("http://localhost:8000", "", False),
        ("http://LOCALHOST.:8000", "", False),
        ("http://127.8.9.1", "", False),
        ("http://[::ffff:127.0.0.1]:8000", "", False),
        ("http://0.0.0.0:8000", "", False),
        ("http://localhost.example:8000", "", True),
        ("http://[fd00::1]:8000", "", True),
        ("http://[fd00::1]:8000", "fd00::1", False),
        ("http://[fd00::1]:8000", "[fd00::1]", False),
        ("http://[fd00::1]:8000", "[fd00:0::0:1]:8000", False),
        ("http://[fd00::1]:8000", "[fd00::1]:8001", True),
        ("http://[fd00::1]:8000", "fd00::/8", False),
        ("http://[fd00::1]:8000", "[fd00::]/8", False),
        ("http://[fd00::1]:8000", "10.0.0.0/8, fe80::/10", True),
        ("http://10.1.2.3:8000", "10.1.2.3", False),
        ("http://10.1.2.3:8000", "10.1.2.3:8000", False),
        ("http://10.1.2.3:8000", "10.1.2.3:80", True),
        ("http://10.1.2.3", "10.1.2.3:80", False),
        ("https://10.1.2.3", "10.1.2.3:443", False),
        ("http://10.1.2.3:8000", "1.2.3", True),
        ("http://env.example:8000", "env.example:8000", False),
        ("http://env.example:8000", ".example:8000", False),
        ("http://env.example:8000", "env.example:80", True),
        ("http://env.example", "*.example", False),
        ("http://env.example", "ENV.Example.", False),
        ("http://env.example", "v.example", True),
        ("http://env.example", "http://env.example", False),
        ("http://env.example", "a  env.example\tb", False),
        ("http://env.example", ",.,:,/", True),
    ],
)
def test_one_rule_decides_about_proxies(
    url: str, no_proxy: str, is_proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://me:p%40ss@proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    route = route_to(Endpoint(url))
    assert (route.tls is not None) is url.startswith("https")
    assert route.path == ("/base" if "base" in url else "")
    if is_proxied:
        assert route.first_hop == ("proxy.example", 3128)
        assert route.proxy is not None
        assert route.proxy.authorization == "Basic bWU6cEBzcw=="
    else:
        assert route.proxy is None
        assert route.first_hop == (route.host, route.port)


@contextmanager
def proxying(status: int, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy of one connection, which leads to a port here; gives the requests that it got."""
    requests = []

    def serve() -> None:
        raw, _ = listening.accept()
        with raw:
            requests.append(raw.recv(4096).split(b"\r\n")[0])
            raw.sendall(b"HTTP/1.1 %d x\r\n\r\n" % status)
            if status != 200:
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=pump, args=(server, raw), daemon=True)
                back.start()
                pump(raw, server)
                back.join(timeout=10)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listening.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield requests
        thread.join(timeout=10)


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one side is gone
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("url", ["http://env.example:8000", "https://env.example"])
def test_servers_that_were_started_here_are_reached_directly(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy.example:3128")
    assert route_to(Endpoint.parse(url)).first_hop == ("proxy.example", 3128)
    assert route_to(Endpoint.parse(url, is_direct=True)).proxy is None


def test_a_dead_proxy_does_not_stand_in_the_way_of_a_server_that_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    env = gymnasium.make("openenv/remote", gym="CartPole-v1")
    env.reset()
    env.close()


def test_a_socks_proxy_is_refused(both: tuple[Transport, Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    transport, drive = both
    monkeypatch.setenv("all_proxy", "socks5://me:secret@proxy.example:1080")
    for call in (
        lambda: drive(transport.connect(BEHIND_PROXY, timeout_s=5)),
        lambda: get_json(BEHIND_PROXY, "/schema", timeout_s=5),
    ):
        with pytest.raises(ConfigurationError, match=r"socks5://proxy\.example.*no_proxy") as refused:
            call()
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(502, EndpointUnreachableError), (503, EndpointUnreachableError), (403, AccessRefusedError)],
)
def test_http_and_websocket_name_the_proxy_alike(
    both: tuple[Transport, Runner],
    status: int,
    kind: type[EndpointError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport, drive = both
    for call in (
        lambda: drive(transport.connect(BEHIND_PROXY, timeout_s=5)),
        lambda: get_json(BEHIND_PROXY, "/schema", timeout_s=5),
    ):
        with (
            proxying(status, 0, monkeypatch),
            pytest.raises(
                kind, match=rf"the proxy http://127\.0\.0\.1:\d+ answers {status} to CONNECT.*NO_PROXY"
            ),
        ):
            call()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for call in (
        lambda: drive(transport.connect(BEHIND_PROXY, timeout_s=5)),
        lambda: get_json(BEHIND_PROXY, "/schema", timeout_s=5),
    ):
        with pytest.raises(
            EndpointUnreachableError, match=r"\(through the proxy http://127\.0\.0\.1:9\).*NO_PROXY"
        ):
            call()


# Only the proxy can resolve this name.
BEHIND_PROXY = Endpoint("http://env.invalid:8000")


def test_a_proxy_tunnels(both: tuple[Transport, Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(connection: Connection) -> None:
        assert await asked(connection, [b"through"]) == b"through"

    with peer(echo) as target:
        port = int(target.base_url.rpartition(":")[2])
        with proxying(200, port, monkeypatch) as requests:
            connected(both, BEHIND_PROXY, use)
    assert requests == [b"CONNECT env.invalid:8000 HTTP/1.1"]


def test_a_proxy_refuses(both: tuple[Transport, Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    transport, drive = both
    with (
        proxying(407, 0, monkeypatch),
        pytest.raises(AccessRefusedError, match=r"the proxy .* answers 407 to CONNECT.*user and a password"),
    ):
        drive(transport.connect(BEHIND_PROXY, timeout_s=5))


# --- one transport only -----------------------------------------------------------------------------------


def test_run_refuses_a_coroutine_that_suspends() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        run(waits())


def test_a_cancelled_receive_hangs_up() -> None:
    codes = []

    def behave(frames: FrameSocket) -> None:
        with pytest.raises(PeerClosedError) as closed:
            silent(frames)
        codes.append(closed.value.code)

    async def main(endpoint: Endpoint) -> None:
        connection = await AsyncTransport().connect(endpoint, timeout_s=5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asked(connection, [b"x"])
        assert not connection.is_open
        await asyncio.sleep(0.1)

    with peer(behave) as endpoint:
        asyncio.run(main(endpoint))
    assert codes == [CloseCode.NORMAL]


def test_a_cancelled_connect_leaves_no_socket() -> None:
    async def main(endpoint: Endpoint) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(asyncio.TimeoutError):
            async with asyncio.timeout(0.2):
                await AsyncTransport().connect(endpoint, timeout_s=5)
        await asyncio.sleep(0.1)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # the peer's

    with answering(None) as endpoint:
        asyncio.run(main(endpoint))


def test_unread_messages_hold_the_server_back() -> None:
    sent = 0

    def flood(frames: FrameSocket) -> None:
        nonlocal sent
        for number in range(300):
            frames.send(number.to_bytes(4, "big"), bytes(100_000))
            sent += 1
        silent(frames)

    async def main(endpoint: Endpoint) -> None:
        connection = await AsyncTransport().connect(endpoint, timeout_s=5)
        await asyncio.sleep(1)
        assert sent < 250
        for number in range(300):
            payload = await connection.receive(timeout_s=5, operation="step")
            assert int.from_bytes(payload[:4], "big") == number
        connection.hang_up()

    with peer(flood) as endpoint:
        asyncio.run(main(endpoint))


def test_a_connection_outlives_neither_its_loop_nor_its_owner() -> None:
    app = create_app(Counter, CountAction, CountObservation, resume_grace_s=0)
    transport = AsyncTransport()

    async def main(base_url: str) -> Connection:
        connections = [await transport.connect(Endpoint(base_url), timeout_s=5) for _ in range(2)]
        await asked(connections[0], v2.encode(v2.Open(id=1, slots=[0])))
        assert app.state.sessions.active == 1
        del connections[0]
        gc.collect()
        for _ in range(50):
            await asyncio.sleep(0.05)
            if not app.state.sessions.active:
                break
        assert app.state.sessions.active == 0
        return connections[0]

    with running(app) as base_url:
        connection = asyncio.run(main(base_url))
        assert not connection.is_open
        connection.drop()


def _try_in_child(connection: Connection, results: Any) -> None:
    is_open = connection.is_open
    connection.hang_up()
    results.put(is_open)


def test_a_fork_leaves_the_parents_connection_alone() -> None:
    async def main(endpoint: Endpoint) -> None:
        connection = await AsyncTransport().connect(endpoint, timeout_s=5)
        assert await asked(connection, [b"1"]) == b"1"
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=_try_in_child, args=(connection, results))
        child.start()
        assert results.get(timeout=10) is False
        child.join(10)
        assert await asked(connection, [b"2"]) == b"2"
        connection.hang_up()

    with peer(echo) as endpoint:
        asyncio.run(main(endpoint))


def test_hundreds_of_connections_need_no_threads() -> None:
    app = create_app(Counter, CountAction, CountObservation)

    async def main(base_url: str) -> None:
        before = threading.active_count()
        endpoint = Endpoint(base_url.replace("127.0.0.1", "localhost"))
        transport = AsyncTransport()
        connections = await asyncio.gather(*(transport.connect(endpoint, timeout_s=20) for _ in range(200)))
        own = [thread for thread in threading.enumerate() if thread.name.startswith("openenv-dns")]
        assert len(own) <= 2
        assert threading.active_count() <= before + 2 + 200  # the server has one a connection
        for connection in connections:
            connection.hang_up()

    with running(app) as base_url:
        asyncio.run(main(base_url))


def test_cuts_of_a_running_connection_are_found_by_receive(both: tuple[Transport, Runner]) -> None:
    async def use(connection: Connection) -> None:
        assert await asked(connection, [b"x"]) == b"x"
        proxy.cut()
        with pytest.raises(SessionLostError) as lost:
            await asked(connection, [b"y"])
        assert lost.value.retryable

    with peer(echo) as target, FaultProxy(target.base_url, faults={}) as proxy:
        connected(both, Endpoint(proxy.base_url), use)
