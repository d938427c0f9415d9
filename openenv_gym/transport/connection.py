"""What the session layer needs from a transport: connections to send and receive on, and a clock to sleep by.

The session layer is written once, as coroutines over these protocols. `openenv_gym.transport.blocking` and
`openenv_gym.transport.asynchronous` implement them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from openenv_gym.errors import EndpointError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire.framing import Payload

# The maximum size of a message from a server in bytes: two thousand images of 210x160x3.
MAX_MESSAGE_SIZE = 2**28

# How long to wait for a server that is told to end a session, in seconds.
CLOSE_TIMEOUT_S = 1.0

ArgT = TypeVar("ArgT")


class Connection(Protocol):
    """An open WebSocket to a server, used by one caller at a time.

    After any failure the socket is dropped, so a late response is never read as the response to another
    request. Nothing is sent twice.

    Attributes:
        endpoint: The server.
        is_v2: Whether the server speaks version 2 of the protocol. Messages are binary frames then, and text
            frames otherwise.
        worker: Which of the server's processes this is, and how many it has: (1, 2).
        has_pending: Whether a response is pending. `send` sets it, and the caller resets it.
        has_gateway: Whether something stands between, so that a refused connection says nothing about the
            server.
        sends_close: Whether `hang_up` sends a close frame, so that the server ends the sessions.
        heeds_timeouts: Whether the server takes timeouts with the requests of version 1.
        is_on_one_machine: Whether it is a Unix socket, which nothing is compressed for.
        max_message_size: The maximum size of a message in bytes.
    """

    endpoint: Endpoint
    is_v2: bool
    worker: tuple[int, int]
    has_pending: bool
    has_gateway: bool
    sends_close: bool
    heeds_timeouts: bool = False
    is_on_one_machine: bool = False
    max_message_size: int = MAX_MESSAGE_SIZE

    @property
    def is_open(self) -> bool:
        """Whether a request can be made: not closed, not lost, and not inherited through a fork."""

    async def send(self, message: str | list[Payload], *, timeout_s: float, operation: str) -> None:
        """Send a text message, or the parts of a binary one.

        A connection that turns out to be broken is left for `receive` to report: a server that refuses a
        session says why before it hangs up, and that can still be read.

        Args:
            message: The message.
            timeout_s: How long the server may take to accept it, in seconds.
            operation: The request's name in errors: "step 12".

        Raises:
            DeadlineExceededError: The server did not accept it in time.
            SessionLostError: The connection is closed.
        """

    async def receive(self, *, timeout_s: float, operation: str) -> Payload:
        """Wait for the next message.

        A large one may be in memory that the next one overwrites: see `exchange_memory`.

        Args:
            timeout_s: How long to wait for the whole message, in seconds.
            operation: The request's name in errors.

        Raises:
            DeadlineExceededError: No message in time.
            SessionLostError: The connection broke (``retryable``), or one side closed it because of what the
                other sent, or the server is going away (not ``retryable``).
            ProtocolError: The frame is not of the kind that the protocol's version has.
        """

    async def close(self, last_message: str) -> None:
        """End the session and the connection. Safe to call again.

        The server hangs up once the session's place is free. This waits for it, for a second at most.

        Args:
            last_message: Asks the server to end the session.
        """

    def hang_up(self) -> None:
        """Close the connection with a close frame: the server need not keep its sessions."""

    def drop(self) -> None:
        """Close the socket without a close frame. After a fork, the parent's connection stays intact."""

    def expire(self, timeout_s: float, operation: str) -> EndpointError:
        """Hang up because a response did not arrive in time; return the error that `receive` would raise."""

    def exchange_memory(self, other: memoryview) -> memoryview:
        """Take over the memory of the last large message, and provide other memory for the next ones."""


class Transport(Protocol):
    """How the session layer opens connections and waits."""

    async def connect(self, endpoint: Endpoint, *, timeout_s: float, offers_v2: bool = True) -> Connection:
        """Open a connection.

        Args:
            endpoint: The server.
            timeout_s: The time for the TCP, TLS and WebSocket handshakes, in seconds.
            offers_v2: Whether to offer version 2 of the protocol.

        Raises:
            EndpointUnreachableError: Nothing answers there.
            DeadlineExceededError: The handshake took too long.
            NotAnOpenEnvServerError: Something answers, but has no WebSocket at ``/ws``.
            AccessRefusedError: The server refuses the connection.
            UntrustedServerError: The server's certificate is not trusted.
        """

    async def sleep(self, seconds: float) -> None:
        """Sleep."""

    async def run_blocking(self, call: Callable[[ArgT], None], argument: ArgT) -> None:
        """Call a function that may block for a while, without blocking an event loop."""


async def close_gracefully(connection: Connection, last_message: str) -> None:
    """Implement `Connection.close` with the other methods."""
    deadline = time.monotonic() + CLOSE_TIMEOUT_S
    if connection.is_open:
        # Whatever fails here, the server is gone, and then there is nothing to close.
        with contextlib.suppress(EndpointError):
            await connection.send(last_message, timeout_s=CLOSE_TIMEOUT_S, operation="close")
            while (left_s := deadline - time.monotonic()) > 0:
                await connection.receive(timeout_s=left_s, operation="close")
    connection.drop()
