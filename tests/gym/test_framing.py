"""WebSocket framing and the opening handshake, with bytes only."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openenv_gym.wire import handshake
from openenv_gym.wire.framing import (
    CONTROL_FRAMES_S,
    MAX_CONTROL_FRAMES,
    MAX_SMALL_FRAGMENTS,
    SMALL_FRAGMENT,
    BadFrameError,
    CloseCode,
    Event,
    FrameLimits,
    Opcode,
    Parser,
    PeerClosedError,
    close_payload,
    mask,
    peer_closed,
    serialize,
)

KEY = b"\x01\x02\x03\x04"


def frame(
    opcode: int, payload: bytes, *, masked: bool = False, is_last: bool = True, reserved: int = 0
) -> bytes:
    size, bit = len(payload), 0x80 if masked else 0
    head = bytes([reserved | (0x80 if is_last else 0) | opcode])
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    return head + KEY + bytes(byte ^ KEY[place % 4] for place, byte in enumerate(payload))


def parser(*, is_client: bool = True, max_size: int = 1 << 24, buffer_size: int = 1 << 16) -> Parser:
    return Parser(is_client=is_client, max_size=max_size, buffer_size=buffer_size)


def fed(parsing: Parser, data: bytes) -> list[Event]:
    return [(opcode, bytes(payload)) for opcode, payload in parsing.feed(data)]


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 4095, 4096, 4097, 65535, 65536, 65537, 300_001])
def test_a_serialized_message_is_parsed_again(size: int, is_client: bool) -> None:
    payload = os.urandom(size)
    parts = [payload[: size // 3], memoryview(payload)[size // 3 :]]
    data = b"".join(serialize(parts, Opcode.BINARY, is_client=is_client))
    assert fed(parser(is_client=not is_client), data) == [(Opcode.BINARY, payload)]


@pytest.mark.parametrize("size", [0, 100, 5000, 300_000])
def test_a_client_without_a_mask_is_understood_and_copies_nothing(size: int) -> None:
    part = memoryview(os.urandom(size))
    framed = serialize([part], Opcode.BINARY, is_client=True, masks=False)
    assert framed[1] is part
    assert fed(parser(is_client=False), b"".join(framed)) == [(Opcode.BINARY, part)]


def test_a_servers_parts_are_not_copied() -> None:
    part = memoryview(bytes(100_000))
    assert serialize([b"head", part], Opcode.BINARY, is_client=False)[2] is part


messages = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]),
        st.binary(max_size=120) | st.integers(126, 700).map(bytes),
        st.integers(1, 4),
    ),
    max_size=6,
)


@given(messages, st.lists(st.integers(0, 4000), max_size=8), st.booleans(), st.sampled_from([16, 64, 65536]))
@settings(deadline=None)
def test_any_split_of_the_bytes_gives_the_same_messages(
    sent: list[tuple[Opcode, bytes, int]], splits: list[int], is_client: bool, buffer_size: int
) -> None:
    raw, expected = b"", []
    for opcode, payload, fragments in sent:
        if opcode >= Opcode.CLOSE:
            payload = payload[:125]
            fragments = 1
        expected.append((opcode, payload))
        step = -(-len(payload) // fragments) or 1
        pieces = [payload[begin : begin + step] for begin in range(0, len(payload), step)] or [b""]
        for number, piece in enumerate(pieces):
            if number:
                raw += frame(Opcode.PING, b"between", masked=not is_client)
                expected.insert(-1, (Opcode.PING, b"between"))
            raw += frame(
                opcode if number == 0 else Opcode.CONTINUATION,
                piece,
                masked=not is_client,
                is_last=number == len(pieces) - 1,
            )
    positions = [0, *sorted(min(split, len(raw)) for split in splits), len(raw)]
    # A control frame needs no more than 131 bytes; a buffer that is smaller still takes it.
    parsing = parser(is_client=is_client, buffer_size=buffer_size)
    received = [event for begin, end in pairwise(positions) for event in fed(parsing, raw[begin:end])]
    assert received == expected
    assert not parsing.is_in_message


@given(st.binary(max_size=2000), st.booleans())
@settings(deadline=None)
def test_random_bytes_are_parsed_or_refused(data: bytes, is_client: bool) -> None:
    parsing = parser(is_client=is_client, max_size=1000, buffer_size=64)
    with contextlib.suppress(BadFrameError):
        for event in parsing.feed(data):
            assert len(event[1]) <= 1000


@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        (frame(Opcode.BINARY, b"x"), 1002, "clients must mask"),
        (frame(3, b"x", masked=True), 1002, "unknown byte"),
        (frame(Opcode.BINARY, b"x", masked=True, reserved=0x40), 1002, "unknown byte"),
        (frame(Opcode.PING, b"x" * 126, masked=True), 1002, "too long or fragmented"),
        (frame(Opcode.PING, b"x", masked=True, is_last=False), 1002, "too long or fragmented"),
        (frame(Opcode.CONTINUATION, b"x", masked=True), 1002, "continues outside"),
        (frame(Opcode.TEXT, b"x", masked=True, is_last=False) * 2, 1002, "starts inside"),
        (b"\x82\xff" + struct.pack("!Q", 2**62), 1009, "exceeds the limit of 1,000"),
        (
            frame(Opcode.TEXT, bytes(900), masked=True, is_last=False) + b"\x80\xfe\x03\xe8",
            1009,
            "1,900 bytes exceeds",
        ),
    ],
)
def test_a_bad_frame_is_refused_by_its_head(raw: bytes, code: int, reason: str) -> None:
    with pytest.raises(BadFrameError, match=reason) as refused:
        fed(parser(is_client=False, max_size=1000), raw)
    assert refused.value.code == code
    assert isinstance(refused.value, ConnectionError)


def test_a_server_takes_a_close_frame_without_a_mask_and_no_other_frame() -> None:
    close = frame(Opcode.CLOSE, close_payload(CloseCode.GOING_AWAY))
    assert fed(parser(is_client=False), close) == [(Opcode.CLOSE, close_payload(CloseCode.GOING_AWAY))]
    for opcode in (Opcode.PING, Opcode.PONG, Opcode.TEXT):
        with pytest.raises(BadFrameError, match="clients must mask"):
            fed(parser(is_client=False), frame(opcode, b"x"))


def test_a_client_refuses_masked_frames() -> None:
    with pytest.raises(BadFrameError, match="servers must not"):
        fed(parser(), frame(Opcode.TEXT, b"x", masked=True))


def test_large_fragments_cost_linear_time() -> None:
    def seconds(fragments: int) -> float:
        part = bytes(SMALL_FRAGMENT)
        raw = frame(Opcode.BINARY, b"", is_last=False)
        raw += frame(Opcode.CONTINUATION, part, is_last=False) * fragments + frame(Opcode.CONTINUATION, b"")
        parsing = parser()
        begin = time.process_time()
        ((_, payload),) = fed(parsing, raw)
        assert len(payload) == fragments * SMALL_FRAGMENT
        return time.process_time() - begin

    seconds(1000)
    assert seconds(10_000) < 30 * min(seconds(1000) for _ in range(3))


@pytest.mark.parametrize("payload", [b"", b"x", bytes(SMALL_FRAGMENT - 1)])
def test_small_fragments_are_limited_in_each_message(payload: bytes) -> None:
    parsing = parser()
    first = frame(Opcode.BINARY, payload, is_last=False)
    next_one = frame(Opcode.CONTINUATION, payload, is_last=False)
    for _ in range(2):  # the count begins again with each message
        most = first + next_one * (MAX_SMALL_FRAGMENTS - 2) + frame(Opcode.CONTINUATION, payload)
        assert fed(parsing, most) == [(Opcode.BINARY, payload * MAX_SMALL_FRAGMENTS)]
    with pytest.raises(BadFrameError, match="more than 1,024 fragments") as refused:
        fed(parsing, first + next_one * MAX_SMALL_FRAGMENTS)
    assert refused.value.code == CloseCode.POLICY_VIOLATION


def test_control_frames_are_limited_in_each_period() -> None:
    limits = FrameLimits()
    for period in range(3):
        for _ in range(MAX_CONTROL_FRAMES):
            limits.count_control_frame(period * CONTROL_FRAMES_S)
    with pytest.raises(BadFrameError, match="more than 1,000 pings and pongs came within 10 s") as refused:
        limits.count_control_frame(2.9 * CONTROL_FRAMES_S)
    assert refused.value.code == CloseCode.POLICY_VIOLATION
    patient = FrameLimits()
    for second in range(0, 100_000, 20):  # a peer that pings now and then
        patient.count_control_frame(second)


def test_a_large_payload_is_received_into_the_memory_that_it_stays_in() -> None:
    parsing = parser()
    payload = os.urandom(200_000)
    raw = memoryview(frame(Opcode.BINARY, payload))
    parsing.writable()[:100] = raw[:100]
    parsing.advance(100)
    assert parsing.next_event() is None
    assert parsing.missing == len(raw) - 100
    memory = parsing.writable()
    assert len(memory) == parsing.missing
    memory[:] = raw[100:]
    parsing.advance(len(memory))
    event = parsing.next_event()
    assert event is not None
    assert event[1] == payload
    memory[-1:] = b"!"
    assert event[1][-1] == ord("!")


def test_memory_that_was_given_away_is_not_overwritten() -> None:
    parsing = parser()
    first = next(iter(parsing.feed(frame(Opcode.BINARY, b"1" * 100_000))))[1]
    parsing.exchange_memory(memoryview(b""))
    second = next(iter(parsing.feed(frame(Opcode.BINARY, b"2" * 100_000))))[1]
    third = next(iter(parsing.feed(frame(Opcode.BINARY, b"3" * 100_000))))[1]
    assert (bytes(first[:1]), bytes(second[:1]), bytes(third[:1])) == (b"1", b"3", b"3")


def test_large_fragments_do_not_overwrite_each_other() -> None:
    raw = frame(Opcode.BINARY, b"1" * 100_000, is_last=False) + frame(Opcode.CONTINUATION, b"2" * 100_000)
    assert fed(parser(), raw) == [(Opcode.BINARY, b"1" * 100_000 + b"2" * 100_000)]


def test_pings_before_messages_are_found() -> None:
    parsing = parser()
    raw = frame(Opcode.PING, b"a") + frame(Opcode.TEXT, b"message") + frame(Opcode.PING, b"b")
    parsing.writable()[: len(raw)] = raw
    parsing.advance(len(raw))
    assert parsing.next_ping() == (Opcode.PING, b"a")
    assert parsing.next_ping() is None
    assert parsing.next_event() == (Opcode.TEXT, b"message")
    assert parsing.next_ping() == (Opcode.PING, b"b")
    assert not parsing.has_bytes
    close = frame(Opcode.CLOSE, close_payload(CloseCode.GOING_AWAY))
    parsing.writable()[: len(close)] = close
    parsing.advance(len(close))
    assert parsing.next_ping() is None
    assert parsing.next_event() == (Opcode.CLOSE, b"\x03\xe9")


@given(st.binary(max_size=9000), st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_the_payload(payload: bytes, key: bytes) -> None:
    masked = mask((payload[:7], payload[7:]), key)
    assert bytes(masked) == bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    assert bytes(mask((masked,), key)) == payload


def test_a_close_frame_has_a_code_and_a_reason_that_fits() -> None:
    error = peer_closed(close_payload(CloseCode.TOO_BIG, "too much"))
    assert (error.code, error.reason) == (1009, "too much")
    assert "MAX_MESSAGE_BYTES" in str(error)
    assert len(close_payload(CloseCode.NORMAL, "é" * 200)) <= 125
    assert peer_closed(close_payload(CloseCode.NORMAL, "é" * 200)).reason == "é" * 61
    assert peer_closed(b"").code == CloseCode.NO_CODE
    assert isinstance(PeerClosedError(1000), ConnectionError)


# --- the opening handshake --------------------------------------------------------------------------------

RFC_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455, section 1.3
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
)


def test_a_request_has_the_headers_of_the_rfc() -> None:
    request = handshake.upgrade_request("host:80", "/base/ws", RFC_KEY, [("X-Key", "secret")])
    assert request.startswith(b"GET /base/ws HTTP/1.1\r\nHost: host:80\r\n")
    assert request.endswith(b"\r\nX-Key: secret\r\n\r\n")
    for line in (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"):
        assert line in request.split(b"\r\n")


@pytest.mark.parametrize("cut", range(0, len(ACCEPTED), 7))
def test_a_response_is_parsed_once_all_of_it_is_here(cut: int) -> None:
    parser = handshake.ResponseParser()
    if cut:
        assert parser.feed(ACCEPTED[:cut]) is None
    parsed = parser.feed(ACCEPTED[cut:] + b"\x81\x00")
    assert parsed is not None
    response, rest = parsed
    assert (response.status, response.headers["x-a"], rest) == (101, "1, 2", b"\x81\x00")
    handshake.check_upgrade(response, RFC_KEY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: WebSocket", b"Upgrade: h2c"),
        (b"Connection: keep-alive, Upgrade", b"Connection: close"),
        (b"s3pP", b"xxxx"),
    ],
)
def test_a_response_that_accepts_nothing_is_refused(old: bytes, new: bytes) -> None:
    parsed = handshake.ResponseParser().feed(ACCEPTED.replace(old, new))
    assert parsed is not None
    with pytest.raises(handshake.BadHandshakeError, match="the response has"):
        handshake.check_upgrade(parsed[0], RFC_KEY)


def test_a_refusal_has_a_body() -> None:
    raw = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nreason"
    parser = handshake.ResponseParser()
    assert parser.feed(raw[:-1]) is None
    parsed = parser.feed(raw[-1:])
    assert parsed is not None
    assert (parsed[0].status, parsed[0].body) == (403, b"reason")
    parser = handshake.ResponseParser()
    assert parser.feed(raw[:-3]) is None
    truncated = parser.feed(b"")
    assert truncated is not None
    assert truncated[0].body == b"rea"


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 ok\r\n\r\n",
        b"HTTP/1.1 101 x\r\nno colon\r\n\r\n",
        b"HTTP/" + bytes(70_000),
    ],
)
def test_what_is_not_http_is_refused(raw: bytes) -> None:
    with pytest.raises(handshake.BadHandshakeError, match="the response"):
        handshake.ResponseParser().feed(raw)


@given(st.binary(max_size=300))
def test_random_responses_are_parsed_or_refused(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 101 OK\r\n"):
        with contextlib.suppress(handshake.BadHandshakeError):
            handshake.ResponseParser().feed(prefix + data)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\r\nContent-Length: 65000\r\n\r\n"])
def test_a_response_that_drips_costs_linear_time(end: bytes) -> None:
    raw = b"HTTP/1.1 403 No\r\nX: " + bytes(60_000) + end + bytes(65_000)
    parser = handshake.ResponseParser()
    begin = time.process_time()
    fed_bytes = next(count for count in range(1, len(raw) + 1) if parser.feed(raw[count - 1 : count]))
    assert fed_bytes == (len(raw) if b"Length" in end else len(raw) - 65_000)
    assert time.process_time() - begin < 2
