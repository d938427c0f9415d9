"""One WebSocket to a server: requests out, answers in."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time

import websocket

from openenv_gym.errors import (
    CALL_RESET,
    DeadlineExceededError,
    EndpointError,
    ProtocolError,
    SessionLostError,
)
from openenv_gym.transport import keepalive
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frames import FrameSocket, Opcode, Payload
from openenv_gym.transport.http import bare, not_openenv, refused, tls_options, unreachable
from openenv_gym.wire import v2

# The most bytes of a message from a server: two thousand images of 210x160x3.
MAX_MESSAGE_SIZE = 2**28

# How long to wait for a server that is told to end a session, in seconds.
LEAVE_TAKING_TIMEOUT_S = 1.0

_NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


class Connection:
    """An open WebSocket to a server, used by one caller at a time.

    Args:
        endpoint: The server.
        connect_timeout_s: The time for the TCP, TLS and WebSocket handshakes, in seconds.
        offers_v2: Whether to offer version 2 of the protocol.

    Attributes:
        is_v2: Whether the server has taken the offer. Messages are binary frames then, and else text.
        worker: Which of the server's processes this is, and how many there are: (1, 2).
        is_owed: Whether an answer is awaited.
        is_for_good: Whether the server is told when the connection is given up, and ends its sessions.
        uses: How often something was received.

    Raises:
        EndpointUnreachableError: Nothing answers there.
        DeadlineExceededError: The handshake took too long.
        NotAnOpenEnvServerError: Something answers, but has no WebSocket at ``/ws``.
        AccessRefusedError: The server refuses the connection.
        UntrustedServerError: The server's certificate is not trusted.
    """

    def __init__(self, endpoint: Endpoint, *, connect_timeout_s: float, offers_v2: bool = False) -> None:
        self.endpoint = endpoint
        self._process = os.getpid()
        try:
            handshake = websocket.create_connection(
                endpoint.websocket_url,
                timeout=connect_timeout_s,
                sockopt=_NO_DELAY,
                header=_headers(endpoint, offers_v2),
                sslopt=tls_options(endpoint),
                # An origin is a page's, and here is none. A redirect would show another server the headers.
                suppress_origin=True,
                redirect_limit=0,
            )
        except (websocket.WebSocketTimeoutException, TimeoutError) as error:
            raise DeadlineExceededError(
                f"{endpoint} did not open a WebSocket within {connect_timeout_s:g} s"
            ) from bare(error)
        except websocket.WebSocketBadStatusException as error:
            raise refused(endpoint, error.status_code, error.resp_body, "the handshake at /ws") from error
        except websocket.WebSocketConnectionClosedException as error:
            raise unreachable(endpoint, "the connection broke in the handshake") from bare(error)
        except websocket.WebSocketException as error:
            raise not_openenv(endpoint, f"no WebSocket at /ws ({error})") from error
        except OSError as error:
            raise unreachable(endpoint, error) from bare(error)
        headers = handshake.getheaders() or {}
        self.is_v2 = headers.get("sec-websocket-protocol") == v2.SUBPROTOCOL
        self.worker = v2.worker_of(headers.get(v2.WORKER_HEADER))
        self.is_owed = False
        self.is_for_good = True
        self.uses = 0
        self._receiving = threading.Lock()
        assert handshake.sock is not None
        self._frames: FrameSocket | None = FrameSocket(
            handshake.sock, is_client=True, max_size=MAX_MESSAGE_SIZE
        )
        # The processes of a server that has several want the cores for their environments.
        self._frames.may_stay_awake = self.worker[1] == 1
        keepalive.keeper.add(self)

    @property
    def is_open(self) -> bool:
        """Whether a request can be made: not closed, not lost, and not inherited through a fork."""
        return self._frames is not None and self._process == os.getpid()

    @property
    def raw_socket(self) -> socket.socket:
        """The socket, to wait on until there is something to read."""
        assert self._frames is not None
        return self._frames.raw

    @property
    def has_more(self) -> bool:
        """Whether there is something to read already, which `raw_socket` does not tell of."""
        return self._frames is not None and self._frames.has_more

    def send(self, message: str | list[Payload], *, timeout_s: float, what: str) -> None:
        """Sends a text, or the parts of a binary message; `receive` gets the answer. Raises what it does."""
        frames = self._usable()
        with self._receiving:
            self.is_owed = True
        try:
            frames.set_timeout(timeout_s)
            if isinstance(message, str):
                frames.send(message.encode(), opcode=Opcode.TEXT)
            else:
                frames.send(*message)
        except ConnectionError:
            # A server that refuses a session says why and hangs up. Sending then fails, but the refusal can
            # still be read: so this failure is left for `receive` to find.
            return
        except OSError as error:
            raise self._dropped(error, timeout_s, what) from error
        except BaseException:
            self.drop()  # Ctrl-C, say: a part of the message may be on its way
            raise

    def receive(self, *, timeout_s: float, what: str) -> Payload:
        """Waits for the answer to the message that was sent.

        After any failure the socket is dropped, so that a late answer is never read as the answer to
        another request. Nothing is sent twice.

        Args:
            timeout_s: The time until the answer is here, in seconds.
            what: The request's name in an error message ("step 12").

        Raises:
            DeadlineExceededError: No answer in time.
            SessionLostError: The connection broke.
            ProtocolError: The answer is a frame of another kind than the protocol's version has.
        """
        frames = self._usable()
        self.uses += 1
        try:
            with self._receiving:
                frames.set_timeout(timeout_s)
                opcode, payload = frames.receive()
        except OSError as error:
            raise self._dropped(error, timeout_s, what) from error
        except BaseException:
            # Ctrl-C, say: what was waited for may still come, and would be taken for the next answer.
            self.hang_up()
            raise
        if (opcode is Opcode.BINARY) != self.is_v2:
            self.drop()
            raise ProtocolError(
                f"{self.endpoint} sent a {opcode.name.lower()} frame, which version {2 if self.is_v2 else 1} "
                "of the protocol does not have; the session is dropped"
            )
        return payload

    def expire(self, timeout_s: float, what: str) -> EndpointError:
        """Drops the session, as an answer did not come in time; the error that `receive` raises then."""
        return self._dropped(TimeoutError(), timeout_s, what)

    def _usable(self) -> FrameSocket:
        if self._frames is None or self._process != os.getpid():
            raise SessionLostError(f"The connection to {self.endpoint} is closed.")
        return self._frames

    def _dropped(self, error: OSError, timeout_s: float, what: str) -> EndpointError:
        """Lets go of the socket after a failure; the error to raise for it."""
        # The kernel says ETIMEDOUT of a machine that is gone; that is no answer that is late.
        if isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT:
            self.hang_up()
            return DeadlineExceededError(
                f"{self.endpoint} did not answer {what} within {timeout_s:g} s. The session is dropped, as a "
                f"late answer could be mistaken for the next one.",
                advice=CALL_RESET,
            )
        self.drop()
        return SessionLostError(
            f"The connection to {self.endpoint} broke during {what} ({error}), and its session is gone."
        )

    def exchange_memory(self, other: memoryview) -> memoryview:
        """Gives away the memory with the last large message, and takes other memory for the next ones."""
        return self._usable().exchange_memory(other)

    def close(self, farewell: str) -> None:
        """Ends the session and the connection. Safe to call again.

        The server hangs up when the session's place is free, and this waits for it, a second at most.

        Args:
            farewell: A last message that tells the server.
        """
        if not self.is_open:
            self.drop()
            return
        deadline = time.monotonic() + LEAVE_TAKING_TIMEOUT_S
        # Whatever fails here, the server is gone already, which is what closing is for.
        with contextlib.suppress(EndpointError):
            self.send(farewell, timeout_s=LEAVE_TAKING_TIMEOUT_S, what="close")
            while (left_s := deadline - time.monotonic()) > 0:
                self.receive(timeout_s=left_s, what="close")
        self.drop()

    def answer_pings(self) -> None:
        """Answers the pings of a server while nobody receives. Any thread may call it."""
        frames = self._frames
        if frames is None:
            return
        is_mine = False
        try:
            is_mine = self._receiving.acquire(blocking=False)
            if is_mine:
                frames.answer_pings(may_read=not self.is_owed)
        except OSError:
            return  # whoever uses the connection next finds that it is broken
        except BaseException:
            self.drop()  # Ctrl-C, say: a part of a pong may be on its way, or nobody may receive any more
            raise
        finally:
            if is_mine:
                self._receiving.release()

    def hang_up(self) -> None:
        """Closes the connection, and says so: the server need not keep its sessions."""
        try:
            if self._frames is not None and self.is_open and self.is_for_good:
                self._frames.set_timeout(LEAVE_TAKING_TIMEOUT_S)
                self._frames.say_goodbye()
        finally:
            self.drop()  # after a second Ctrl-C too

    def drop(self) -> None:
        """Lets go of the socket without a word. After a fork this leaves the parent's session untouched."""
        if self._frames is not None:
            raw = self._frames.raw
            self._frames = None
            raw.close()

    def __del__(self) -> None:
        if getattr(self, "_frames", None) is not None:  # where the handshake failed, there is none
            self.hang_up()


def _headers(endpoint: Endpoint, offers_v2: bool) -> list[str]:
    # As a plain header, since `subprotocols=` fails where the server takes none of them.
    offer = [("Sec-WebSocket-Protocol", v2.SUBPROTOCOL)] if offers_v2 else []
    return [f"{name}: {value}" for name, value in (*offer, *endpoint.credentials.headers)]
