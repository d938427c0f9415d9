"""One WebSocket, used by one caller at a time: a request, then its answer."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

import websocket

from openenv_gym.errors import DeadlineExceededError, ProtocolError, SessionLostError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import not_openenv, unreachable

_NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_LEAVE_TAKING_TIMEOUT_S = 1.0


class Connection:
    """An open WebSocket to a server, which is one session there.

    Args:
        endpoint: The server.
        connect_timeout_s: The time for the TCP, TLS and WebSocket handshakes, in seconds.

    Raises:
        EndpointUnreachableError: Nothing answers there.
        DeadlineExceededError: The handshake took too long.
        NotAnOpenEnvServerError: Something answers, but has no WebSocket at ``/ws``.
    """

    def __init__(self, endpoint: Endpoint, *, connect_timeout_s: float) -> None:
        self.endpoint = endpoint
        self._process = os.getpid()
        try:
            self._socket: websocket.WebSocket | None = websocket.create_connection(
                endpoint.websocket_url,
                timeout=connect_timeout_s,
                sockopt=_NO_DELAY,
                # Decoding the text checks it as well, and not in Python.
                skip_utf8_validation=True,
            )
        except (websocket.WebSocketTimeoutException, TimeoutError) as error:
            raise DeadlineExceededError(
                f"{endpoint} did not open a WebSocket within {connect_timeout_s:g} s"
            ) from error
        except websocket.WebSocketBadStatusException as error:
            raise not_openenv(endpoint, f"it answers {error.status_code} at /ws") from error
        except websocket.WebSocketException as error:
            raise not_openenv(endpoint, f"no WebSocket at /ws ({error})") from error
        except OSError as error:
            raise unreachable(endpoint, error) from error

    @property
    def is_open(self) -> bool:
        """Whether a request can be made: not closed, not lost, and not inherited through a fork."""
        return self._socket is not None and self._process == os.getpid()

    @property
    def raw_socket(self) -> socket.socket:
        """The socket, to wait on until there is something to read."""
        assert self._socket is not None
        assert self._socket.sock is not None
        raw: socket.socket = self._socket.sock
        return raw

    def send(self, message: str, *, timeout_s: float, what: str) -> None:
        """Sends a message; `receive` gets its answer. Takes and raises what `receive` does."""
        with self._dropped_after_a_failure(timeout_s, what):
            assert self._socket is not None
            self._socket.settimeout(timeout_s)
            self._send(message)

    def receive(self, *, timeout_s: float, what: str) -> str:
        """Waits for the answer to the message that was sent.

        After any failure the socket is dropped, so that a late answer is never read as the answer to
        another request. Nothing is sent twice.

        Args:
            timeout_s: The time until the answer is here, in seconds.
            what: The request's name in an error message ("step 12").

        Raises:
            DeadlineExceededError: No answer in time.
            SessionLostError: The connection broke.
            ProtocolError: The answer is not a text frame.
        """
        with self._dropped_after_a_failure(timeout_s, what):
            return self._receive(time.monotonic() + timeout_s)

    @contextlib.contextmanager
    def _dropped_after_a_failure(self, timeout_s: float, what: str) -> Iterator[None]:
        if self._socket is None or not self.is_open:
            raise SessionLostError(
                f"The connection to {self.endpoint} is closed; call reset for a new session"
            )
        try:
            yield
        except (websocket.WebSocketTimeoutException, TimeoutError) as error:
            self.drop()
            raise DeadlineExceededError(
                f"{self.endpoint} did not answer {what} within {timeout_s:g} s. The session is dropped, as a "
                "late answer could be mistaken for the next one; call reset for a new session."
            ) from error
        except (websocket.WebSocketException, OSError) as error:
            self.drop()
            raise SessionLostError(
                f"The connection to {self.endpoint} broke during {what} ({error}), and its session is gone; "
                "call reset for a new session."
            ) from error
        except UnicodeDecodeError as error:
            self.drop()
            raise ProtocolError(f"{self.endpoint} answered {what} with text that is not UTF-8") from error
        except ProtocolError:
            self.drop()
            raise

    def _send(self, message: str) -> None:
        """Sends a request.

        A server that refuses a session says why and hangs up. Sending then fails, but the refusal can still
        be read: so a failure here is left for `_receive` to find.
        """
        assert self._socket is not None
        with contextlib.suppress(websocket.WebSocketConnectionClosedException, ConnectionError):
            self._socket.send(message)

    def _receive(self, deadline: float) -> str:
        """The next text frame. Pings, which are answered on the way, do not move the deadline."""
        assert self._socket is not None
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_TEXT:
                return frame.data.decode() if isinstance(frame.data, bytes) else str(frame.data)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise websocket.WebSocketConnectionClosedException(
                    f"the server closed it{_reason(frame.data)}"
                )
            if opcode == websocket.ABNF.OPCODE_BINARY:
                raise ProtocolError(
                    f"{self.endpoint} sent a binary frame, which version 1 of the protocol does not have; "
                    "the session is dropped"
                )

    def close(self, farewell: str) -> None:
        """Ends the session and the connection. Safe to call again.

        The server hangs up when the session's place is free, and this waits for it, a second at most.

        Args:
            farewell: A last message that tells the server.
        """
        if self._socket is None or not self.is_open:
            self.drop()
            return
        deadline = time.monotonic() + _LEAVE_TAKING_TIMEOUT_S
        # Whatever fails here, the server is gone already, which is what closing is for.
        with contextlib.suppress(websocket.WebSocketException, OSError, ProtocolError):
            self._socket.settimeout(_LEAVE_TAKING_TIMEOUT_S)
            self._socket.send(farewell)
            while time.monotonic() < deadline:
                self._receive(deadline)
        self.drop()

    def drop(self) -> None:
        """Lets go of the socket without a word. After a fork this leaves the parent's session untouched."""
        if self._socket is not None:
            raw = self._socket.sock
            self._socket = None
            if raw is not None:
                raw.close()


def _reason(close_frame_data: bytes) -> str:
    """What a close frame says, after its two bytes of status code (RFC 6455, section 5.5.1)."""
    reason = close_frame_data[2:].decode(errors="replace")
    return f": {reason}" if reason else ""
