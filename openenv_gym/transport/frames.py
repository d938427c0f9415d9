"""WebSocket messages over a connected socket (RFC 6455), after the handshake.

A small message is received with one call of the system. A large one is received into memory that is kept, and
is sent from where it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from enum import IntEnum

import numpy as np

from openenv_gym.transport.patience import Patience

Payload = bytes | memoryview

_BUFFER_SIZE = 1 << 16
_LARGE = 1 << 12
_PONG_INTERVAL_S = 0.5
_MOST_PARTS = 512  # of the 1024 that a call of the system takes


class Opcode(IntEnum):
    """What a frame is (RFC 6455, section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """Why a socket is closed (RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_CODE = 1005
    ABNORMAL = 1006
    TOO_BIG = 1009
    SERVICE_RESTART = 1012


class PeerClosedError(ConnectionError):
    """The other side has closed the socket."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        limit = " (MAX_MESSAGE_BYTES on the server)" if code == CloseCode.TOO_BIG else ""
        super().__init__(f"the other side closed it{f': {reason}' if reason else ''}{limit}")


class BadFrameError(ConnectionError):
    """The other side does not keep to RFC 6455, or sends more than it may."""

    def __init__(self, message: str, code: CloseCode) -> None:
        self.code = code
        super().__init__(message)


class FrameSocket:
    """One side of a WebSocket. One thread may receive while others send.

    Args:
        raw: The connected socket, with or without TLS.
        is_client: Whether this is the client's side, which masks what it sends.
        max_size: The most bytes that a message received may have.

    Attributes:
        may_stay_awake: Whether the next message is expected soon, so that it is worth waiting for it awake.
        has_answered_ping: Set when a pong comes.
        is_in_message: Whether a part of a message has been received, and not all of it.
    """

    def __init__(self, raw: socket.socket, *, is_client: bool, max_size: int) -> None:
        self.raw = raw
        self._is_client = is_client
        self._max_size = max_size
        self._buffer = bytearray(_BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._sending = threading.Lock()
        self._has_said_goodbye = False
        self._timeout_s: float | None = None
        self.may_stay_awake = is_client
        self.has_answered_ping = self.is_in_message = False
        self._pong_due_at = 0.0
        raw.settimeout(None)
        _find_dead_peers(raw)
        self._has_kernel_timeouts = not isinstance(raw, ssl.SSLSocket) and os.name == "posix"
        self._patience = Patience(raw)
        self._large = np.empty(0, np.uint8).data

    @property
    def has_more(self) -> bool:
        """Whether something was read from the socket that `receive` has not returned yet.

        As long as there is, waiting for the socket to become readable may wait in vain.
        """
        pending = getattr(self.raw, "pending", None)  # TLS keeps some as well
        return self._end > self._start or (pending is not None and pending() > 0)

    def set_timeout(self, seconds: float | None) -> None:
        """How long sending and receiving may wait for the other side; None waits for ever."""
        if seconds == self._timeout_s:
            return
        self._timeout_s = seconds
        if not self._has_kernel_timeouts:
            self.raw.settimeout(seconds)
            return
        # The kernel's own timeouts: with Python's, each call of the system is preceded by another that waits.
        whole, part = divmod(seconds or 0.0, 1)
        timeval = struct.pack("@ll", int(whole), int(part * 1e6) or (1 if seconds and not whole else 0))
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def send(self, *parts: Payload, opcode: Opcode = Opcode.BINARY) -> None:
        """Sends a message, whose parts follow each other.

        Raises:
            OSError: The socket is broken, or its timeout over (`TimeoutError`).
        """
        size = sum(map(len, parts))
        masked = 0x80 if self._is_client else 0
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, masked | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, masked | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, masked | 127, size)
        if masked:
            key = os.urandom(4)
            head += key
            parts = (_xor(parts[0] if len(parts) == 1 else b"".join(parts), key),)
        with self._sending:
            try:
                if size < _LARGE or not self._has_kernel_timeouts:
                    self.raw.sendall(b"".join((head, *parts)))
                else:
                    self._send_gathered([head, *parts])
            except BlockingIOError as error:
                self._break()
                raise TimeoutError("timed out") from error
            except ssl.SSLError as error:
                raise _broken_tls(error) from error
            except ConnectionError:
                raise
            except BaseException:
                self._break()
                raise

    def _break(self) -> None:
        """Ends the socket after a part of a message was sent: the next one would be taken for its rest."""
        with contextlib.suppress(OSError):  # it may not be connected any more
            self.raw.shutdown(socket.SHUT_RDWR)

    def _send_gathered(self, parts: list[Payload]) -> None:
        """Sends parts without joining them."""
        while parts:
            sent = self.raw.sendmsg(parts[:_MOST_PARTS])
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if sent:
                parts[0] = memoryview(parts[0])[sent:]

    def receive(self) -> tuple[Opcode, Payload]:
        """The next text or binary message. Pings are answered on the way, and do not move the timeout.

        A large message is in memory that the next one overwrites.

        Raises:
            TimeoutError: Nothing came in time.
            PeerClosedError: The other side has closed the socket.
            BadFrameError: What came is not a message. The other side has been told.
            OSError: The socket is broken.
        """
        try:
            return self._receive()
        except BadFrameError as error:
            self.say_goodbye(error.code, str(error))
            raise

    def answer_pings(self, *, may_read: bool) -> None:
        """Answers pings that came while nobody received, without waiting.

        Other messages stay where they are; pings behind them are answered by a pong that says no more than
        that somebody is here, which is enough for our server. A TLS socket does not show what comes next, so
        that it has to be read to see; whoever waits for it to become readable would wait in vain then.

        Args:
            may_read: Whether nobody waits for the socket.

        Raises:
            OSError: The socket is broken.
        """
        if self._end > self._start:
            return  # a message, or a part of one, has come already
        if isinstance(self.raw, ssl.SSLSocket):
            if may_read:
                self._read_now(self.raw)
            return
        with contextlib.suppress(BlockingIOError):  # nothing came
            while len(ahead := self.raw.recv(127, socket.MSG_PEEK | socket.MSG_DONTWAIT)) >= 2:
                if ahead[0] & 0x0F not in (Opcode.PING, Opcode.PONG):
                    if time.monotonic() > self._pong_due_at:
                        self._pong_due_at = time.monotonic() + _PONG_INTERVAL_S
                        self.send(b"", opcode=Opcode.PONG)
                    return
                if len(ahead) < 2 + ahead[1]:
                    return
                frame = self.raw.recv(2 + ahead[1])
                self._control(Opcode(frame[0] & 0x0F), frame[2:])

    def exchange_memory(self, other: memoryview) -> memoryview:
        """Gives away the memory with the last large message, and takes other memory for the next ones."""
        given, self._large = self._large, other
        return given

    def say_goodbye(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Sends a close frame, where the other side can still be told and was not told before."""
        if self._has_said_goodbye:
            return
        self._has_said_goodbye = True
        try:
            self.send(struct.pack("!H", code) + reason.encode()[:120], opcode=Opcode.CLOSE)
        except OSError:
            return  # it has gone already

    def close(self) -> None:
        """Closes the socket. A `receive` in another thread ends with an error."""
        with contextlib.suppress(OSError):  # it may not be connected any more
            self.raw.shutdown(socket.SHUT_RDWR)
        self.raw.close()

    def _receive(self) -> tuple[Opcode, Payload]:
        # A server waits as long for each part: a large message may take longer than a client may be silent.
        self._deadline = None
        if self._is_client and self._timeout_s is not None:
            self._deadline = time.monotonic() + self._timeout_s
        self.is_in_message = False
        kind: Opcode | None = None
        parts: list[Payload] = []
        while True:
            opcode, is_last, payload = self._frame(sum(map(len, parts)))
            if opcode >= Opcode.CLOSE:
                self._control(opcode, payload)
                self.is_in_message = bool(parts)
                continue
            if (opcode is Opcode.CONTINUATION) != (kind is not None):
                raise BadFrameError(
                    "a message was begun inside another, or continued outside", CloseCode.PROTOCOL_ERROR
                )
            if kind is None:
                if is_last:
                    return opcode, payload
                kind = opcode
            parts.append(payload)
            if is_last:
                return kind, b"".join(parts)

    def _control(self, opcode: Opcode, payload: Payload) -> None:
        if opcode is Opcode.PING:
            self.send(payload, opcode=Opcode.PONG)
        elif opcode is Opcode.PONG:
            self.has_answered_ping = True
        elif opcode is Opcode.CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else CloseCode.NO_CODE
            self.say_goodbye()
            raise PeerClosedError(code, bytes(payload[2:]).decode(errors="replace"))

    def _frame(self, size_before: int) -> tuple[Opcode, bool, Payload]:
        self._fill(2)
        self.is_in_message = True
        first, second = self._buffer[self._start], self._buffer[self._start + 1]
        size, head = second & 0x7F, 2
        is_masked = second & 0x80
        if size == 126:
            head = 4
            self._fill(head)
            (size,) = struct.unpack_from("!H", self._buffer, self._start + 2)
        elif size == 127:
            head = 10
            self._fill(head)
            (size,) = struct.unpack_from("!Q", self._buffer, self._start + 2)
        self._check(first, is_masked, size, size_before)
        if is_masked:
            head += 4
            self._fill(head)
        payload = self._payload(head, size)
        if is_masked:
            payload = _xor(payload[4:], bytes(payload[:4]))
        return Opcode(first & 0x0F), bool(first & 0x80), payload

    def _check(self, first: int, is_masked: int, size: int, size_before: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 or opcode not in Opcode._value2member_map_:
            raise BadFrameError(f"a frame begins with the unknown byte {first:#x}", CloseCode.PROTOCOL_ERROR)
        if opcode >= Opcode.CLOSE and (size > 125 or not first & 0x80):
            raise BadFrameError("a control frame is too long or in parts", CloseCode.PROTOCOL_ERROR)
        if bool(is_masked) == self._is_client:
            raise BadFrameError("clients mask their frames, and servers do not", CloseCode.PROTOCOL_ERROR)
        if size + size_before > self._max_size:
            raise BadFrameError(
                f"a message of {size + size_before:,} bytes is more than the {self._max_size:,} allowed",
                CloseCode.TOO_BIG,
            )

    def _payload(self, head: int, size: int) -> Payload:
        """The payload after a head that is in the buffer; with the masking key in front, if there is one."""
        key = 4 if not self._is_client else 0
        begin = self._start + head - key
        if head + size <= _BUFFER_SIZE:
            self._fill(head + size)
            begin = self._start + head - key
            self._start += head + size
            return bytes(self._view[begin : self._start])
        if len(self._large) < key + size:
            self._large = np.empty(key + size, np.uint8).data
        memory = self._large[: key + size]
        have = self._end - begin
        memory[:have] = self._view[begin : self._end]
        self._start = self._end = 0
        while have < len(memory):
            have += self._read(memory[have:], len(memory) - have)
        return memory

    def _read_now(self, raw: ssl.SSLSocket) -> None:
        """Reads what has come into the buffer, and answers the pings that stand first there."""
        self._start = self._end = 0
        with self._sending:
            raw.settimeout(0.0)
            try:
                self._end = raw.recv_into(self._view)
            except ssl.SSLWantReadError:
                return  # nothing came
            except ssl.SSLError as error:
                raise _broken_tls(error) from error
            finally:
                raw.settimeout(self._timeout_s)
        while self._end - self._start >= 2:
            opcode, size = self._buffer[self._start] & 0x0F, self._buffer[self._start + 1]
            begin = self._start + 2
            if opcode not in (Opcode.PING, Opcode.PONG) or begin + size > self._end:
                return
            self._start = begin + size
            self._control(Opcode(opcode), bytes(self._view[begin : self._start]))

    def _fill(self, count: int) -> None:
        """Reads until so many bytes are in the buffer."""
        if self._end - self._start >= count:
            return
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + count > _BUFFER_SIZE:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        while self._end - self._start < count:
            self._end += self._read(self._view[self._end :])

    def _read(self, memory: memoryview, at_least: int = 1) -> int:
        try:
            if self._has_kernel_timeouts and self.may_stay_awake and self._start == self._end:
                count = self._patience.receive_into(memory, at_least)
            else:
                count = self.raw.recv_into(memory)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error
        except ssl.SSLError as error:
            raise _broken_tls(error) from error
        if count == 0:
            raise PeerClosedError(CloseCode.ABNORMAL, "")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeoutError("timed out")
        return count


def _broken_tls(error: ssl.SSLError) -> ConnectionError:
    """A TLS error after the handshake as what it means: the connection broke.

    OpenSSL reports a peer that is gone as SSLEOFError, SSLZeroReturnError, or an alert, none of which is a
    ConnectionError.
    """
    return ConnectionResetError(f"the TLS connection broke: {error.reason or error.args[-1]}")


def _find_dead_peers(raw: socket.socket) -> None:
    """Has the kernel break an idle socket whose other side is cut off, after half a minute."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _xor(data: Payload, key: bytes) -> Payload:
    """Masks, or takes the mask off (RFC 6455, section 5.3)."""
    size = len(data)
    if size < _LARGE:
        keys = (key * (size // 4 + 1))[:size]
        return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")
    padded = np.empty(-(-size // 4), np.uint32)
    whole = padded.data.cast("B")
    whole[:size] = data
    padded ^= np.frombuffer(key, np.uint32)
    return whole[:size]
