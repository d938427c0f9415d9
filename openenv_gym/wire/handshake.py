"""The client's opening handshake of a WebSocket (RFC 6455, section 4) as pure functions on bytes."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from typing import NamedTuple

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_END_OF_HEAD = b"\r\n\r\n"
_MAX_HEAD_SIZE = 1 << 16
_MAX_BODY_SIZE = 1 << 16

SWITCHING_PROTOCOLS = 101


class BadHandshakeError(ValueError):
    """The response is not HTTP, or does not accept the WebSocket.

    Args:
        message: What is wrong.
        received: The bytes that are not HTTP.
    """

    def __init__(self, message: str, received: bytes = b"") -> None:
        super().__init__(message)
        self.received = received


class Response(NamedTuple):
    """An HTTP response.

    Attributes:
        status: The status code.
        headers: By lower-case name. Headers of the same name are joined by commas,
            and those of ``Set-Cookie``, which contain commas, by newlines.
        body: Up to 64 KiB of the body, which only a refusal has.
    """

    status: int
    headers: dict[str, str]
    body: bytes = b""


def new_key() -> str:
    """A random value for ``Sec-WebSocket-Key``."""
    return base64.b64encode(os.urandom(16)).decode()


def upgrade_request(host: str, path: str, key: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Ask for a WebSocket.

    Args:
        host: The value of the Host header.
        path: The path, with a slash in front.
        key: From `new_key`.
        headers: Further headers.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return _head(lines)


def connect_request(host: str, authorization: str = "") -> bytes:
    """Ask a proxy for a tunnel to ``HOST:PORT``."""
    lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}"]
    return _head([*lines, f"Proxy-Authorization: {authorization}"] if authorization else lines)


class ResponseParser:
    """Reads an HTTP response from the bytes of a connection, as they arrive.

    Args:
        is_tunnel: Whether this answers a `connect_request`, whose body is of no interest.
    """

    def __init__(self, *, is_tunnel: bool = False) -> None:
        self._is_tunnel = is_tunnel
        self._data = bytearray()  # what was received and is not parsed
        self._response: Response | None = None  # once its head is here
        self._body_size = 0

    def feed(self, data: bytes) -> tuple[Response, bytes] | None:
        """Take bytes; none mean that nothing more will come, so that a truncated body has to do.

        Returns:
            The response, and the bytes after it: the first frames of a WebSocket. None if more are needed.

        Raises:
            BadHandshakeError: The bytes are not an HTTP response.
        """
        searched = max(len(self._data) - len(_END_OF_HEAD), 0)
        self._data += data
        if self._response is None:
            end = self._data.find(_END_OF_HEAD, searched)
            if max(end, len(self._data) if end < 0 else 0) > _MAX_HEAD_SIZE or not b"HTTP/".startswith(
                self._data[:5]
            ):
                raise BadHandshakeError("the response is not HTTP", bytes(self._data))
            if end < 0:
                return None
            self._response = _parse_head(bytes(self._data[:end]))
            self._body_size = 0 if self._is_tunnel else _body_size(self._response)
            del self._data[: end + len(_END_OF_HEAD)]
        size = self._body_size
        if len(self._data) < size and data:
            return None
        return self._response._replace(body=bytes(self._data[:size])), bytes(self._data[size:])


def _parse_head(head: bytes) -> Response:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if not version.startswith("HTTP/") or not status[:3].isdigit():
        raise BadHandshakeError(f"the response starts with {first[:100]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadHandshakeError(f"the response has the header line {line[:100]!r}")
        name, value = name.strip().lower(), value.strip()
        separator = "\n" if name == "set-cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return Response(int(status[:3]), headers)


def _body_size(response: Response) -> int:
    """How many bytes of the body are read."""
    length = response.headers.get("content-length", "0")
    if response.status == SWITCHING_PROTOCOLS or not length.isdecimal() or len(length) > 20:
        return 0
    return min(int(length), _MAX_BODY_SIZE)


def check_upgrade(response: Response, key: str) -> None:
    """Check that a response with status 101 accepts the WebSocket.

    Raises:
        BadHandshakeError: It does not.
    """
    headers = response.headers
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    if headers.get("upgrade", "").lower() != "websocket":
        raise BadHandshakeError("the response has no header 'Upgrade: websocket'")
    if "upgrade" not in headers.get("connection", "").lower().replace(" ", "").split(","):
        raise BadHandshakeError("the response has no header 'Connection: Upgrade'")
    if headers.get("sec-websocket-accept") != accept:
        raise BadHandshakeError("the response has a wrong Sec-WebSocket-Accept")


def _head(lines: Iterable[str]) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1")
