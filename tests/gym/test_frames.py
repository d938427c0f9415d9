"""WebSocket messages over real sockets: what RFC 6455 allows, and what it does not."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire.framing import BadFrameError, CloseCode, Opcode, PeerClosedError

SIZES = [0, 1, 125, 126, 127, 4095, 4096, 4097, 65535, 65536, 70000, 3_000_001]


def pair(max_size: int = 1 << 24) -> tuple[FrameSocket, FrameSocket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    client = FrameSocket(ours, is_client=True, max_size=max_size)
    server = FrameSocket(theirs, is_client=False, max_size=max_size)
    for side in (client, server):
        side.set_timeout(5)
    return client, server


@pytest.fixture
def sides() -> Iterator[tuple[FrameSocket, FrameSocket]]:
    client, server = pair()
    yield client, server
    client.close()
    server.close()


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size_go_both_ways(size: int, sides: tuple[FrameSocket, FrameSocket]) -> None:
    payload = os.urandom(size)
    for sender, receiver in (sides, sides[::-1]):
        thread = threading.Thread(
            target=sender.send, args=(payload[: size // 3], memoryview(payload)[size // 3 :])
        )
        thread.start()
        opcode, received = receiver.receive()
        thread.join()
        assert opcode is Opcode.BINARY
        assert bytes(received) == payload
        assert not receiver.has_more


@pytest.mark.parametrize("pause_s", [0.0, 0.0005, 0.003])
def test_a_large_message_that_comes_in_pieces(pause_s: float, sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, server = sides
    payload = os.urandom(500_000)
    raw = b"\x82\x7f" + struct.pack("!Q", len(payload)) + payload

    def dribble() -> None:
        for begin in range(0, len(raw), 40_000):
            server.raw.sendall(raw[begin : begin + 40_000])
            time.sleep(pause_s)

    thread = threading.Thread(target=dribble)
    thread.start()
    assert bytes(client.receive()[1]) == payload
    thread.join()


def test_a_large_message_that_breaks_off(sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, server = sides
    server.raw.sendall(b"\x82\x7f" + struct.pack("!Q", 500_000) + bytes(200_000))
    server.close()
    with pytest.raises(ConnectionError):
        client.receive()


def test_what_follows_at_once_is_kept_for_the_next(sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, server = sides
    messages = [os.urandom(size) for size in (3, 90, 60_000, 5, 70_000, 1)]
    for message in messages:
        client.send(message)
    time.sleep(0.05)
    received = [bytes(server.receive()[1]) for _ in messages]
    assert received == messages


@given(
    payload=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    key=st.binary(min_size=4, max_size=4),
    splits=st.lists(st.integers(0, 400), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_parts_and_pings_between_them(payload: bytes, cuts: list[int], key: bytes, splits: list[int]) -> None:
    client, server = pair()
    ends = [*sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
    parts = [payload[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    raw = b""
    for number, part in enumerate(parts):
        opcode = Opcode.BINARY if number == 0 else Opcode.CONTINUATION
        raw += frame(opcode, part, key, is_last=number == len(parts) - 1)
        raw += frame(Opcode.PING, b"hi", key) if number < len(parts) - 1 else b""
    positions = [0, *sorted(min(split, len(raw)) for split in splits), len(raw)]
    for begin, end in pairwise(positions):
        client.raw.sendall(raw[begin:end])
    assert bytes(server.receive()[1]) == payload
    pongs = client.raw.recv(1000) if len(parts) > 1 else b""
    assert pongs == b"\x8a\x02hi" * (len(parts) - 1)
    client.close()
    server.close()


def frame(opcode: int, payload: bytes, key: bytes = b"", *, is_last: bool = True, first: int = 0) -> bytes:
    masked = 0x80 if key else 0
    head = bytes([first | (0x80 if is_last else 0) | opcode])
    size = len(payload)
    head += bytes([masked | size]) if size < 126 else bytes([masked | 126]) + struct.pack("!H", size)
    return head + key + bytes(byte ^ key[place % 4] if key else byte for place, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (frame(Opcode.BINARY, b"x"), "clients must mask"),
        (frame(3, b"x", b"mask"), "unknown byte"),
        (frame(Opcode.BINARY, b"x", b"mask", first=0x40), "unknown byte"),
        (frame(Opcode.PING, b"x" * 126, b"mask"), "too long or fragmented"),
        (frame(Opcode.PING, b"x", b"mask", is_last=False), "too long or fragmented"),
        (frame(Opcode.CONTINUATION, b"x", b"mask"), "continues outside"),
        (
            frame(Opcode.BINARY, b"x", b"mask", is_last=False) + frame(Opcode.BINARY, b"x", b"mask"),
            "starts inside",
        ),
        (b"\x82\xff" + struct.pack("!Q", 2**62) + b"mask", "exceeds the limit"),
        (
            frame(Opcode.BINARY, b"x" * 900, b"mask", is_last=False) + b"\x80\xfe\x03\xe8mask",
            "exceeds the limit",
        ),
    ],
)
def test_what_is_no_message_is_refused_and_said(raw: bytes, reason: str) -> None:
    client, server = pair(max_size=1000)
    client.raw.sendall(raw)
    with pytest.raises(BadFrameError, match=reason):
        server.receive()
    with pytest.raises(PeerClosedError):
        client.receive()
    client.close()
    server.close()


def test_a_close_says_why_and_is_answered(sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, server = sides
    server.send_close(CloseCode.TOO_BIG, "go away")
    with pytest.raises(PeerClosedError, match="go away") as closed:
        client.receive()
    assert closed.value.code == CloseCode.TOO_BIG
    with pytest.raises(PeerClosedError):
        server.receive()
    server.close()
    with pytest.raises(ConnectionError):
        client.receive()


@pytest.mark.parametrize("seconds", [0.2, 1.1])
def test_a_timeout_comes_in_time(seconds: float, sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, server = sides
    client.set_timeout(seconds)
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        client.receive()
    assert seconds * 0.9 < time.monotonic() - begin < seconds + 1
    server.send(b"late")
    assert client.receive() == (Opcode.BINARY, b"late")


def test_pings_do_not_put_off_the_timeout(sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, server = sides
    client.set_timeout(0.5)
    stop = threading.Event()

    def ping() -> None:
        while not stop.wait(0.1):
            server.send(b"", opcode=Opcode.PING)

    thread = threading.Thread(target=ping)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        client.receive()
    stop.set()
    thread.join()
    assert time.monotonic() - begin < 1


def test_sending_to_one_that_does_not_read_times_out(sides: tuple[FrameSocket, FrameSocket]) -> None:
    client, _ = sides
    client.set_timeout(0.3)
    message = bytes(1 << 26)  # more than the kernel keeps
    with pytest.raises(TimeoutError):
        client.send(message)
