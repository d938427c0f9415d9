"""Floods of tiny frames: they end the connection at once, and other clients hardly notice.

``OPENENV_TEST_FLOOD_S`` sets how many seconds each attacker goes on if nothing stops it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import uvicorn
import websocket
from openenv_server import create_app

from openenv_gym import RemoteEnv
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.wire import v1, v2
from openenv_gym.wire.framing import MAX_CONTROL_FRAMES, MAX_SMALL_FRAGMENTS, SMALL_FRAGMENT, Opcode
from tests.faults.health import (
    assert_all_sessions_end,
    assert_good_clients_work,
    assert_no_failure_of_its_own,
)
from tests.faults.wild import frame
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.process_tree import descendants
from tests.support.servers import running
from tests.support.waiting import wait_for

FLOOD_S = float(os.environ.get("OPENENV_TEST_FLOOD_S", "3"))
_TICKS = os.sysconf("SC_CLK_TCK")
_FIN = 0x80
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: openenv.v2\r\n\r\n"
)
_KINDS = {1: Opcode.TEXT, 2: Opcode.BINARY}

pytestmark = pytest.mark.timeout(120)


class Attack(NamedTuple):
    """What an attacker sends first, and then again and again."""

    first: bytes
    then: bytes


def empty_fragments(kind: Opcode) -> Attack:
    return Attack(frame(kind, b""), frame(Opcode.CONTINUATION, b"") * 5000)


def tiny_fragments(kind: Opcode) -> Attack:
    return Attack(frame(kind, b"x"), frame(Opcode.CONTINUATION, b"x") * 5000)


def messages_of_empty_fragments(kind: Opcode) -> Attack:
    message = frame(kind, b"") + frame(Opcode.CONTINUATION, b"") * 20_000 + frame(_FIN, b"")
    return Attack(b"", message)


def pings(kind: Opcode) -> Attack:
    return Attack(b"", frame(_FIN | Opcode.PING, bytes(125)) * 1000)


def pongs(kind: Opcode) -> Attack:
    return Attack(b"", frame(_FIN | Opcode.PONG, b"") * 5000)


def pings_between_fragments(kind: Opcode) -> Attack:
    fragment = frame(Opcode.CONTINUATION, bytes(SMALL_FRAGMENT))
    return Attack(frame(kind, b""), (fragment + frame(_FIN | Opcode.PING, b"") * 10) * 500)


def connect(base_url: str, version: int) -> socket.socket:
    handshake = websocket.create_connection(
        f"{base_url.replace('http', 'ws')}/ws",
        timeout=10,
        header=[f"Sec-WebSocket-Protocol: {v2.SUBPROTOCOL}"] if version == 2 else [],
    )
    assert handshake.sock is not None
    raw: socket.socket = handshake.sock
    return raw


def servers_cost() -> tuple[float, float]:
    """The CPU seconds and the MiB of the servers that the tests have started."""
    seconds, kilobytes = 0, 0
    for pid in descendants(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += int(fields[11]) + int(fields[12])
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes += int(status.partition("VmRSS:")[2].split()[0]) if "VmRSS:" in status else 0
    return seconds / _TICKS, kilobytes / 1024


class Bystander:
    """Another client, which steps all the time."""

    def __init__(self, base_url: str) -> None:
        self._env = RemoteEnv(base_url)
        self._env.reset(seed=1)
        self._ends: list[float] = []
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def rate(self, begin: float, end: float) -> float:
        """The steps per second in a period."""
        return sum(begin <= at < end for at in self._ends) / max(end - begin, 1e-3)

    def stop(self) -> None:
        self._is_done.set()
        self._thread.join()
        self._env.close()

    def _work(self) -> None:
        while not self._is_done.is_set():
            *_, terminated, truncated, _ = self._env.step(np.int64(0))
            if terminated or truncated:
                self._env.reset()
            self._ends.append(time.monotonic())


def flood(raw: socket.socket, attack: Attack, *, reads: bool) -> float:
    """Send until the server ends the connection; the seconds that it took."""

    def read() -> None:
        try:
            while raw.recv(1 << 16):
                pass
        except OSError:
            pass

    if reads:
        threading.Thread(target=read, daemon=True).start()
    begin = time.monotonic()
    try:
        raw.sendall(attack.first)
        while time.monotonic() < begin + FLOOD_S:
            raw.sendall(attack.then)
    except ConnectionError:
        return time.monotonic() - begin
    finally:
        raw.close()
    pytest.fail(f"the server was still there after {FLOOD_S:g} s")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does not read"])
@pytest.mark.parametrize(
    "attack",
    [empty_fragments, tiny_fragments, messages_of_empty_fragments, pings, pongs, pings_between_fragments],
)
def test_a_flood_ends_the_connection(
    gymnasium_server: ProcessProvider, attack: Callable[[Opcode], Attack], reads: bool, version: int
) -> None:
    bystander = Bystander(gymnasium_server.base_url)
    time.sleep(0.5)
    seconds, size = servers_cost()
    begin = time.monotonic()
    took_s = flood(connect(gymnasium_server.base_url, version), attack(_KINDS[version]), reads=reads)
    end = time.monotonic()
    seconds_after, size_after = servers_cost()
    time.sleep(0.2)
    bystander.stop()
    print(
        f"{attack.__name__}, version {version}: closed after {took_s:.2f} s, "
        f"{seconds_after - seconds:.2f} s of CPU, {size_after - size:+.1f} MiB; the other client: "
        f"{bystander.rate(begin - 0.5, begin):.0f} steps/s before, {bystander.rate(end, end + 0.2):.0f} after"
    )
    assert size_after - size < 30
    assert_no_failure_of_its_own(gymnasium_server)
    assert_good_clients_work(gymnasium_server.base_url)
    assert_all_sessions_end(gymnasium_server.base_url)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [SMALL_FRAGMENT, 1 << 17])
def test_a_large_message_may_have_many_fragments(
    gymnasium_server: ProcessProvider, size: int, version: int
) -> None:
    kind = _KINDS[version]
    count = 8 * 2**20 // size
    raw = connect(gymnasium_server.base_url, version)
    payload = b" " * size
    raw.sendall(frame(kind, payload) + frame(Opcode.CONTINUATION, payload) * count)
    small = frame(Opcode.CONTINUATION, b" ") * (MAX_SMALL_FRAGMENTS - 10)
    raw.sendall(small + frame(_FIN | Opcode.PING, b"hi") * 100 + frame(_FIN, v1.STATE_REQUEST.encode()))
    answers = websocket.WebSocket()
    answers.sock = raw
    answers.connected = True
    opcode, answer = answers.recv_data()
    while opcode == Opcode.PONG:
        opcode, answer = answers.recv_data()
    assert opcode == kind
    assert b"step_count" in answer if version == 1 else b"VALIDATION_ERROR" in answer
    answers.close()


@pytest.mark.parametrize("version", [1, 2])
def test_requests_of_a_client_that_reads_nothing_are_not_kept(
    gymnasium_server: ProcessProvider, version: int
) -> None:
    """The server stops reading, so that the client cannot send any more."""
    raw = connect(gymnasium_server.base_url, version)
    raw.settimeout(2)
    _, size = servers_cost()
    request = frame(_FIN | _KINDS[version], b"{}") * 1000
    sent = 0
    try:
        while sent < 2**30:
            sent += raw.send(request)
    except TimeoutError:
        pass
    else:
        pytest.fail("the server reads on")
    _, size_after = servers_cost()
    print(f"version {version}: took {sent / 2**20:.1f} MiB of requests, and {size_after - size:+.1f} MiB")
    assert size_after - size < 30
    assert_good_clients_work(gymnasium_server.base_url)
    raw.close()
    assert_all_sessions_end(gymnasium_server.base_url)


def slow_to_accept(app: Any) -> Any:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await asyncio.sleep(0.3)
        await app(scope, receive, send)

    return slow


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_does_not_read_the_handshake_costs_nothing(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Counter, CountAction, CountObservation, resume_grace_s=0)
    bind = uvicorn.Config.bind_socket

    def bind_with_small_buffers(config: uvicorn.Config) -> socket.socket:
        listening = bind(config)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return listening

    monkeypatch.setattr(uvicorn.Config, "bind_socket", bind_with_small_buffers)
    with running(slow_to_accept(app), loop=loop) as base_url:
        address = ("127.0.0.1", int(base_url.rpartition(":")[2]))
        attackers = []
        for _ in range(3):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            raw.connect(address)
            raw.sendall(HANDSHAKE)
            time.sleep(0.1)  # else the pings are taken for a part of the handshake
            raw.sendall(frame(_FIN | Opcode.PING, bytes(125)) * (MAX_CONTROL_FRAMES // 4))
            attackers.append(raw)
        time.sleep(0.5)
        begin = time.process_time()
        time.sleep(1)
        spent_s = time.process_time() - begin
        print(f"{loop}: {spent_s:.2f} s of CPU in one second with {len(attackers)} such clients")
        assert spent_s < 0.1
        assert_good_clients_work(base_url)
        for raw in attackers:
            raw.close()
        wait_for(lambda: app.state.sessions.active == 0)


def test_a_frame_that_arrives_in_part_before_the_socket_is_taken_over_is_not_lost() -> None:
    app = create_app(Counter, CountAction, CountObservation)
    with running(slow_to_accept(app)) as base_url:
        raw = socket.create_connection(("127.0.0.1", int(base_url.rpartition(":")[2])), 5)
        raw.sendall(HANDSHAKE)
        time.sleep(0.1)
        request = frame(_FIN | Opcode.BINARY, b"".join(v2.encode(v2.Open(id=1, slots=[0]))))
        raw.sendall(request[:10])
        received = b""
        while b"\r\n\r\n" not in received:
            received += raw.recv(4096)
        time.sleep(0.1)
        raw.sendall(request[10:])
        raw.settimeout(5)
        assert b"opened" in raw.recv(4096)
        raw.close()


def test_no_compression_is_negotiated_and_compressed_frames_are_refused(
    gymnasium_server: ProcessProvider,
) -> None:
    for version in (1, 2):
        handshake = websocket.create_connection(
            f"{gymnasium_server.base_url.replace('http', 'ws')}/ws",
            timeout=10,
            header=["Sec-WebSocket-Extensions: permessage-deflate"]
            + ([f"Sec-WebSocket-Protocol: {v2.SUBPROTOCOL}"] if version == 2 else []),
        )
        assert "sec-websocket-extensions" not in handshake.getheaders()
        assert handshake.sock is not None
        handshake.sock.sendall(frame(_FIN | 0x40 | _KINDS[version], bytes(100)))
        opcode, payload = handshake.recv_data()
        assert opcode == Opcode.CLOSE
        assert int.from_bytes(payload[:2], "big") == 1002
        handshake.shutdown()
