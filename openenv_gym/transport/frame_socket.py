"""WebSocket messages over a connected blocking socket, on top of `openenv_gym.wire.framing`.

A small message is received with a single system call. A large one is received into memory that is kept, and
sent without being copied.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import struct
import sys
import threading
import time
from threading import get_ident
from time import perf_counter

from openenv_gym.transport.shared_memory import REFERENCE_SIZE, SMALLEST, SharedMemory
from openenv_gym.wire.framing import (
    LARGE,
    BadFrameError,
    CloseCode,
    Event,
    Opcode,
    Parser,
    Payload,
    PeerClosedError,
    close_payload,
    peer_closed,
    serialize,
)

# Reads what has come without blocking; 0 on Windows, which has no such flag.
_DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
_PONG_INTERVAL_S = 0.5
# A message that takes longer has the timeout set to what is left of it.
_PRECISION_S = 0.02
_MAX_GATHERED = 512  # of the 1024 parts that sendmsg takes

NETWORK = (socket.AF_INET, socket.AF_INET6)

# How long a socket is busy-polled before it blocks, in seconds.
BUSY_POLL_S = 1e-3
# After a busy-poll without success, so many fast messages are waited for blocking, and twice as many each
# time that it happens again. So many successes in a row undo one of the doublings.
_FEWEST_BLOCKING, _MAX_DOUBLINGS, _SUCCESSES = 2, 9, 8

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_max_busy = _cores // 2
# The threads that busy-poll. Not a semaphore: Ctrl-C inside one of Python's leaves it locked for ever.
_busy: set[int] = set()


def share_cores(processes: int) -> None:
    """Limit busy-polling to this process's share of the cores, if several do the same work.

    Call it before the first socket waits.
    """
    global _max_busy
    _max_busy = _cores // 2 // processes


class FrameSocket:
    """One side of a WebSocket. One thread may receive while others send.

    Args:
        raw: The connected socket, with or without TLS.
        is_client: Whether this is the client's side, which masks what it sends.
        max_size: The maximum size of a received message in bytes.
        received: Bytes that came together with the handshake.
        memory: The memory that is shared with the peer, for large messages.

    Attributes:
        may_busy_poll: Whether the next message is expected soon, so that busy-polling is worthwhile.
        has_answered_ping: Set when a pong arrives.
    """

    def __init__(
        self,
        raw: socket.socket,
        *,
        is_client: bool,
        max_size: int,
        received: bytes = b"",
        memory: SharedMemory | None = None,
    ) -> None:
        self.raw = raw
        self._memory, self._max_size = memory, max_size
        self._is_shared = False  # whether the last message is in that memory
        self._is_client = is_client
        self._parser = Parser(is_client=is_client, max_size=max_size)
        self._parser.writable()[: len(received)] = received
        self._parser.advance(len(received))
        self._sending = threading.Lock()
        self._has_sent_close = False
        self._timeout_s: float | None = None
        self._deadline: float | None = None
        self.may_busy_poll = is_client
        self.has_answered_ping: bool = False
        self._pong_due_at = 0.0
        raw.settimeout(None)
        # Masks are for proxies that take a payload for a request; a Unix socket has none.
        self._masks = raw.family in NETWORK
        if self._masks:
            find_dead_peers(raw)
        self._has_kernel_timeouts = not isinstance(raw, ssl.SSLSocket) and bool(_DONT_WAIT)
        self._poller = BusyPoller(raw)

    @property
    def has_more(self) -> bool:
        """Whether bytes were read from the socket that `receive` has not returned yet.

        Do not wait for the socket to become readable then: everything may be here already.
        """
        pending = getattr(self.raw, "pending", None)  # TLS buffers some as well
        return self._parser.has_bytes or (pending is not None and pending() > 0)

    @property
    def is_in_message(self) -> bool:
        """Whether a part of a message was received, and the rest was not."""
        return self._parser.is_in_message

    def set_timeout(self, seconds: float | None) -> None:
        """Limit how long sending and receiving may block; None blocks for ever."""
        if seconds == self._timeout_s:
            return
        self._timeout_s = seconds
        if not self._has_kernel_timeouts:
            self.raw.settimeout(seconds)
            return
        # The kernel's own timeouts: Python's need one more system call, which polls, before each call.
        whole, part = divmod(seconds or 0.0, 1)
        timeval = struct.pack("@ll", int(whole), int(part * 1e6) or (1 if seconds and not whole else 0))
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)

    def send(self, *parts: Payload, opcode: Opcode = Opcode.BINARY) -> None:
        """Send a message, given in parts that follow each other.

        Raises:
            TimeoutError: The peer did not accept all of it in time.
            OSError: The connection broke.
        """
        with self._sending:
            memory, size = self._memory, sum(map(len, parts))
            if memory is not None and size >= SMALLEST and opcode is Opcode.BINARY:
                parts = memory.write(parts, size) or parts
                size = sum(map(len, parts))
            framed = serialize(parts, opcode, is_client=self._is_client, masks=self._masks)
            try:
                if not self._has_kernel_timeouts or size < LARGE:
                    data = b"".join(framed)
                    sent = self.raw.send(data)
                    framed = [memoryview(data)[sent:]] if sent < len(data) else []
                if framed:
                    self._send_rest(framed)
            except BlockingIOError as error:
                self._shut_down()
                raise TimeoutError("timed out") from error
            except ssl.SSLError as error:
                raise tls_broke(error) from error
            except ConnectionError:
                raise
            except BaseException:
                self._shut_down()  # the peer would take the next message for the rest of this one
                raise

    def receive(self) -> Event:
        """The next text or binary message. Pings are answered on the way, and do not extend the timeout.

        A client's large message is in memory that the next one overwrites.

        Raises:
            TimeoutError: Nothing came in time.
            PeerClosedError: The peer closed the connection.
            BadFrameError: The peer sent something that is not a message. It has been told.
            OSError: The connection broke.
        """
        # A server waits as long for each part: a large message may take longer than a client may be silent.
        self._deadline = None
        if self._is_client and self._timeout_s is not None:
            self._deadline = time.monotonic() + self._timeout_s
        parser = self._parser
        try:
            if not parser.has_bytes:
                parser.advance(self._read())
            while True:
                while (event := parser.next_event()) is None:
                    parser.advance(self._read())
                if event[0] < Opcode.CLOSE:
                    self._is_shared = False
                    return self._looked_up(event) if len(event[1]) == REFERENCE_SIZE else event
                self._answer(event)
        except BadFrameError as error:
            self.send_close(error.code, error.reason)
            raise

    def answer_pings(self, *, may_read: bool) -> None:
        """Answer pings that came while nobody received, without blocking.

        Messages stay unread. A ping behind one is answered by an empty pong, which is enough for our server.
        A TLS socket cannot be peeked into, so it has to be read; a caller that waits for it to become
        readable would then wait for nothing.

        Args:
            may_read: Whether nobody waits for the socket to become readable.

        Raises:
            BadFrameError: The peer sends more pings than allowed. It has been told.
            OSError: The connection broke.
        """
        try:
            self._answer_buffered()
            if self._parser.is_in_message:
                self._send_pong()
            elif isinstance(self.raw, ssl.SSLSocket):
                if may_read:
                    self._read_now(self.raw)
                    self._answer_buffered()
            else:
                self._answer_peeked()
        except BadFrameError as error:
            self.send_close(error.code, error.reason)
            raise

    def _answer_peeked(self) -> None:
        """Answer the pings at the start of what the kernel has, and leave everything else there."""
        with contextlib.suppress(BlockingIOError):  # nothing came
            while len(ahead := self._peek(127)) >= 2:
                if ahead[0] & 0x0F not in (Opcode.PING, Opcode.PONG):
                    self._send_pong()
                    return
                if len(ahead) < 2 + ahead[1]:
                    return
                frame = self.raw.recv(2 + ahead[1])
                self._answer((Opcode(frame[0] & 0x0F), frame[2:]))

    def _peek(self, size: int) -> bytes:
        """The next bytes that the kernel has, which stay there.

        Raises:
            BlockingIOError: Nothing came.
        """
        if not _DONT_WAIT and not select.select([self.raw], [], [], 0)[0]:
            raise BlockingIOError
        return self.raw.recv(size, socket.MSG_PEEK | _DONT_WAIT)

    def exchange_memory(self, other: memoryview) -> memoryview:
        """Give away the memory of the last large message; receive the next one into other memory."""
        # Shared memory stays as it is as long as arrays refer to it.
        return other if self._is_shared else self._parser.exchange_memory(other)

    def send_close(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Send a close frame, once, if the connection still works."""
        if self._has_sent_close:
            return
        self._has_sent_close = True
        with contextlib.suppress(OSError):  # the peer is gone already
            self.send(close_payload(code, reason), opcode=Opcode.CLOSE)

    def close(self) -> None:
        """Close the socket. A `receive` in another thread ends with an error."""
        self._shut_down()
        self.raw.close()
        self._memory = None

    def _looked_up(self, event: Event) -> Event:
        """The message that was received, or that a reference in it stands for."""
        opcode, payload = event
        memory = self._memory
        if memory is None or not memory.is_reference(payload):
            return event
        self._is_shared = True
        return opcode, memory.read(payload, self._max_size)

    def _answer(self, event: Event) -> None:
        """Respond to a control frame."""
        opcode, payload = event
        if opcode is not Opcode.CLOSE:
            self._parser.limits.count_control_frame(time.monotonic())
        if opcode is Opcode.PING:
            self.send(payload, opcode=Opcode.PONG)
        elif opcode is Opcode.PONG:
            self.has_answered_ping = True
        else:
            self.send_close()
            raise peer_closed(payload)

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):  # it may not be connected any more
            self.raw.shutdown(socket.SHUT_RDWR)

    def _send_rest(self, parts: list[Payload]) -> None:
        """Send parts without joining them. The timeout of a client is for all of them."""
        deadline = None
        if self._is_client and self._timeout_s is not None:
            deadline = time.monotonic() + self._timeout_s
        while parts:
            if sys.platform == "win32" or not self._has_kernel_timeouts:
                sent = self.raw.send(parts[0])
            else:
                sent = self.raw.sendmsg(parts[:_MAX_GATHERED])
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if sent:
                parts[0] = memoryview(parts[0])[sent:]
            if parts and deadline is not None:
                self._limit(deadline)

    def _limit(self, deadline: float) -> None:
        """Let the next call block until the deadline at most, by ``time.monotonic()``."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.set_timeout(left_s)

    def _read_now(self, raw: ssl.SSLSocket) -> None:
        """Read what has come, without blocking."""
        with self._sending:
            raw.settimeout(0.0)
            try:
                self._parser.advance(raw.recv_into(self._parser.writable()))
            except ssl.SSLWantReadError:
                return  # nothing came
            except ssl.SSLError as error:
                raise tls_broke(error) from error
            finally:
                raw.settimeout(self._timeout_s)

    def _answer_buffered(self) -> None:
        """Answer the pings at the start of what was read."""
        while (event := self._parser.next_ping()) is not None:
            self._answer(event)

    def _send_pong(self) -> None:
        """Send an empty pong, for pings behind an unread message."""
        if time.monotonic() > self._pong_due_at:
            self._pong_due_at = time.monotonic() + _PONG_INTERVAL_S
            self.send(b"", opcode=Opcode.PONG)

    def _read(self) -> int:
        """Receive into the parser's memory; the number of bytes, at least one."""
        parser = self._parser
        memory = parser.writable()
        try:
            if self.may_busy_poll and self._has_kernel_timeouts and not parser.has_bytes:
                count = self._poller.receive_into(memory, parser.missing)
            else:
                count = self.raw.recv_into(memory)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error
        except ssl.SSLError as error:
            raise tls_broke(error) from error
        if count == 0:
            raise PeerClosedError(CloseCode.ABNORMAL)
        deadline = self._deadline
        if deadline is not None and deadline - time.monotonic() < (self._timeout_s or 0) - _PRECISION_S:
            self._limit(deadline)
        return count


class BusyPoller:
    """Receives from one socket: busy-polls for a moment, then blocks.

    A thread that blocks takes 20 to 60 microseconds to wake, and more on a virtual machine: longer than a
    whole step of a fast environment. So if messages come in quick succession, the socket is polled for a
    moment before the thread blocks, by at most half of the cores at a time, and never on a single core. A
    socket whose messages take longer stops polling for a while, and for longer each time.

    Args:
        raw: The socket, in blocking mode.
    """

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._failures = 0  # busy-polls that received nothing, and are not forgotten yet
        self._successes = 0  # busy-polls that received something since then
        self._blocking = 0  # fast messages to block for, before polling is tried again

    def receive_into(self, memory: memoryview, at_least: int = 1) -> int:
        """Like ``socket.recv_into``; while polling, collects until it has ``at_least`` so many bytes."""
        begin = perf_counter()
        if not self._blocking and len(_busy) < _max_busy:
            thread = get_ident()
            try:
                _busy.add(thread)
                count = self._poll(memory, at_least, begin + BUSY_POLL_S)
            finally:
                _busy.discard(thread)
            if count is not None:
                if self._failures:
                    self._forget_failure()
                return count
            # If other work wants the cores, polling keeps even the sender from sending.
            self._blocking = _FEWEST_BLOCKING << self._failures
            self._failures = min(self._failures + 1, _MAX_DOUBLINGS)
            self._successes = 0
            return self._raw.recv_into(memory)
        count = self._raw.recv_into(memory)
        if self._blocking and perf_counter() - begin < BUSY_POLL_S:
            self._blocking -= 1
        return count

    def _forget_failure(self) -> None:
        """Forget a failure after enough successes: a moment's disturbance is not a busy machine."""
        self._successes += 1
        if self._successes == _SUCCESSES:
            self._failures -= 1
            self._successes = 0

    def _poll(self, memory: memoryview, at_least: int, end: float) -> int | None:
        """The number of bytes received, 0 if the peer closed; None if nothing came in time."""
        receive_into, flag, have = self._raw.recv_into, _DONT_WAIT, 0
        while True:
            try:
                count = receive_into(memory[have:], 0, flag)
            except BlockingIOError:
                if perf_counter() > end:
                    return have or None
                continue
            have += count
            if have >= at_least or count == 0 or perf_counter() > end:
                return have


def find_dead_peers(raw: socket.socket) -> None:
    """Make the kernel break an idle connection whose peer is unreachable, after half a minute."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def tls_broke(error: ssl.SSLError) -> ConnectionError:
    """A TLS error after the handshake as what it means: the connection broke.

    OpenSSL reports a peer that is gone as SSLEOFError, SSLZeroReturnError, or an alert, none of which is a
    ConnectionError.
    """
    return ConnectionResetError(f"the TLS connection broke: {error.reason or error.args[-1]}")
