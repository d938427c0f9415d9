"""Servers that flood or drip: every client gives up, in time and with bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openenv_server import git_server
from openenv_server.git_server import GitServerClient

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import DeadlineExceededError, GitError, NotAnOpenEnvServerError, SessionLostError
from openenv_gym.providers.hub_spaces import SpaceOnHub
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.v2 import V2Channel
from openenv_gym.transport.asynchronous import AsyncTransport
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.transport.connection import Transport
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.transport.http import get_json, get_schemas
from openenv_gym.wire import v2
from tests.support.scripted import opened, result
from tests.support.websocket_peer import peer

TIMEOUT_S = 0.6
# What a busy machine may take beyond that.
LEEWAY_S = 3.0

Runner = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=["blocking", "asyncio"])
def both(request: pytest.FixtureRequest) -> tuple[Transport, Runner]:
    """A transport, and what runs coroutines over it."""
    return (BlockingTransport(), run) if request.param == "blocking" else (AsyncTransport(), asyncio.run)


def receive_from(
    both: tuple[Transport, Runner], behave: Callable[[FrameSocket], None], timeout_s: float
) -> None:
    """Wait for a message. Raises what `receive` does."""
    transport, drive = both

    async def main(endpoint: Endpoint) -> None:
        connection = await transport.connect(endpoint, timeout_s=5)
        try:
            await connection.receive(timeout_s=timeout_s, operation="step 1")
        finally:
            connection.drop()

    with peer(behave) as endpoint:
        drive(main(endpoint))


def flooding(first: bytes, then: bytes, *, seconds: float = 5) -> Callable[[FrameSocket], None]:
    def flood(frames: FrameSocket) -> None:
        deadline = time.monotonic() + seconds
        frames.raw.sendall(first)
        while time.monotonic() < deadline:
            frames.raw.sendall(then)

    return flood


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        (b"\x02\x00", b"\x00\x00" * 10_000, "more than 1,024 fragments of less than 1,024 bytes"),
        (b"\x02\x01x", b"\x00\x01x" * 10_000, "more than 1,024 fragments of less than 1,024 bytes"),
        (b"", b"\x89\x00" * 10_000, "more than 1,000 pings and pongs came within 10 s"),
        (b"\x02\x00", b"\x8a\x00" * 10_000, "more than 1,000 pings and pongs came within 10 s"),
    ],
    ids=["empty fragments", "tiny fragments", "pings", "pongs inside a message"],
)
def test_a_flood_of_tiny_frames_is_refused(
    both: tuple[Transport, Runner], first: bytes, then: bytes, reason: str
) -> None:
    begin, cpu = time.monotonic(), time.process_time()
    with pytest.raises(SessionLostError, match=reason) as lost:
        receive_from(both, flooding(first, then), timeout_s=20)
    print(f"refused after {time.monotonic() - begin:.2f} s, {time.process_time() - cpu:.2f} s of CPU")
    assert not lost.value.retryable
    assert time.monotonic() - begin < 4


def test_pings_to_an_idle_client_are_refused_too() -> None:
    ended = []

    def flood(frames: FrameSocket) -> None:
        begin = time.monotonic()
        with contextlib.suppress(OSError):
            flooding(b"", b"\x89\x00" * 100)(frames)
        ended.append(time.monotonic() - begin)

    with peer(flood) as endpoint:
        connection = run(BlockingTransport().connect(endpoint, timeout_s=5))
        time.sleep(1)
        begin = time.process_time()
        time.sleep(1)
        assert time.process_time() - begin < 0.5
        connection.drop()


def test_pongs_do_not_pile_up_for_a_server_that_reads_nothing() -> None:
    pongs: list[Any] = []

    async def main(endpoint: Endpoint) -> None:
        connection = await AsyncTransport().connect(endpoint, timeout_s=5)
        frames = connection._frames
        assert frames is not None
        await connection.send([b"x"], timeout_s=1, operation="step 1")
        frames.pause_writing()  # as the event loop does once its buffer is full
        with pytest.raises(DeadlineExceededError):
            await connection.receive(timeout_s=0.5, operation="step 1")

    def flood(frames: FrameSocket) -> None:
        frames.receive()
        frames.raw.sendall((b"\x89\x7d" + bytes(125)) * 900)
        with contextlib.suppress(OSError):
            while data := frames.raw.recv(1 << 16):
                pongs.append(data)

    with peer(flood) as endpoint:
        asyncio.run(main(endpoint))
    assert sum(map(len, pongs)) < 1000  # the close frame


def test_unread_messages_are_limited_in_size_too() -> None:
    sent = 0

    def flood(frames: FrameSocket) -> None:
        nonlocal sent
        frames.set_timeout(1)
        with contextlib.suppress(OSError):
            for _ in range(12):
                frames.send(bytes(4_000_000))
                sent += 1

    async def main(endpoint: Endpoint) -> None:
        connection = await AsyncTransport(max_message_size=5_000_000).connect(endpoint, timeout_s=5)
        tracemalloc.start()
        await asyncio.sleep(2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        connection.drop()
        assert peak < 25_000_000

    with peer(flood) as endpoint:
        asyncio.run(main(endpoint))
    assert sent < 12


# --- deadlines that drip ----------------------------------------------------------------------------------


@contextmanager
def dripping(first: bytes, drop: bytes, interval_s: float = 0.05) -> Iterator[int]:
    """A server that sends a beginning, and then a drop again and again for 30 s; gives its port."""
    is_over = threading.Event()

    def drip(raw: socket.socket) -> None:
        with raw, contextlib.suppress(OSError):
            raw.sendall(first)
            for _ in itertools.takewhile(lambda _: not is_over.wait(interval_s), range(int(30 / interval_s))):
                raw.sendall(drop)

    def serve() -> None:
        while True:
            try:
                raw, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(raw,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        is_over.set()
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def gives_up_in_time(timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    begin = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=f"within {timeout_s:g} s"):
        yield
    took_s = time.monotonic() - begin
    print(f"gave up after {took_s:.2f} s of {timeout_s:g} s")
    assert 0.9 * timeout_s < took_s < timeout_s + LEEWAY_S


HEADS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "header lines": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
    "continues": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "refusal": (b"HTTP/1.1 503 No\r\nContent-Length: 9999\r\n\r\n", b" "),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("path", ["/health", "/schema"])
def test_an_http_response_that_drips(name: str, path: str) -> None:
    with dripping(*HEADS[name]) as port, gives_up_in_time():
        endpoint = Endpoint(f"http://127.0.0.1:{port}")
        if path == "/schema":
            get_schemas(endpoint, timeout_s=TIMEOUT_S)
        else:
            get_json(endpoint, path, timeout_s=TIMEOUT_S)


@pytest.mark.parametrize(
    "use",
    [
        lambda url: RemoteEnv(url, connect_timeout_s=TIMEOUT_S),
        lambda url: RemoteVectorEnv(url, 2, connect_timeout_s=TIMEOUT_S),
        lambda url: GenericEnvClient(url, connect_timeout_s=TIMEOUT_S).reset(),
    ],
    ids=["env", "vector env", "client"],
)
def test_every_client_gives_up_on_a_response_that_drips(use: Callable[[str], Any]) -> None:
    with dripping(*HEADS["headers"]) as port, gives_up_in_time():
        use(f"http://127.0.0.1:{port}")


def connect(both: tuple[Transport, Runner], url: str) -> None:
    transport, drive = both
    drive(transport.connect(Endpoint(url), timeout_s=TIMEOUT_S))


@pytest.mark.parametrize("name", ["headers", "header lines", "refusal"])
def test_a_websocket_handshake_that_drips(both: tuple[Transport, Runner], name: str) -> None:
    with dripping(*HEADS[name]) as port, gives_up_in_time():
        connect(both, f"http://127.0.0.1:{port}")


def test_a_tls_handshake_that_drips(both: tuple[Transport, Runner]) -> None:
    with dripping(b"\x16\x03\x03\x40\x00", b"\x02") as port:
        with gives_up_in_time():
            connect(both, f"https://127.0.0.1:{port}")
        with gives_up_in_time():
            get_json(Endpoint(f"https://127.0.0.1:{port}"), "/health", timeout_s=TIMEOUT_S)


def test_a_proxy_that_drips(both: tuple[Transport, Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping(*HEADS["headers"]) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with gives_up_in_time():
            connect(both, "http://192.0.2.1:80")
        with gives_up_in_time():
            get_json(Endpoint("http://192.0.2.1:80"), "/health", timeout_s=TIMEOUT_S)


def test_a_refusal_with_a_cookie_does_not_double_the_time(both: tuple[Transport, Runner]) -> None:
    """The second attempt, with the cookie, has what is left of the time."""
    answers = iter([b"HTTP/1.1 421 No\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listening.accept()
                held.append(raw)
                time.sleep(TIMEOUT_S * 0.8)
                raw.sendall(next(answers, b""))

    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        begin = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            connect(both, f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert time.monotonic() - begin < 1.6 * TIMEOUT_S + 1
        listening.shutdown(socket.SHUT_RDWR)
    for raw in held:
        raw.close()


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (b"[" * 100_000, "is not JSON"),
        (b" " * (16 * 2**20 + 1), "has more than 16,777,216 bytes"),
        (b'{"a":[' + b"[]," * 4_500_000 + b"0]}", "has more than 8,388,608 values"),
    ],
)
def test_a_body_that_is_too_deep_or_too_large_is_refused(data: bytes, finding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    with dripping(head + data, b"") as port, pytest.raises(NotAnOpenEnvServerError, match=finding):
        get_schemas(Endpoint(f"http://127.0.0.1:{port}"), timeout_s=20)


def test_headers_without_end_are_refused(both: tuple[Transport, Runner]) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100_000
    with dripping(head, b"") as port:
        with pytest.raises(NotAnOpenEnvServerError):
            connect(both, f"http://127.0.0.1:{port}")
        with pytest.raises(NotAnOpenEnvServerError):
            get_schemas(Endpoint(f"http://127.0.0.1:{port}"), timeout_s=20)


@pytest.mark.parametrize("drop", [b"x", b"\x89\x00"], ids=["a message", "pings"])
@pytest.mark.parametrize("interval_s", [0.02, TIMEOUT_S * 0.9], ids=["often", "at the last moment"])
def test_a_message_that_drips(both: tuple[Transport, Runner], drop: bytes, interval_s: float) -> None:
    def drip(frames: FrameSocket) -> None:
        head = b"\x82\x7f" + struct.pack("!Q", 10**6) if drop == b"x" else b""
        with contextlib.suppress(OSError):
            frames.raw.sendall(head)
            for _ in range(int(4 / interval_s)):
                time.sleep(interval_s)
                frames.raw.sendall(drop)

    transport, drive = both
    took_s: list[float] = []

    async def main(endpoint: Endpoint) -> None:
        connection = await transport.connect(endpoint, timeout_s=5)
        begin = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await connection.receive(timeout_s=TIMEOUT_S, operation="step 1")
        took_s.append(time.monotonic() - begin)

    with peer(drip) as endpoint:
        drive(main(endpoint))
    # The last drop before the end leaves a tenth of the time. Nothing comes for as long again after that.
    assert 0.9 * TIMEOUT_S < took_s[0] < 1.6 * TIMEOUT_S


@pytest.mark.parametrize("name", ["headers", "body"])
def test_a_space_and_a_git_server_that_drip(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_server, "_REQUEST_TIMEOUT_S", TIMEOUT_S)
    with dripping(*HEADS[name]) as port:
        url = f"http://127.0.0.1:{port}"
        space = SpaceOnHub("owner/name", url, False, "owner-name", "0", 8000, None)
        client = GitServerClient(url, "user", "password", str(tmp_path))
        for wait in (space.wake, client.wait_for_ready):
            begin = time.monotonic()
            assert not wait(TIMEOUT_S)  # type: ignore[operator]
            assert time.monotonic() - begin < TIMEOUT_S + LEEWAY_S
        client.is_ready = True
        with pytest.raises(GitError, match=f"no response within {TIMEOUT_S:g} s"):
            client.list_repositories()


@pytest.mark.parametrize("is_private", [False, True])
def test_only_a_private_space_gets_the_token(is_private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", "of-another-server")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        space = SpaceOnHub("owner/name", url, is_private, "owner-name", "0", 8000, "hf_token")
        waking = threading.Thread(target=space.wake)
        waking.start()
        raw, _ = listening.accept()
        with raw:
            request = raw.recv(2**16).decode().lower()
        waking.join()
    assert request.startswith("get / http/1.1")
    assert ("authorization: bearer hf_token" in request) == is_private
    assert "of-another-server" not in request


def test_a_server_that_reads_in_drops(both: tuple[Transport, Runner]) -> None:
    def sip(frames: FrameSocket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(80):
                time.sleep(0.05)
                frames.raw.recv(1000)

    transport, drive = both

    async def main(endpoint: Endpoint) -> None:
        connection = await transport.connect(endpoint, timeout_s=5)
        with gives_up_in_time():
            await connection.send([bytes(2**26)], timeout_s=TIMEOUT_S, operation="step 1")

    with peer(sip) as endpoint:
        drive(main(endpoint))


@pytest.mark.parametrize("use", ["step", "states", "close"])
def test_results_that_nobody_asked_for_do_not_extend_a_request(
    both: tuple[Transport, Runner], use: str
) -> None:
    def answer(frames: FrameSocket) -> None:
        frames.receive()
        frames.send(*v2.encode(opened(0)))
        with contextlib.suppress(OSError):
            for _ in range(80):
                frames.send(*v2.encode(result(99, 0)))
                time.sleep(0.05)

    transport, drive = both

    async def main(endpoint: Endpoint) -> None:
        connection = await transport.connect(endpoint, timeout_s=5)
        channel = V2Channel(connection, transport, Timeouts(5, TIMEOUT_S, TIMEOUT_S))
        await channel.open([0])
        if use == "step":
            await channel.send_step([0], [{}], "step 1")
            with gives_up_in_time():
                await channel.result("step 1")
        elif use == "states":
            with gives_up_in_time():
                await channel.states([0])
        else:
            begin = time.monotonic()
            await channel.close()
            assert time.monotonic() - begin < 1 + LEEWAY_S

    with peer(answer) as endpoint:
        drive(main(endpoint))


@pytest.mark.parametrize("use", ["connect", "http"])
def test_a_resolver_that_hangs(
    both: tuple[Transport, Runner], use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, drive = both
    name = f"{use}-{type(transport).__name__}.example".lower()  # its own, as lookups of one name are shared
    is_over = threading.Event()
    real = socket.getaddrinfo

    def hang(host: Any, *rest: Any, **more: Any) -> Any:
        if host == name and not more.get("flags"):
            is_over.wait(30)
            raise socket.gaierror("over")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    endpoint = Endpoint(f"http://{name}:8000")

    async def main() -> None:
        with gives_up_in_time():
            if use == "connect":
                await transport.connect(endpoint, timeout_s=TIMEOUT_S)
            else:
                get_schemas(endpoint, timeout_s=TIMEOUT_S)

    try:
        drive(main())
    finally:
        is_over.set()
