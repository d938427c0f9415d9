"""WebSocket messages on an asyncio event loop, on top of `openenv_gym.wire.framing`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

from openenv_gym.transport.addresses import look_up, open_socket
from openenv_gym.transport.connection import CLOSE_TIMEOUT_S
from openenv_gym.transport.frame_socket import find_dead_peers, tls_broke
from openenv_gym.transport.handshake import CHUNK_SIZE, open_tunnel
from openenv_gym.transport.routes import Route
from openenv_gym.transport.unix_socket import TIMEOUT_S, move_to_unix_socket
from openenv_gym.wire.framing import (
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

# Small, because an event loop may have thousands of connections. Larger frames get memory for themselves.
_BUFFER_SIZE = 1 << 13
# With so many unread messages, or with several that exceed the maximum size together, the socket is not read
# any more.
_MAX_UNREAD = 16
_NO_MEMORY = memoryview(b"")


class AsyncFrameSocket(asyncio.BufferedProtocol):
    """The client's side of a WebSocket: bytes of the handshake first, then frames.

    Pings are answered when they arrive. A large message is never overwritten by the next one. One task may
    receive while another sends.

    Args:
        max_size: The maximum size of a received message in bytes.

    Attributes:
        loop: The event loop, on which all methods must be called.
        unread: Messages that were not received yet.
        is_paused: Whether the peer reads too slowly, so that a sender should `drain`.
    """

    def __init__(self, max_size: int) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.unread: deque[Event] = deque()
        self.is_paused: bool = False
        self._parser = Parser(is_client=True, max_size=max_size, buffer_size=_BUFFER_SIZE)
        self._max_size = max_size
        self._handshake: bytearray | None = bytearray()  # unread bytes of it; None once frames begin
        self._transport = cast(asyncio.Transport, None)  # set before anything else is called
        self._failure: OSError | None = None
        self._is_reading = True
        self._has_sent_close = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        # One timer serves all receives: it fires rarely, and then starts again for what is left.
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    @property
    def raw(self) -> socket.socket:
        """The socket, to read its addresses."""
        raw: socket.socket = self._transport.get_extra_info("socket")
        return raw

    def write(self, parts: Sequence[Payload], opcode: Opcode) -> None:
        """Send a message. What the kernel does not take at once is buffered.

        Raises:
            OSError: The connection broke.
        """
        if self._failure is not None:
            raise self._failure
        self._transport.write(b"".join(serialize(parts, opcode, is_client=True)))

    async def drain(self, timeout_s: float) -> None:
        """Wait until the peer has taken most of what is buffered.

        Raises:
            TimeoutError: It has not in time.
            OSError: The connection broke.
        """
        async with asyncio.timeout(timeout_s):
            while self.is_paused and self._failure is None:
                self._writer = self.loop.create_future()
                await self._writer
        if self._failure is not None:
            raise self._failure

    async def receive_message(self, timeout_s: float) -> Event:
        """The next text or binary message.

        Raises:
            TimeoutError: Nothing came in time.
            PeerClosedError: The peer closed the connection.
            BadFrameError: The peer sent something that is not a message. It has been told.
            OSError: The connection broke.
        """
        while not self.unread:
            if self._failure is not None:
                raise self._failure
            if not self._is_reading:
                self._is_reading = True
                self._transport.resume_reading()
            self._due_at = self.loop.time() + timeout_s
            if self._timer is None or self._timer.when() > self._due_at:
                self._start_timer()
            await self._readable()
        return self.unread.popleft()

    def hang_up(self, code: CloseCode = CloseCode.NORMAL, reason: str = "") -> None:
        """Close with a close frame, and after what is still buffered; within a second at most."""
        if self.loop.is_closed() or self._transport.is_closing():
            return
        if not self._has_sent_close:
            self._has_sent_close = True
            frame = serialize((close_payload(code, reason),), Opcode.CLOSE, is_client=True)
            self._transport.write(b"".join(frame))
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self.loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def abort(self) -> None:
        """Close without a close frame."""
        if not self.loop.is_closed():
            self._transport.abort()

    # The bytes of the opening handshake, as `transport.handshake.Stream` has them.

    async def send(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        self._transport.write(data)

    async def receive(self) -> bytes:
        assert self._handshake is not None
        while not self._handshake:
            if isinstance(self._failure, PeerClosedError):
                return b""
            if self._failure is not None:
                raise self._failure
            await self._readable()
        data = bytes(self._handshake)
        self._handshake.clear()
        return data

    def begin_frames(self, received: bytes) -> None:
        """Expect frames from now on, the first of which may have come with the handshake."""
        assert self._handshake is not None
        data, self._handshake = received + self._handshake, None
        try:
            for event in self._parser.feed(data):
                self._take(event)
        except BadFrameError as error:
            self._refuse(error)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._parser.writable()

    def buffer_updated(self, nbytes: int) -> None:
        parser = self._parser
        if self._failure is not None:
            return
        if self._handshake is not None:
            self._handshake += parser.writable()[:nbytes]
            _wake(self._reader)
            return
        parser.advance(nbytes)
        try:
            while (event := parser.next_event()) is not None:
                self._take(event)
                if self._failure is not None:
                    return
        except BadFrameError as error:
            self._refuse(error)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        _wake(self._writer)

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            error = tls_broke(error)
        self._fail(error if isinstance(error, OSError) else PeerClosedError(CloseCode.ABNORMAL))
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, event: Event) -> None:
        """Keep a message; respond to a control frame."""
        opcode, payload = event
        if opcode < Opcode.CLOSE:
            self.unread.append(event)
            if type(payload) is memoryview:
                self._parser.exchange_memory(_NO_MEMORY)
            if self._is_reading and len(self.unread) > 1 and self._has_too_much():
                self._is_reading = False
                self._transport.pause_reading()
            _wake(self._reader)
        elif opcode is Opcode.CLOSE:
            self._fail(peer_closed(payload))
            self.hang_up()
        else:
            self._parser.limits.count_control_frame(self.loop.time())
            if (
                opcode is Opcode.PING and not self.is_paused
            ):  # else pongs pile up for a peer that reads nothing
                self._transport.write(b"".join(serialize((payload,), Opcode.PONG, is_client=True)))

    def _has_too_much(self) -> bool:
        return len(self.unread) >= _MAX_UNREAD or sum(len(data) for _, data in self.unread) > self._max_size

    def _refuse(self, error: BadFrameError) -> None:
        self._fail(error)
        self.hang_up(error.code, error.reason)

    def _fail(self, error: OSError) -> None:
        """Report an error to who receives or drains, now and later. The first one counts."""
        if self._failure is None:
            self._failure = error
        _wake(self._reader)
        _wake(self._writer)

    async def _readable(self) -> None:
        """Wait until something changes for who receives."""
        self._reader = self.loop.create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._due_at, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if self._reader is None or self._reader.done():
            return
        if self.loop.time() < self._due_at:
            self._start_timer()
        else:
            self._reader.set_exception(TimeoutError("timed out"))


async def connect(route: Route, max_size: int) -> AsyncFrameSocket:
    """Open a socket, with a proxy's tunnel and with TLS if the route needs them.

    Raises:
        BadHandshakeError: The proxy refuses.
        OSError: There is no connection.
    """
    loop = asyncio.get_running_loop()
    raw = await _open_socket(*route.first_hop)
    try:
        await open_tunnel(_RawStream(raw), route)
        tls: dict[str, Any] = {}
        if route.tls is not None:
            tls = {"ssl": route.tls, "server_hostname": route.host, "ssl_shutdown_timeout": CLOSE_TIMEOUT_S}
        _, frames = await loop.create_connection(lambda: AsyncFrameSocket(max_size), sock=raw, **tls)
    except BaseException:
        raw.close()
        raise
    return frames


async def move(frames: AsyncFrameSocket, headers: Mapping[str, str], max_size: int) -> AsyncFrameSocket:
    """Move to the server's Unix socket after the handshake, if it offers one that can be reached.

    Args:
        frames: The socket of the handshake, which is closed then.
        headers: The headers of the response.
        max_size: The maximum size of a received message in bytes.

    Returns:
        The socket to go on with.
    """
    loop = frames.loop

    async def connect(raw: socket.socket, path: str) -> None:
        raw.setblocking(False)
        await loop.sock_connect(raw, path)

    async def exchange(raw: socket.socket, data: bytes, size: int) -> bytes:
        await loop.sock_sendall(raw, data)
        async with asyncio.timeout(TIMEOUT_S):
            return await loop.sock_recv(raw, size)

    raw = await move_to_unix_socket(frames.raw, headers, connect, exchange)
    if raw is None:
        return frames
    try:
        _, moved = await loop.create_connection(lambda: AsyncFrameSocket(max_size), sock=raw)
    except BaseException:
        raw.close()
        raise
    frames.abort()
    return moved


class _RawStream:
    """A non-blocking socket during the handshake with a proxy."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._raw, data)

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._raw, CHUNK_SIZE)


async def _open_socket(host: str, port: int) -> socket.socket:
    async def connect(raw: socket.socket, address: Any, _: int) -> None:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        find_dead_peers(raw)
        await asyncio.get_running_loop().sock_connect(raw, address)

    addresses = await asyncio.wrap_future(look_up(host, port))
    return await open_socket(host, addresses, connect)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
