"""WebSocket framing (RFC 6455) as pure functions on bytes: `serialize`, and back with `Parser`.

Nothing here touches a socket. `openenv_gym.transport` has the shells that do: one blocks, one is for asyncio.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np

Payload = bytes | memoryview

# Messages of this size and more are masked with NumPy, and worth sending without copying.
LARGE = 1 << 12

# A frame of six bytes costs its receiver as much as one of a kilobyte, so tiny frames are limited: fragments
# of a message that are smaller than so many bytes, and pings and pongs within so many seconds.
SMALL_FRAGMENT, MAX_SMALL_FRAGMENTS = 1 << 10, 1 << 10
MAX_CONTROL_FRAMES, CONTROL_FRAMES_S = 1000, 10.0

_MAX_CONTROL_SIZE = 125
_LONGEST_HEAD = 14
_FIN, _MASKED = 0x80, 0x80
_ZEROS = bytes(4)


class Opcode(IntEnum):
    """The kind of a frame (RFC 6455, section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """The reason in a close frame (RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_CODE = 1005
    ABNORMAL = 1006
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class PeerClosedError(ConnectionError):
    """The peer closed the connection.

    Attributes:
        code: The peer's close code; `CloseCode.ABNORMAL` if it closed without a close frame.
        reason: The text in its close frame.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        limit = " (MAX_MESSAGE_BYTES on the server)" if code == CloseCode.TOO_BIG else ""
        super().__init__(f"the peer closed the connection{f': {reason}' if reason else ''}{limit}")


class BadFrameError(ConnectionError):
    """The peer violates RFC 6455, or sends more than allowed.

    Attributes:
        code: The code to close the connection with.
        reason: What is wrong.
    """

    def __init__(self, reason: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


class FrameLimits:
    """Counts the tiny frames of one peer, and refuses too many of them."""

    def __init__(self) -> None:
        self._small = 0
        self._control = 0
        self._control_since = -CONTROL_FRAMES_S

    def count_fragment(self, size: int, *, is_last: bool) -> None:
        """Count a fragment of a message.

        Raises:
            BadFrameError: The message has more than `MAX_SMALL_FRAGMENTS` fragments of less than
                `SMALL_FRAGMENT` bytes.
        """
        self._small += size < SMALL_FRAGMENT
        if self._small > MAX_SMALL_FRAGMENTS:
            raise BadFrameError(
                f"a message has more than {MAX_SMALL_FRAGMENTS:,} fragments of less than {SMALL_FRAGMENT:,} "
                "bytes",
                CloseCode.POLICY_VIOLATION,
            )
        if is_last:
            self._small = 0

    def count_control_frame(self, now_s: float) -> None:
        """Count a ping or a pong.

        Args:
            now_s: The time, by ``time.monotonic()``.

        Raises:
            BadFrameError: More than `MAX_CONTROL_FRAMES` came within `CONTROL_FRAMES_S` seconds.
        """
        if now_s - self._control_since >= CONTROL_FRAMES_S:
            self._control, self._control_since = 0, now_s
        self._control += 1
        if self._control > MAX_CONTROL_FRAMES:
            raise BadFrameError(
                f"more than {MAX_CONTROL_FRAMES:,} pings and pongs came within {CONTROL_FRAMES_S:g} s",
                CloseCode.POLICY_VIOLATION,
            )


# A whole message, or a control frame.
Event = tuple[Opcode, Payload]

_OPCODES = {int(opcode): opcode for opcode in Opcode}
_PINGS = (Opcode.PING, Opcode.PONG)


def serialize(
    parts: Sequence[Payload], opcode: Opcode, *, is_client: bool, masks: bool = True
) -> list[Payload]:
    """Frame a message.

    Args:
        parts: The payload, in parts that follow each other. A server's are not copied.
        opcode: The kind of message.
        is_client: Whether this is the client's side, which must mask its payloads.
        masks: Whether the client's key is random. With zeros for a key, a masked payload is the payload.

    Returns:
        The head, and the parts to send after it.
    """
    size = sum(map(len, parts))
    mask_bit = _MASKED if is_client else 0
    if size < 126:
        head = bytes((_FIN | opcode, mask_bit | size))
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FIN | opcode, mask_bit | 126, size)
    else:
        head = struct.pack("!BBQ", _FIN | opcode, mask_bit | 127, size)
    if not is_client:
        return [head, *parts]
    if not masks:
        return [head + _ZEROS, *parts]
    key = os.urandom(4)
    return [head + key, mask(parts, key)]


def close_payload(code: CloseCode, reason: str = "") -> bytes:
    """The payload of a close frame. The reason is cut to what a control frame has space for."""
    return struct.pack("!H", code) + reason.encode()[: _MAX_CONTROL_SIZE - 2].decode(errors="ignore").encode()


def peer_closed(payload: Payload) -> PeerClosedError:
    """The error for a close frame from the peer."""
    if len(payload) < 2:
        return PeerClosedError(CloseCode.NO_CODE)
    return PeerClosedError(int.from_bytes(payload[:2], "big"), bytes(payload[2:]).decode(errors="replace"))


def mask(parts: Sequence[Payload], key: bytes) -> Payload:
    """Join and mask parts, or unmask them (RFC 6455, section 5.3)."""
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    size = len(data)
    if size < LARGE:
        keys = (key * (size // 4 + 1))[:size]
        return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")
    words = np.empty(-(-size // 4), np.uint32)
    memory = words.data.cast("B")[:size]
    memory[:] = data
    words ^= np.frombuffer(key, np.uint32)
    return memory


class Parser:
    """The receiving half of one side: bytes in, messages and control frames out.

    A shell receives into `writable`, reports the number of bytes with `advance`, and takes what is complete
    from `next_event`. So a large payload is received right where it stays::

        while (event := parser.next_event()) is None:
            parser.advance(sock.recv_into(parser.writable()))

    Args:
        is_client: Whether this is the client's side, which refuses masked frames; a server refuses others.
        max_size: The maximum size of a message in bytes.
        buffer_size: The size of the buffer in bytes. Frames that do not fit in it get memory for themselves.

    Attributes:
        limits: Counts fragments. The shell has it count pings and pongs as well, since it has a clock.
    """

    def __init__(self, *, is_client: bool, max_size: int, buffer_size: int = 1 << 16) -> None:
        self.limits: FrameLimits = FrameLimits()
        self._is_client = is_client
        self._max_size = max_size
        self._size = buffer_size
        self._buffer = bytearray(buffer_size)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._needed = 2  # bytes of the current frame that have to be in the buffer
        # The frame that is being received outside of the buffer, if there is one.
        self._memory: memoryview | None = None
        self._filled = 0
        self._first, self._key = 0, b""
        self._words = np.empty(0, np.uint32)
        # The message that is being received in several frames, if there is one.
        self._kind: Opcode | None = None
        self._message = bytearray()
        self._kept = np.empty(0, np.uint8).data

    @property
    def has_bytes(self) -> bool:
        """Whether the buffer has bytes that `next_event` has not returned yet."""
        return self._end > self._start

    @property
    def is_in_message(self) -> bool:
        """Whether a part of a message, or of a frame, was received and the rest was not."""
        return self._end > self._start or self._memory is not None or self._kind is not None

    @property
    def missing(self) -> int:
        """How many more bytes a large payload needs; 1 outside of one."""
        return 1 if self._memory is None else len(self._memory) - self._filled

    def writable(self) -> memoryview:
        """The memory for the next bytes. Never empty after `next_event` returned None."""
        if self._memory is not None:
            return self._memory[self._filled :]
        if self._start == self._end:
            self._start = self._end = 0
            return self._view
        if self._start + max(self._needed, _LONGEST_HEAD) > self._size:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        return self._view[self._end :]

    def advance(self, count: int) -> None:
        """Report that the first ``count`` bytes of `writable` were filled."""
        if self._memory is None:
            self._end += count
        else:
            self._filled += count

    def feed(self, data: Payload) -> Iterator[Event]:
        """Copy bytes in; give everything that is complete, as `next_event` does."""
        view = memoryview(data)
        while view:
            memory = self.writable()
            count = min(len(memory), len(view))
            memory[:count] = view[:count]
            view = view[count:]
            self.advance(count)
            while (event := self.next_event()) is not None:
                yield event

    def exchange_memory(self, other: memoryview) -> memoryview:
        """Give away the memory of the last large message; receive the next one into other memory."""
        given, self._kept = self._kept, other
        return given

    def next_ping(self) -> Event | None:
        """The next frame if it is a ping or a pong and complete; everything else stays."""
        if self._memory is None and self.has_bytes and self._buffer[self._start] & 0x0F in _PINGS:
            return self.next_event()
        return None

    def next_event(self) -> Event | None:
        """The next message or control frame; None if more bytes are needed.

        A client's large message is in memory that the next one overwrites: see `exchange_memory`.

        Raises:
            BadFrameError: The bytes are not a valid frame.
        """
        while True:
            frame = self._frame_in_buffer() if self._memory is None else self._frame_in_memory()
            if frame is None:
                return None
            first, payload = frame
            opcode = _OPCODES[first & 0x0F]
            if first & _FIN and (self._kind is None or opcode >= Opcode.CLOSE):
                return opcode, payload
            if (message := self._join(opcode, payload, is_last=bool(first & _FIN))) is not None:
                return message

    def _frame_in_buffer(self) -> tuple[int, Payload] | None:
        """The first byte and the payload of the next frame, if all of it is in the buffer."""
        buffer, start = self._buffer, self._start
        have = self._end - start
        if have < 2:
            return None
        first, second = buffer[start], buffer[start + 1]
        size, head = second & 0x7F, 2
        if size > 125:
            head = 4 if size == 126 else 10
            if have < head:
                return None
            size = int.from_bytes(buffer[start + 2 : start + head], "big")
        self._check(first, second, size)
        if second & _MASKED:
            head += 4
        self._needed = head + size
        if have < self._needed:
            if self._needed > self._size and have >= head:
                self._receive_outside(first, head, size)
            return None
        self._start = end = start + self._needed
        payload: Payload = bytes(self._view[start + head : end])
        if second & _MASKED and (key := bytes(self._view[start + head - 4 : start + head])) != _ZEROS:
            payload = mask((payload,), key)
        return first, payload

    def _frame_in_memory(self) -> tuple[int, Payload] | None:
        """The same for a payload that is being received outside of the buffer."""
        if self._memory is None or self._filled < len(self._memory):
            return None
        payload, self._memory = self._memory, None
        if self._key not in (b"", _ZEROS):
            self._words ^= np.frombuffer(self._key, np.uint32)
        return self._first, payload

    def _check(self, first: int, second: int, size: int) -> None:
        """Refuse a frame by its head, before its payload is received."""
        opcode = _OPCODES.get(first & 0x0F)
        if opcode is None or first & 0x70:
            raise BadFrameError(f"a frame starts with the unknown byte {first:#x}")
        # Caddy before 2.6.3 does not mask its close frames when it stops or reloads. Refused as a violation,
        # they would end the sessions.
        if bool(second & _MASKED) == self._is_client and (self._is_client or opcode is not Opcode.CLOSE):
            raise BadFrameError("clients must mask their frames, and servers must not")
        if opcode >= Opcode.CLOSE:
            if size > _MAX_CONTROL_SIZE or not first & _FIN:
                raise BadFrameError("a control frame is too long or fragmented")
            return
        if (opcode is Opcode.CONTINUATION) != (self._kind is not None):
            raise BadFrameError("a message starts inside another, or continues outside of one")
        if (whole := size + len(self._message)) > self._max_size:
            raise BadFrameError(
                f"a message of {whole:,} bytes exceeds the limit of {self._max_size:,}", CloseCode.TOO_BIG
            )

    def _receive_outside(self, first: int, head: int, size: int) -> None:
        """Receive a payload that does not fit in the buffer, starting with what the buffer has of it."""
        begin = self._start + head
        if self._is_client:
            if len(self._kept) < size:
                self._kept = np.empty(size, np.uint8).data
            memory = self._kept[:size]
        else:
            self._key = bytes(self._view[begin - 4 : begin])
            self._words = np.empty(-(-size // 4), np.uint32)
            memory = self._words.data.cast("B")[:size]
        self._first, self._memory, self._filled = first, memory, self._end - begin
        memory[: self._filled] = self._view[begin : self._end]
        self._start = self._end = 0

    def _join(self, opcode: Opcode, payload: Payload, *, is_last: bool) -> Event | None:
        """Add a fragment to its message; the message if it is complete."""
        if self._kind is None:
            self._kind = opcode
        self.limits.count_fragment(len(payload), is_last=is_last)
        self._message += payload
        if not is_last:
            return None
        event = self._kind, memoryview(self._message)
        self._kind, self._message = None, bytearray()
        return event
