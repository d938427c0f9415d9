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


def parse_response(
    data: bytes, *, is_tunnel: bool = False, at_end: bool = False
) -> tuple[Response, bytes] | None:
    """Read an HTTP response; None if more bytes are needed.

    Args:
        data: Everything received so far.
        is_tunnel: Whether this answers a `connect_request`, whose body is of no interest.
        at_end: Whether nothing more will come, so that a truncated body has to do.

    Returns:
        The response, and the bytes after it: the first frames of a WebSocket.

    Raises:
        BadHandshakeError: The bytes are not an HTTP response.
    """
    head, end, rest = data.partition(_END_OF_HEAD)
    if not end:
        if len(data) > _MAX_HEAD_SIZE or not b"HTTP/".startswith(data[:5]):
            raise BadHandshakeError("the response is not HTTP", data)
        return None
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
    response = Response(int(status[:3]), headers)
    if is_tunnel or response.status == SWITCHING_PROTOCOLS:
        return response, rest
    length = headers.get("content-length", "0")
    size = min(int(length), _MAX_BODY_SIZE) if length.isdecimal() else 0
    if len(rest) < size and not at_end:
        return None
    return response._replace(body=rest[:size]), rest[size:]


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
