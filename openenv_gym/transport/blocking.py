"""Connections over blocking sockets, and calls that take turns."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar, cast

from openenv_gym.errors import EndpointError
from openenv_gym.transport import keepalive, unix_socket
from openenv_gym.transport.addresses import look_up, open_socket
from openenv_gym.transport.connection import CLOSE_TIMEOUT_S, MAX_MESSAGE_SIZE, Connection, close_gracefully
from openenv_gym.transport.deadline import Deadline
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.error_mapping import (
    HANDSHAKE,
    Message,
    bare,
    closed_error,
    connect_error,
    is_timeout,
    session_error,
    wrong_frame,
)
from openenv_gym.transport.frame_socket import NETWORK, FrameSocket
from openenv_gym.transport.handshake import CHUNK_SIZE, has_gateway, open_tunnel, open_websocket
from openenv_gym.transport.routes import Route, route_to
from openenv_gym.transport.shared_memory import SharedMemory
from openenv_gym.wire import v1, v2
from openenv_gym.wire.framing import Opcode, Payload
from openenv_gym.wire.unix_offer import WITH_MEMORY

log = logging.getLogger("openenv_gym")

_SENT_AT_ONCE = 1 << 14

T = TypeVar("T")
ArgT = TypeVar("ArgT")
F = TypeVar("F", bound=Callable[..., Any])


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over blocking connections: it never suspends.

    Raises:
        RuntimeError: It does suspend, so it waits for something else than a blocking connection.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} suspended, which no coroutine over blocking connections does")


class CallLock:
    """Held during a call. A copy and a pickle are new ones, which nobody holds.

    Attributes:
        lock: The thread that holds it may make further calls: those of a signal handler, and those that a
            call is made of.
    """

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return CallLock, ()


def locked(method: F) -> F:
    """Make a method wait until no other thread is in such a method of the same object.

    Args:
        method: A method of an object whose ``call_lock`` is a `CallLock`.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.call_lock.lock:
            return method(self, *args, **kwargs)

    return cast(F, call)


class BlockingTransport:
    """A `Transport` whose coroutines block and never suspend.

    Args:
        max_message_size: The maximum size of a message from a server in bytes.
    """

    def __init__(self, max_message_size: int = MAX_MESSAGE_SIZE) -> None:
        self._max_message_size = max_message_size

    async def connect(
        self, endpoint: Endpoint, *, timeout_s: float, offers_v2: bool = True
    ) -> BlockingConnection:
        return BlockingConnection(
            endpoint,
            connect_timeout_s=timeout_s,
            offers_v2=offers_v2,
            max_message_size=self._max_message_size,
        )

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def run_blocking(self, call: Callable[[ArgT], None], argument: ArgT) -> None:
        call(argument)


class BlockingConnection(Connection):
    """A `Connection` whose coroutines block and never suspend.

    While it is idle, the keepalive thread answers the server's pings.

    Args:
        endpoint: The server.
        connect_timeout_s: The time for all of the TCP, TLS and WebSocket handshakes, in seconds.
        offers_v2: Whether to offer version 2 of the protocol.
        max_message_size: The maximum size of a message in bytes.

    Attributes:
        uses: How often `receive` was called, so that the keepalive thread recognizes an idle connection.

    Raises:
        EndpointError: As `Transport.connect`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connect_timeout_s: float,
        offers_v2: bool = False,
        max_message_size: int = MAX_MESSAGE_SIZE,
    ) -> None:
        self.endpoint = endpoint
        route, deadline = route_to(endpoint), Deadline(connect_timeout_s)
        raw, headers, received, memory = with_cookies(
            endpoint, "/ws", lambda: _connect(endpoint, route, deadline, offers_v2)
        )
        self.has_gateway: bool = has_gateway(route, headers)
        self.is_v2: bool = headers.get("sec-websocket-protocol") == v2.SUBPROTOCOL
        self.worker: tuple[int, int] = v2.worker_of(headers.get(v2.WORKER_HEADER))
        self.heeds_timeouts: bool = v1.TIMEOUTS_HEADER in headers
        self.is_on_one_machine: bool = raw.family not in NETWORK
        self.max_message_size: int = max_message_size
        self.has_pending: bool = False
        self._sent: Message = ()
        self.sends_close = True
        self.uses: int = 0
        self._receiving = threading.Lock()
        self._frames: FrameSocket | None = FrameSocket(
            raw, is_client=True, max_size=max_message_size, received=received, memory=memory
        )
        # The processes of a server that has several want the cores for their environments.
        self._frames.may_busy_poll = self.worker[1] == 1
        keepalive.keeper.add(self)

    @property
    def is_open(self) -> bool:
        return self._frames is not None  # the keepalive thread drops it in a forked child

    @property
    def raw_socket(self) -> socket.socket:
        """The socket, to wait on until it is readable."""
        assert self._frames is not None
        return self._frames.raw

    @property
    def has_more(self) -> bool:
        """Whether something was received already, so that `raw_socket` need not become readable."""
        return self._frames is not None and self._frames.has_more

    async def send(self, message: str | list[Payload], *, timeout_s: float, operation: str) -> None:
        frames = self._usable(operation)
        self._sent = message
        with self._receiving:
            self.has_pending = True
        try:
            frames.set_timeout(timeout_s)
            if isinstance(message, str):
                frames.send(message.encode(), opcode=Opcode.TEXT)
            else:
                frames.send(*message)
        except ConnectionError:
            return  # `receive` reports it, after whatever the server said before
        except OSError as error:
            raise self._lost(error, timeout_s, operation) from error
        except BaseException:
            self.drop()  # Ctrl-C, for example: a part of the message may be on its way
            raise

    async def receive(self, *, timeout_s: float, operation: str) -> Payload:
        frames = self._usable(operation)
        self.uses += 1
        try:
            with self._receiving:
                frames.set_timeout(timeout_s)
                opcode, payload = frames.receive()
        except OSError as error:
            raise self._lost(error, timeout_s, operation) from error
        except BaseException:
            # Ctrl-C, for example: the response may still come, and would be taken for the next one.
            self.hang_up()
            raise
        if (opcode is Opcode.BINARY) != self.is_v2:
            self.drop()
            raise wrong_frame(self.endpoint, opcode, operation, is_v2=self.is_v2)
        return payload

    async def close(self, last_message: str) -> None:
        await close_gracefully(self, last_message)

    def expire(self, timeout_s: float, operation: str) -> EndpointError:
        return self._lost(TimeoutError(), timeout_s, operation)

    def exchange_memory(self, other: memoryview) -> memoryview:
        return self._usable("receive").exchange_memory(other)

    def answer_pings(self) -> None:
        """Answer the server's pings while nobody receives. Any thread may call it."""
        frames = self._frames
        if frames is None:
            return
        is_mine = False
        try:
            is_mine = self._receiving.acquire(blocking=False)
            if is_mine:
                frames.answer_pings(may_read=not self.has_pending)
        except OSError:
            return  # the next user of the connection finds that it broke
        except BaseException:
            self.drop()  # Ctrl-C, for example: a part of a pong may be on its way
            raise
        finally:
            if is_mine:
                self._receiving.release()

    def hang_up(self) -> None:
        try:
            if self._frames is not None and self.is_open and self.sends_close:
                self._frames.set_timeout(CLOSE_TIMEOUT_S)
                self._frames.send_close()
        finally:
            self.drop()  # after a second Ctrl-C too

    def drop(self) -> None:
        if self._frames is not None:
            raw = self._frames.raw
            self._frames = None
            raw.close()

    def _usable(self, operation: str) -> FrameSocket:
        if self._frames is None:
            raise closed_error(self.endpoint, operation)
        return self._frames

    def _lost(self, error: OSError, timeout_s: float, operation: str) -> EndpointError:
        """Let go of the socket after a failure; the error to raise for it."""
        if is_timeout(error):
            self.hang_up()
        else:
            self.drop()
        return session_error(self.endpoint, error, operation, timeout_s, self._sent)

    def __del__(self) -> None:
        if getattr(self, "_frames", None) is not None:  # missing if the handshake failed
            with contextlib.suppress(OSError):  # in a cycle, the socket may be collected first
                self.hang_up()


class OpeningStream:
    """A blocking socket to an endpoint until its handshakes are over, which has to be by a deadline.

    Opens the socket, with a proxy's tunnel and with TLS if the route needs them. As a context manager it
    closes the socket if the block fails. `http.client` may use it in place of a socket.

    Args:
        route: The way to the endpoint.
        deadline: The time for everything that is done with it.

    Attributes:
        raw: The socket.

    Raises:
        ProxyRefusedError: The proxy refuses.
        BadHandshakeError: The proxy does not speak HTTP.
        OSError: There is no connection.
    """

    def __init__(self, route: Route, deadline: Deadline) -> None:
        self._deadline = deadline
        self.raw: socket.socket = _open_socket(*route.first_hop, deadline)
        with self:
            self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            run(open_tunnel(self, route))
            if route.tls is not None:
                self.limit()
                self.raw = route.tls.wrap_socket(self.raw, server_hostname=route.host)

    def limit(self) -> None:
        """Limit the next call to the time that is left."""
        self.raw.settimeout(self._deadline.left_s())

    async def send(self, data: bytes) -> None:
        self.sendall(data)

    async def receive(self) -> bytes:
        self.limit()
        return self.raw.recv(CHUNK_SIZE)

    # What `http.client` calls.

    def sendall(self, data: bytes) -> None:
        for begin in range(0, len(data), _SENT_AT_ONCE):
            self.limit()  # over TLS, each part of what is sent at once may take as long
            self.raw.sendall(data[begin : begin + _SENT_AT_ONCE])

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        pass  # the response is still to be read

    def __enter__(self) -> OpeningStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.raw.close()


class _Incoming(io.RawIOBase):
    """The bytes that a stream receives by its deadline, as a file."""

    def __init__(self, stream: OpeningStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._stream.limit()
        return self._stream.raw.recv_into(buffer)


def _open_socket(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Connect to the first address of a host that can be reached, each in its share of the time."""

    async def connect(raw: socket.socket, address: Any, addresses_left: int) -> None:
        raw.settimeout(deadline.left_s() / addresses_left)
        raw.connect(address)

    return run(open_socket(host, look_up(host, port).result(deadline.left_s()), connect))


def with_cookies(endpoint: Endpoint, path: str, call: Callable[[], T]) -> T:
    """Make a request; once more if it is refused along with a cookie, which the second one then has.

    Args:
        endpoint: The server.
        path: The request's path below the base URL.
        call: Makes the request.
    """
    before = endpoint.cookies.header(path)
    try:
        return call()
    except EndpointError:
        if endpoint.cookies.header(path) == before:
            raise
    return call()


def _connect(
    endpoint: Endpoint, route: Route, deadline: Deadline, offers_v2: bool
) -> tuple[socket.socket, dict[str, str], bytes, SharedMemory | None]:
    """Open a socket and do the handshakes.

    Returns:
        The socket, the response's headers, the bytes after it, and memory that is shared with the server.
    """
    try:
        with OpeningStream(route, deadline) as stream:
            headers, received = run(open_websocket(stream, endpoint, route, offers_v2=offers_v2))
            if (moved := _move(stream.raw, headers, deadline)) is None:
                return stream.raw, headers, received, None
            stream.raw.close()
            raw, memory = moved
            return raw, headers, received, memory
    except (OSError, ValueError) as error:
        if isinstance(error, EndpointError):
            raise
        raise connect_error(endpoint, error, HANDSHAKE, deadline.timeout_s) from bare(error)


def _move(
    tcp: socket.socket, headers: dict[str, str], deadline: Deadline
) -> tuple[socket.socket, SharedMemory | None] | None:
    """Move to the server's Unix socket after the handshake, if it offers one that can be reached."""

    async def connect(raw: socket.socket, path: str) -> None:
        raw.settimeout(min(deadline.left_s(), unix_socket.TIMEOUT_S))
        raw.connect(path)

    async def exchange(raw: socket.socket, data: bytes, size: int) -> bytes:
        raw.sendall(data)
        return raw.recv(size)

    raw = run(unix_socket.move_to_unix_socket(tcp, headers, connect, exchange, WITH_MEMORY))
    if raw is None:
        return None
    try:
        return raw, unix_socket.receive_memory(raw)
    except OSError as error:
        log.debug("the server's memory cannot be shared: %s", error)
        raw.close()
        return None
