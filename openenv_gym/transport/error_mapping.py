"""The one table from what sockets, TLS and HTTP raise to our errors."""

from __future__ import annotations

import errno
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from openenv_gym.errors import (
    CALL_RESET,
    AccessRefusedError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    NotAnOpenEnvServerError,
    ProtocolError,
    SessionLostError,
    UnauthorizedError,
    UntrustedServerError,
)
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.routes import Proxy, Route, route_to
from openenv_gym.wire import bearer
from openenv_gym.wire.framing import BadFrameError, CloseCode, Opcode, Payload, PeerClosedError
from openenv_gym.wire.handshake import BadHandshakeError

HANDSHAKE = "the handshake at /ws"
# The header Server of whatever serves OpenEnv; gateways put their own name there.
OUR_SERVER = "uvicorn"

# The peer closed the connection because of what it got, and would again; or it goes away on purpose.
_FINAL_CODES = (
    CloseCode.PROTOCOL_ERROR,
    CloseCode.POLICY_VIOLATION,
    CloseCode.TOO_BIG,
    CloseCode.GOING_AWAY,
)
_MAX_SHOWN = 500

# A gateway's statuses for a server behind it that does not answer: 5xx of RFC 9110, and those of Cloudflare.
_AWAY = frozenset({502, 503, 504, *range(520, 525), 530})
# A connection that was accepted, and then cut.
_CUT = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a server answers to a handshake that reached it as a plain GET.
_NO_UPGRADE = frozenset({200, 400, 404, 405, 426})
# How nginx, Apache and Go describe a plain request to a port with TLS.
_TLS_WANTED = re.compile(rb"https (port|server)|ssl-enabled", re.IGNORECASE)
# How OpenSSL calls bytes that are not TLS.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})
_TLS_ALERT = b"\x15\x03"


# A text message, or the parts of a binary one.
Message = str | Sequence[Payload]


class HungUpError(ConnectionResetError):
    """The peer closed the connection without an answer."""


class ProxyRefusedError(ValueError):
    """A proxy does not open a tunnel.

    Args:
        proxy: The proxy.
        status: What it answers to ``CONNECT``.
    """

    def __init__(self, proxy: Proxy, status: int) -> None:
        super().__init__(f"the proxy {proxy} answers {status} to CONNECT")
        self.status = status


def connect_error(endpoint: Endpoint, error: Exception, operation: str, timeout_s: float) -> EndpointError:
    """Map an error from opening a connection, or from a request over HTTP."""
    if isinstance(error, ProxyRefusedError):
        return _proxy_refused(endpoint, error, operation)
    if isinstance(error, BadHandshakeError):
        if error.received.startswith(_TLS_ALERT):
            return _wrong_scheme(endpoint, operation, speaks_tls=True)
        finding = f"no WebSocket at /ws ({error})" if operation == HANDSHAKE else str(error)
        return not_openenv(endpoint, finding, operation)
    if isinstance(error, HungUpError) or (isinstance(error, OSError) and error.errno in _CUT):
        return _hung_up(endpoint, operation)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return EndpointUnreachableError(
            f"This process has no file descriptor left to connect to {where(endpoint)}: {error.strerror}.",
            advice="Raise its limit with `ulimit -n`, or close what it has open. A RemoteVectorEnv needs one "
            "connection for all of its slots.",
            endpoint=endpoint.base_url,
            operation=operation,
        )
    if is_timeout(error):
        what = "open a WebSocket" if operation == HANDSHAKE else f"answer {operation}"
        return DeadlineExceededError(
            f"{where(endpoint)} did not {what} within {timeout_s:g} s.",
            advice=_proxy_advice(endpoint),
            endpoint=endpoint.base_url,
            operation=operation,
        )
    return unreachable(endpoint, error, operation)


def session_error(
    endpoint: Endpoint, error: OSError, operation: str, timeout_s: float, sent: Message = ()
) -> EndpointError:
    """Map an error from an open connection, whose session is lost with it.

    Args:
        endpoint: The server.
        error: The error.
        operation: The request that was pending.
        timeout_s: How long its response was waited for, in seconds.
        sent: The last message to the server.
    """
    if is_timeout(error):
        return DeadlineExceededError(
            f"{where(endpoint)} did not answer {operation} within {timeout_s:g} s. The session is dropped, "
            "because a late answer could be mistaken for the next one.",
            advice=CALL_RESET,
            endpoint=endpoint.base_url,
            operation=operation,
        )
    server = where(endpoint)
    message = f"The connection to {server} broke during {operation} ({error}), and its session is gone."
    advice = CALL_RESET
    is_final = isinstance(error, BadFrameError) or (
        isinstance(error, PeerClosedError) and error.code in _FINAL_CODES and not _is_gateways(error)
    )
    if isinstance(error, PeerClosedError) and error.code == CloseCode.TOO_BIG:
        message = (
            f"{server} closed the session during {operation}: the message of {_size(sent)} bytes is larger "
            "than it takes."
        )
        advice = (
            "Send less, or raise the server's limit: MAX_MESSAGE_BYTES for `openenv serve` (64 MiB), "
            "--ws-max-size for a plain uvicorn (16 MiB)."
        )
    elif isinstance(error, BadFrameError) and error.code is CloseCode.TOO_BIG:
        message = f"{server} answered {operation} with too much ({error.reason}), and its session is gone."
        advice = "Make the observations smaller, or divide the slots among several servers."
    return SessionLostError(
        message, retryable=not is_final, advice=advice, endpoint=endpoint.base_url, operation=operation
    )


def closed_error(endpoint: Endpoint, operation: str) -> SessionLostError:
    """The error for using a closed connection."""
    return SessionLostError(
        f"The connection to {endpoint} is closed.", endpoint=endpoint.base_url, operation=operation
    )


def wrong_frame(endpoint: Endpoint, opcode: Opcode, operation: str, *, is_v2: bool) -> ProtocolError:
    """The error for a frame of the wrong kind."""
    return ProtocolError(
        f"{endpoint} sent a {opcode.name.lower()} frame, which version {2 if is_v2 else 1} of the protocol "
        "does not have; the session is dropped.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def is_timeout(error: BaseException) -> bool:
    """Whether a wait took too long. The kernel's ETIMEDOUT is something else: the machine is gone."""
    return isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT


def refused(
    endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes | None, operation: str
) -> EndpointError:
    """Map an HTTP status other than success.

    Args:
        endpoint: The server.
        status: The status.
        headers: The headers of the response, by lower-case name.
        body: The body of the response, which may give the reason.
        operation: The request: "GET /schema".
    """
    context: dict[str, Any] = {"endpoint": endpoint.base_url, "operation": operation}
    if status in _REDIRECTS:
        return _redirected(endpoint, status, headers.get("location", ""), operation)
    if status in _AWAY:
        if headers.get("server") == OUR_SERVER or _message_in(body):
            message = f"{where(endpoint)} answers {status} to {operation}: {_reason(body)}"
        else:
            message = (
                f"A gateway answers {status} to {operation} at {where(endpoint)}: it is there, and the "
                f"server behind it is not{_server_header(headers)}."
            )
        return EndpointUnreachableError(
            message,
            advice="The server may be starting or restarting; capacity_timeout_s= waits for it.",
            **context,
        )
    if status == 400 and endpoint.base_url.startswith("http:") and _TLS_WANTED.search(body or b""):
        return _wrong_scheme(endpoint, operation, speaks_tls=True)
    if status == 401:
        shows_key = endpoint.credentials.shows_key
        return UnauthorizedError(
            f"{endpoint} {'rejects the key' if shows_key else 'asks for a key'} ({operation}).",
            advice=f"{'Check' if shows_key else 'Pass'} api_key=, or set {bearer.VARIABLE}.",
            **context,
        )
    if status in (403, 429):
        return AccessRefusedError(
            f"{where(endpoint)} answers {status} to {operation}: {_reason(body)}", **context
        )
    if status == 421:
        return AccessRefusedError(
            f"{where(endpoint)} answers 421 to {operation}: a load balancer does not know which server the "
            "request is for.",
            advice="Cookies that it sets are sent back. If it wants another one, pass it in "
            'headers={"Cookie": …}.',
            **context,
        )
    if status == 404 and _is_space(endpoint) and not endpoint.credentials.shows_key:
        return AccessRefusedError(
            f"{endpoint} answers 404 to {operation}: the Space does not exist, or it is private.",
            advice="A private Space needs the token of HF_TOKEN or `hf auth login`, which goes to a Space "
            'that is named by its id: gym.make("openenv/remote", space="OWNER/NAME"), or '
            "`openenv register NAME --space OWNER/NAME`.",
            **context,
        )
    if status in _NO_UPGRADE and operation == HANDSHAKE:
        return NotAnOpenEnvServerError(
            f"{where(endpoint)} answers {status} to {operation} and opens no WebSocket"
            f"{_server_header(headers)}.",
            advice=f"If GET {endpoint}/schema answers, a proxy in between drops the headers Upgrade and "
            "Connection: let it pass WebSockets on (docs/proxies.md). Otherwise check the URL.",
            **context,
        )
    return not_openenv(endpoint, f"it answers {status} to {operation}", operation)


def unreachable(endpoint: Endpoint, reason: object, operation: str) -> EndpointError:
    """The error for an endpoint where nothing answers, or nothing trustworthy."""
    context: dict[str, Any] = {"endpoint": endpoint.base_url, "operation": operation}
    if isinstance(reason, ssl.SSLCertVerificationError):
        return UntrustedServerError(
            f"The certificate of {endpoint} is not trusted: {reason.verify_message}.",
            advice="If a private authority issued it, pass its PEM file as ca_file=; if it is for another "
            "host name, use that name.",
            **context,
        )
    has_hung_up = isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if isinstance(reason, ssl.SSLError) and not has_hung_up:
        if reason.reason in _NOT_TLS:
            return _wrong_scheme(endpoint, operation, speaks_tls=False)
        return EndpointError(f"The TLS handshake with {where(endpoint)} failed: {reason.reason}.", **context)
    return EndpointUnreachableError(
        f"Nothing answers at {where(endpoint)}: {reason}.",
        advice=_proxy_advice(endpoint)
        or "Is the server running, and is the port right? `openenv-gym list` shows the known "
        "servers, `openenv-gym serve` starts one.",
        **context,
    )


def _is_gateways(error: PeerClosedError) -> bool:
    """Whether a gateway closed the connection.

    When Caddy restarts or reloads, it uses the code of a server that stops, but gives no reason.
    """
    return error.code == CloseCode.GOING_AWAY and not error.reason


def _hung_up(endpoint: Endpoint, operation: str) -> EndpointError:
    """The error for a connection that ends before the first byte of a response."""
    other = _with_other_scheme(endpoint.base_url)
    return EndpointUnreachableError(
        f"{where(endpoint)} accepts connections, but closed this one without an answer to {operation}.",
        advice=_proxy_advice(endpoint)
        or "The server may be starting or stopping, or have no file descriptors left, which its log says "
        f"(ulimit -n). If its port is for {urlsplit(other).scheme}, make {other} the base URL.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def not_openenv(endpoint: Endpoint, finding: str, operation: str) -> NotAnOpenEnvServerError:
    """The error for an endpoint that answers, but not like an OpenEnv server."""
    advice = "Check the URL; an OpenEnv server answers GET /schema with its action and observation."
    return NotAnOpenEnvServerError(
        f"{where(endpoint)} is not an OpenEnv server: {finding}.",
        advice=f"{advice} {_proxy_advice(endpoint)}".rstrip(),
        endpoint=endpoint.base_url,
        operation=operation,
    )


def where(endpoint: Endpoint) -> str:
    """An endpoint for a message, with the proxy that leads to it."""
    proxy = route_to(endpoint).proxy
    return str(endpoint) if proxy is None else f"{endpoint} (through the proxy {proxy})"


def _proxy_advice(endpoint: Endpoint) -> str:
    """What to do about the proxy that leads to an endpoint; "" if none does."""
    route = route_to(endpoint)
    return "" if route.proxy is None else f"To connect without the proxy, add {route.host} to NO_PROXY."


def _proxy_refused(endpoint: Endpoint, error: ProxyRefusedError, operation: str) -> EndpointError:
    route: Route = route_to(endpoint)
    context: dict[str, Any] = {"endpoint": endpoint.base_url, "operation": operation}
    target, direct = f"{route.host}:{route.port}", _proxy_advice(endpoint)
    if error.status == 407:
        return AccessRefusedError(
            f"Cannot reach {endpoint}: {error}, so it requires a user and a password.",
            advice=f"Put them into the proxy's URL: http://USER:PASSWORD@HOST:PORT. {direct}",
            **context,
        )
    if error.status in (403, 405):
        return AccessRefusedError(
            f"Cannot reach {endpoint}: {error} {target}.",
            advice=f"Many proxies allow CONNECT to port 443 only. {direct}",
            **context,
        )
    return EndpointUnreachableError(
        f"Nothing answers at {endpoint}: {error} {target}.",
        advice=f"Is the host name right, and is the server running? {direct}",
        **context,
    )


def _redirected(endpoint: Endpoint, status: int, location: str, operation: str) -> EndpointError:
    """The error for a redirect, which is not followed: the other server would get the key."""
    path = "/ws" if operation == HANDSHAKE else operation.partition(" ")[2]
    target = urlsplit(urljoin(f"{endpoint}{path}", location))
    scheme = {"ws": "http", "wss": "https"}.get(target.scheme, target.scheme)
    url = f"{scheme}://{target.netloc}{target.path.rstrip('/').removesuffix(path)}"
    return NotAnOpenEnvServerError(
        f"{where(endpoint)} answers {status} to {operation}: it redirects to {url}.",
        advice=f"If that is the server, make {url} the base URL. Redirects are not followed, because the "
        "other server would get the key.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def _wrong_scheme(endpoint: Endpoint, operation: str, *, speaks_tls: bool) -> NotAnOpenEnvServerError:
    finding = "expects TLS, and got a plain request" if speaks_tls else "does not speak TLS"
    return NotAnOpenEnvServerError(
        f"The port of {where(endpoint)} {finding} ({operation}).",
        advice=f"Make {_with_other_scheme(endpoint.base_url)} the base URL.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def _with_other_scheme(base_url: str) -> str:
    scheme, _, rest = base_url.partition(":")
    return f"{'http' if scheme == 'https' else 'https'}:{rest}"


def _size(message: Message) -> str:
    size = len(message.encode()) if isinstance(message, str) else sum(map(len, message))
    return f"{size:,}"


def _server_header(headers: Mapping[str, str]) -> str:
    """What answers, if it says so."""
    name = headers.get("server")
    return f" (Server: {name[:_MAX_SHOWN]})" if name else ""


def bare(error: Exception) -> Exception:
    """An error without its way through the libraries (60 lines of traceback), to be another one's cause."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _reason(body: bytes | None) -> str:
    """The reason in a refusal: the message of a JSON object, or the first part of the text."""
    text = _message_in(body) or (body or b"").decode(errors="replace").strip()
    return text[:_MAX_SHOWN] or "no reason given"


def _message_in(body: bytes | None) -> str:
    """The message of a server's error; "" if it is not one, as from a gateway."""
    try:
        answer = json.loads(body or b"")
    except (ValueError, RecursionError):
        return ""
    message = answer.get("message") if isinstance(answer, dict) else None
    return message if isinstance(message, str) else ""


def _is_space(endpoint: Endpoint) -> bool:
    return (urlsplit(endpoint.base_url).hostname or "").endswith(".hf.space")
