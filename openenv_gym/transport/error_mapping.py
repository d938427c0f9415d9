"""The one table from what sockets, TLS and HTTP raise to our errors."""

from __future__ import annotations

import errno
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

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
from openenv_gym.wire import bearer
from openenv_gym.wire.framing import BadFrameError, CloseCode, Opcode, PeerClosedError
from openenv_gym.wire.handshake import BadHandshakeError

HANDSHAKE = "the handshake at /ws"

# The peer closed the connection because of what it got, and would again; or it goes away on purpose.
_FINAL_CODES = (CloseCode.PROTOCOL_ERROR, CloseCode.TOO_BIG, CloseCode.GOING_AWAY)
_MAX_SHOWN = 500


def connect_error(endpoint: Endpoint, error: Exception, timeout_s: float) -> EndpointError:
    """Map an error from opening a WebSocket."""
    if isinstance(error, BadHandshakeError):
        return not_openenv(endpoint, f"no WebSocket at /ws ({error})", HANDSHAKE)
    if is_timeout(error):
        return DeadlineExceededError(
            f"{endpoint} did not open a WebSocket within {timeout_s:g} s.",
            endpoint=endpoint.base_url,
            operation=HANDSHAKE,
        )
    return unreachable(endpoint, error, HANDSHAKE)


def session_error(endpoint: Endpoint, error: OSError, operation: str, timeout_s: float) -> EndpointError:
    """Map an error from an open connection, whose session is lost with it."""
    if is_timeout(error):
        return DeadlineExceededError(
            f"{endpoint} did not answer {operation} within {timeout_s:g} s. The session is dropped, because "
            "a late answer could be mistaken for the next one.",
            advice=CALL_RESET,
            endpoint=endpoint.base_url,
            operation=operation,
        )
    is_final = isinstance(error, BadFrameError) or (
        isinstance(error, PeerClosedError) and error.code in _FINAL_CODES
    )
    return SessionLostError(
        f"The connection to {endpoint} broke during {operation} ({error}), and its session is gone.",
        retryable=not is_final,
        endpoint=endpoint.base_url,
        operation=operation,
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


def refused(endpoint: Endpoint, status: int, body: bytes | None, operation: str) -> EndpointError:
    """Map an HTTP status other than success.

    Args:
        endpoint: The server.
        status: The status.
        body: The body of the response, which may give the reason.
        operation: The request: "GET /schema".
    """
    context: dict[str, Any] = {"endpoint": endpoint.base_url, "operation": operation}
    if status == 401:
        shows_key = endpoint.credentials.shows_key
        return UnauthorizedError(
            f"{endpoint} {'rejects the key' if shows_key else 'asks for a key'} ({operation}).",
            advice=f"{'Check' if shows_key else 'Pass'} api_key=, or set {bearer.VARIABLE}.",
            **context,
        )
    if status in (403, 429):
        return AccessRefusedError(f"{endpoint} answers {status} to {operation}: {_reason(body)}", **context)
    if status == 404 and _is_space(endpoint) and not endpoint.credentials.shows_key:
        return AccessRefusedError(
            f"{endpoint} answers 404 to {operation}: the Space does not exist, or it is private.",
            advice="A private Space needs the token of HF_TOKEN or `hf auth login`, which goes to a Space "
            'that is named by its id: gym.make("openenv/remote", space="OWNER/NAME"), or '
            "`openenv register NAME --space OWNER/NAME`.",
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
    return EndpointUnreachableError(
        f"Nothing answers at {endpoint}: {reason}.",
        advice="Is the server running, and is the port right? `openenv list` shows the known servers, "
        "`openenv serve` starts one.",
        **context,
    )


def not_openenv(endpoint: Endpoint, finding: str, operation: str) -> NotAnOpenEnvServerError:
    """The error for an endpoint that answers, but not like an OpenEnv server."""
    return NotAnOpenEnvServerError(
        f"{endpoint} is not an OpenEnv server: {finding}.",
        advice="Check the URL; an OpenEnv server answers GET /schema with its action and observation.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def bare(error: Exception) -> Exception:
    """An error without its way through the libraries (60 lines of traceback), to be another one's cause."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _reason(body: bytes | None) -> str:
    """The reason in a refusal: the message of a JSON object, or the first part of the text."""
    text = (body or b"").decode(errors="replace").strip()
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else text
    return str(message)[:_MAX_SHOWN] or "no reason given"


def _is_space(endpoint: Endpoint) -> bool:
    return (urlsplit(endpoint.base_url).hostname or "").endswith(".hf.space")
