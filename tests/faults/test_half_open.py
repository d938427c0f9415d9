"""Clients that begin and do not go on: half requests, slow ones, too many, and a server without descriptors.

The full size, by hand: OPENENV_TEST_HALF_OPEN=2000 OPENENV_TEST_CLIENTS=1000.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import websocket
from openenv_server import create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import AccessRefusedError, EndpointUnreachableError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json
from tests.faults.health import assert_good_clients_work
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.processes import ServerProcess, serving_sleeper
from tests.support.servers import running, status_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")

HALF_OPEN = int(os.environ.get("OPENENV_TEST_HALF_OPEN", "300"))
CLIENTS = int(os.environ.get("OPENENV_TEST_CLIENTS", "200"))
OPEN_FILES = 256
TIMEOUT_S = 1.0

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
HANDSHAKE = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
WHOLE_HANDSHAKE = HANDSHAKE + (
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
BODY = b"POST /reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n{"
CHUNKED = b"POST /reset HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
# What is sent at once, what is sent again and again, and the status of the response.
ATTACKS = {
    "nothing": (b"", b"", None),
    "half a line": (b"GE", b"", 408),
    "half a head": (HEAD, b"", 408),
    "a slow head": (HEAD, b"X", 408),
    "half a handshake": (HANDSHAKE, b"", 408),
    "half a body": (BODY, b"", 408),
    "half a body in chunks": (CHUNKED, b"", 408),
    "a slow body": (BODY, b" ", 408),
    "a slow body in chunks": (CHUNKED, b"1\r\n \r\n", 408),
    "empty lines after a request": (HEAD + b"\r\n", b"\r\n", 200),
    "half a head after a request": (HEAD + b"\r\n" + HEAD, b"X", 200),
    "only empty lines": (b"\r\n", b"\r\n", 408),
}

# Whole handshakes that websockets does not read.
UNREADABLE = {
    "a handshake with a body": (WHOLE_HANDSHAKE + b"Content-Length: 9\r\n\r\n", 400),
    "a handshake in chunks": (WHOLE_HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    "a handshake of many headers": (WHOLE_HANDSHAKE + b"X: y\r\n" * 200 + b"\r\n", 431),
    "a handshake with a long header": (WHOLE_HANDSHAKE + b"X: " + b"y" * 9000 + b"\r\n\r\n", 431),
}


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def address(base_url: str) -> tuple[str, int]:
    return "127.0.0.1", int(base_url.rpartition(":")[2])


@contextmanager
def serving(**variables: str) -> Iterator[ServerProcess]:
    with TemporaryDirectory() as folder, serving_sleeper(Path(folder), **variables) as server:
        yield server


@contextmanager
def many_files() -> Iterator[None]:
    """Lets this process open enough of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * HALF_OPEN + 4 * CLIENTS + 500), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def seconds_until_closed(base_url: str, first: bytes, again: bytes) -> tuple[float, bytes]:
    """How long the server keeps a connection, and what it sends."""
    received = b""
    with socket.create_connection(address(base_url), timeout=0.1) as client:
        begin = time.monotonic()
        client.sendall(first)
        while time.monotonic() < begin + 15:
            try:
                part = client.recv(65536)
                if not part:
                    return time.monotonic() - begin, received
                received += part
            except TimeoutError:
                pass
            except ConnectionError:
                return time.monotonic() - begin, received
            try:
                client.sendall(again)
            except ConnectionError:
                return time.monotonic() - begin, received
    raise AssertionError("the connection is kept")


@pytest.fixture(scope="module")
def hasty() -> Iterator[ServerProcess]:
    with serving(REQUEST_TIMEOUT=str(TIMEOUT_S)) as server:
        yield server


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_request_that_does_not_arrive_is_ended(hasty: ServerProcess, attack: str) -> None:
    first, again, status = ATTACKS[attack]
    took, received = seconds_until_closed(hasty.base_url, first, again)
    print(f"{attack}: closed after {took:.2f} s")
    assert took > 0.9
    if status is None:
        assert received == b""
    else:
        assert received.startswith(b"HTTP/1.1 %d " % status)
        if status == 408:
            assert b"REQUEST_TIMEOUT" in received


@pytest.mark.parametrize("attack", UNREADABLE)
def test_a_handshake_that_cannot_be_read_is_refused_at_once(hasty: ServerProcess, attack: str) -> None:
    first, status = UNREADABLE[attack]
    took, received = seconds_until_closed(hasty.base_url, first, b"")
    assert took < 1
    assert received.startswith(b"HTTP/1.1 %d " % status)


def test_bodies_are_ended_under_plain_uvicorn_too() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUEST_TIMEOUT", str(TIMEOUT_S))
        app = create_app(Counter, CountAction, CountObservation)
    with running(app) as base_url:
        for first, again in ((BODY, b" "), (CHUNKED, b"1\r\n \r\n")):
            took, received = seconds_until_closed(base_url, first, again)
            assert 0.9 < took < 10
            assert b"408" in received


def test_a_large_body_has_more_time_and_a_step_as_long_as_it_takes(hasty: ServerProcess) -> None:
    with closing(HTTPConnection(*address(hasty.base_url), timeout=20)) as connection:
        parts = iter([*[b" " * 4000] * 6, b"{}"])

        def slowly() -> Iterator[bytes]:
            for part in parts:
                time.sleep(0.3)
                yield part

        connection.request("POST", "/reset", slowly(), {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
    begin = time.monotonic()
    assert status_of(f"{hasty.base_url}/step", {"action": {"seconds": 2.5 * TIMEOUT_S}})[0] == 200
    assert time.monotonic() - begin > 2 * TIMEOUT_S
    with GenericEnvClient(hasty.base_url) as client:
        client.reset()
        time.sleep(2.5 * TIMEOUT_S)
        client.step({"seconds": 0.0})


def test_pipelined_requests_are_all_answered(hasty: ServerProcess) -> None:
    body = b'{"action": {"seconds": 1.5}}'
    head = b"POST /step HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    step = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    took, received = seconds_until_closed(hasty.base_url, step + HEAD + b"\r\n" + HEAD + b"\r\n" + HEAD, b"")
    assert received.count(b"HTTP/1.1 200") == 3
    assert took > 1.5


@pytest.mark.parametrize("flood", ["a header", "headers", "a URL", "trailers"])
def test_a_head_without_end_is_refused(hasty: ServerProcess, flood: str) -> None:
    first, again = {
        "a header": (HEAD + b"X: ", b"x" * 65536),
        "headers": (HEAD, b"X: y\r\n" * 10000),
        "a URL": (b"GET /", b"x" * 65536),
        "trailers": (CHUNKED + b"0\r\nX: ", b"x" * 65536),
    }[flood]
    before = memory_mb(hasty.process.pid)
    sent = 0
    with socket.create_connection(address(hasty.base_url), timeout=5) as client:
        client.sendall(first)
        begin = time.monotonic()
        try:
            while sent < 100_000_000:
                client.sendall(again)
                sent += len(again)
        except ConnectionError:
            pass
    grown = memory_mb(hasty.process.pid) - before
    print(f"{flood}: refused after {sent:,} bytes, {time.monotonic() - begin:.3f} s, {grown:.1f} MB more")
    assert sent < 20_000_000
    assert grown < 50
    assert status_of(f"{hasty.base_url}/health")[0] == 200


def test_a_client_that_reads_no_response_is_left() -> None:
    from functools import partial

    from fastapi import FastAPI, Response
    from openenv_server.http_protocol import ConnectionTable, LimitedProtocol

    app = FastAPI()

    @app.get("/large")
    def large() -> Response:
        return Response(b"x" * 50_000_000)

    with running(app, http=partial(LimitedProtocol, ConnectionTable(TIMEOUT_S, 10))) as base_url:
        with socket.create_connection(address(base_url), timeout=10) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(3 * TIMEOUT_S)
            received = 0
            with contextlib.suppress(ConnectionError):
                while part := client.recv(2**20):
                    received += len(part)
            assert received < 50_000_000
        with urllib.request.urlopen(f"{base_url}/large") as response:
            assert len(response.read()) == 50_000_000


@pytest.mark.parametrize("first", [b"", b"GET / HT", HANDSHAKE], ids=["nothing", "half a head", "handshake"])
def test_half_open_connections_do_not_keep_good_clients_out(first: bytes) -> None:
    with serving() as server, many_files(), ExitStack() as stack:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
        before, memory_before = cpu_s(server.process.pid), memory_mb(server.process.pid)
        for _ in range(HALF_OPEN):
            client = stack.enter_context(socket.create_connection(address(server.base_url), timeout=5))
            client.sendall(first)
        begin = time.monotonic()
        assert_good_clients_work(server.base_url)
        took = time.monotonic() - begin
        status, health = status_of(f"{server.base_url}/health")
        print(
            f"{HALF_OPEN} half-open connections at ulimit -n {OPEN_FILES}: good clients took {took:.2f} s, "
            f"{descriptors(server.process.pid)} descriptors, {cpu_s(server.process.pid) - before:.2f} s CPU, "
            f"{memory_mb(server.process.pid) - memory_before:.1f} MB more"
        )
        assert descriptors(server.process.pid) < OPEN_FILES - 16
        assert (status, health["status"]) == (200, "degraded")
        assert re.search(rf"file descriptors run short: \d+ of {OPEN_FILES} are open", health["reasons"][0])
        wait_for(lambda: "file descriptors run short" in "".join(server.lines), 10)
        assert len(server.lines) < 10, "anybody could fill the log"


def test_a_server_full_of_websockets_says_so() -> None:
    with serving() as server, ExitStack() as stack:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        sockets = []

        def open_more() -> None:
            for _ in range(64):
                opened = websocket.create_connection(f"ws{server.base_url[4:]}/ws", timeout=10)
                sockets.append(stack.enter_context(closing(opened)))

        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            open_more()
        assert refused.value.status_code == 503
        print(f"{len(sockets)} WebSockets at ulimit -n 64")
        with pytest.raises(
            EndpointUnreachableError, match=r"503 to GET /schema.*descriptors.*ulimit -n"
        ) as error:
            get_json(Endpoint.parse(server.base_url), "/schema", timeout_s=5)
        assert "is the port right" not in str(error.value)
        assert "file descriptors run short" in "".join(server.lines)
        sockets.pop().close()
        sockets.pop().close()
        wait_for(lambda: status_of(f"{server.base_url}/health")[0] == 200, 10)


def test_a_server_without_a_single_descriptor_does_not_spin_and_says_so() -> None:
    with serving() as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (descriptors(server.process.pid), 4096))
        wait_for(lambda: "file descriptors run short" in "".join(server.lines), 10)
        before = cpu_s(server.process.pid)
        begin = time.monotonic()
        with pytest.raises(EndpointUnreachableError, match=r"no file descriptors left.*ulimit -n") as error:
            get_json(Endpoint.parse(server.base_url), "/schema", timeout_s=5)
        took = time.monotonic() - begin
        assert "is the port right" not in str(error.value)
        time.sleep(2)
        used = cpu_s(server.process.pid) - before
        print(f"without descriptors: error after {took:.3f} s, {used:.2f} s CPU in {took + 2:.1f} s")
        assert used < 1
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (4096, 4096))
        wait_for(lambda: status_of(f"{server.base_url}/health")[1]["status"] == "healthy", 20)


def test_a_client_without_descriptors_says_that_it_is_the_one() -> None:
    program = """
import os, resource, sys
import openenv_gym
from openenv_gym import GenericEnvClient, RemoteEnv
for use in (RemoteEnv, lambda url: GenericEnvClient(url).reset()):
    try:
        use(sys.argv[1])
    except Exception: pass
lowest = os.dup(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))
for use in (RemoteEnv, lambda url: GenericEnvClient(url).reset()):
    try:
        use(sys.argv[1])
    except openenv_gym.errors.EndpointUnreachableError as error:
        print(error)
"""
    command = [sys.executable, "-c", program, "http://127.0.0.1:9"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert shown.count("This process has no file descriptor left to connect to http://127.0.0.1:9") == 2
    assert "is the port right" not in shown


# --- connections of one address -------------------------------------------------------------------------


def test_an_address_has_at_most_so_many_connections() -> None:
    with serving(MAX_SOCKETS_PER_ADDRESS="5") as server, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(address(server.base_url), timeout=5))
        with pytest.raises(AccessRefusedError, match=r"429 to GET /schema.*MAX_SOCKETS_PER_ADDRESS"):
            get_json(Endpoint.parse(server.base_url), "/schema", timeout_s=5)
        with pytest.raises(AccessRefusedError, match=r"429 to the handshake.*MAX_SOCKETS_PER_ADDRESS"):
            GenericEnvClient(server.base_url).reset()
        took, received = seconds_until_closed(server.base_url, b"", b"")
        assert (took < 5, received) == (True, b"")
        stack.close()
        wait_for(lambda: status_of(f"{server.base_url}/health")[0] == 200, 10)
        assert_good_clients_work(server.base_url)


def test_a_trusted_proxy_has_as_many_as_it_wants_and_its_clients_do_not() -> None:
    variables = {"MAX_SOCKETS_PER_ADDRESS": "3", "FORWARDED_ALLOW_IPS": "127.0.0.1"}
    with serving(**variables) as server, ExitStack() as stack:
        for _ in range(9):
            stack.enter_context(socket.create_connection(address(server.base_url), timeout=5))
        opened = [stack.enter_context(closing(connect_as(server.base_url, "10.0.0.1"))) for _ in range(3)]
        with pytest.raises(websocket.WebSocketBadStatusException, match=r"429.*10\.0\.0\.1 has 3 sockets"):
            connect_as(server.base_url, "10.0.0.1")
        connect_as(server.base_url, "10.0.0.2").close()
        assert len(opened) == 3


def test_nobody_else_chooses_its_address() -> None:
    with serving(MAX_SOCKETS_PER_ADDRESS="3") as server, ExitStack() as stack:
        for number in range(3):
            stack.enter_context(closing(connect_as(server.base_url, f"10.0.0.{number}")))
        with pytest.raises(websocket.WebSocketBadStatusException, match=r"429.*127\.0\.0\.1 has 3 sockets"):
            connect_as(server.base_url, "10.0.0.9")


def connect_as(base_url: str, client: str) -> websocket.WebSocket:
    return websocket.create_connection(
        f"ws{base_url[4:]}/ws", header=[f"X-Forwarded-For: {client}"], timeout=10
    )


def test_the_default_lets_a_trainer_connect_with_many_clients_at_once() -> None:
    async def drive(base_url: str) -> float:
        clients = [GenericEnvClient(base_url, connect_timeout_s=90) for _ in range(CLIENTS)]
        begin = time.monotonic()
        await asyncio.gather(*(client.reset() for client in clients))
        await asyncio.gather(*(client.step({"seconds": 0.0}) for client in clients))
        took = time.monotonic() - begin
        await asyncio.gather(*(client.close() for client in clients))
        return took

    with many_files(), serving(MAX_CONCURRENT_ENVS=str(CLIENTS)) as server:
        took = asyncio.run(drive(server.base_url))
        print(f"{CLIENTS} clients connected, reset and stepped in {took:.1f} s")
        assert server.lines == []
