"""Servers that flood or drip: every client gives up, in time and with bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openenv_gym.errors import DeadlineExceededError, SessionLostError
from openenv_gym.transport.asynchronous import AsyncTransport
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.transport.connection import Transport
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from tests.support.websocket_peer import peer

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
