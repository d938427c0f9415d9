"""The guard in front of all routes: an ASGI middleware, so that no route and no handshake bypasses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from time import perf_counter

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import CloseCode
from openenv_server.errors import ErrorReply, log_error, request_id_of, server_failure
from openenv_server.security.hosts import HostCheck
from openenv_server.security.keys import Keys
from openenv_server.security.origins import ANY, may_come_from, parse_origin
from openenv_server.sessions.counters import Counters
from openenv_server.settings import Settings

# Probes request these paths without a key.
_OPEN_PATHS = frozenset({"/health", "/live", "/ready"})
# There is a key for this path alone.
_METRICS_PATH = "/metrics"
# The route in the metrics of what is not a route: pages, and what is not there.
_OTHER_ROUTE = "other"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_DISCARDED = 2**26
# A body that is large or slow has more time than REQUEST_TIMEOUT, but has to keep coming.
_LEAST_BYTES_PER_S = 1000


class Guard:
    """Refuses requests without the key, by an unknown name, from pages of other origins, or above a limit.

    Exceptions from routes are logged here, and the client receives the error id.

    Args:
        app: The application behind it.
        settings: The limits.
        keys: The keys.
        counters: Counts what it refuses, and the requests and bytes that come in and go out.
        is_open: Whether a request goes to a page that asks for the key itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Keys,
        counters: Counters,
        is_open: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        self._app = app
        self._is_open = is_open
        self._keys = keys
        self._counters = counters
        self._allowed_origins = settings.allowed_origins
        self._host_check = _host_check(settings, keys)
        self._most_bytes = settings.max_message_bytes
        self._request_timeout_s = settings.request_timeout
        self._most_sockets = settings.max_sockets_per_address
        self._sockets: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            self._counters.count_refused(refusal.status_code)
            await _refuse(refusal, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        else:
            await self._serve_request(scope, headers, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        is_request = scope["type"] == "http"
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not (is_request and (path in _OPEN_PATHS or self._is_open(scope))) and not (
            self._keys.may_read_metrics(headers)
            if is_request and path == _METRICS_PATH
            else self._keys.may_come_in(headers)
        ):
            response = _response(
                401, ErrorCode.UNAUTHORIZED, f"This server requires a key: {self._keys.advice()}"
            )
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        hosts = headers.getlist("host")
        if self._host_check is not None and not self._host_check.allows(
            hosts, (scope.get("server") or ("",))[0]
        ):
            return _response(
                403,
                ErrorCode.FORBIDDEN,
                f"This server does not answer to the name {', '.join(hosts)[:200]}: a web page could have "
                "made it point here. Use localhost or an IP address, add the name to ALLOWED_HOSTS, or "
                "require a key with OPENENV_API_KEY",
            )
        if is_request and scope["method"] in _SAFE_METHODS:
            return None
        origins = headers.getlist("origin")
        if not may_come_from(origins, headers.get("host", ""), self._allowed_origins):
            return _response(
                403,
                ErrorCode.FORBIDDEN,
                f"Pages of {', '.join(origins)[:200]} may not use this server. Add their origin to "
                "ALLOWED_ORIGINS to allow them",
            )
        return None

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = scope["client"][0] if scope.get("client") else ""
        if self._sockets[address] >= self._most_sockets:
            message = (
                f"{address} has {self._most_sockets} sockets open, the maximum per address. Close some, "
                "or raise MAX_SOCKETS_PER_ADDRESS on the server"
            )
            self._counters.count_refused(429)
            await _refuse(_response(429, ErrorCode.CAPACITY_REACHED, message), scope, receive, send)
            return
        self._sockets[address] += 1
        traffic = self._counters.on_loop

        async def receive_counting() -> Message:
            message = await receive()
            traffic.received += _size(message)
            return message

        async def send_counting(message: Message) -> None:
            traffic.sent += _size(message)
            await send(message)

        try:
            await self._app(scope, receive_counting, send_counting)
        except WebSocketDisconnect:
            raise
        except Exception as error:
            failure = server_failure(error, "a WebSocket failed", ErrorCode.INTERNAL_ERROR)
            with contextlib.suppress(RuntimeError, OSError):  # it may be closed already
                close = {"code": CloseCode.INTERNAL_ERROR, "reason": failure.message}
                await send({"type": "websocket.close", **close})
        finally:
            self._sockets[address] -= 1
            if not self._sockets[address]:
                del self._sockets[address]

    async def _serve_request(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        has_begun, arrived, traffic = False, perf_counter(), self._counters.on_loop

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            traffic.sent += len(message.get("body", b""))
            await send(message)

        async def receive_counting() -> Message:
            message = await receive()
            traffic.received += len(message.get("body", b""))
            return message

        try:
            body = await _limited_body(headers, receive_counting, self._most_bytes, self._request_timeout_s)
        except TimeoutError:
            message = f"The body took more than {self._request_timeout_s:g} s (REQUEST_TIMEOUT)"
            late = _response(408, ErrorCode.VALIDATION_ERROR, message)
            late.headers["Connection"] = "close"
            await late(scope, receive, send)
            return
        if body is None:
            message = f"The body exceeds the limit of {self._most_bytes:,} bytes (MAX_MESSAGE_BYTES)"
            await _refuse(_response(413, ErrorCode.VALIDATION_ERROR, message), scope, receive, send)
            return
        failed = f"{scope['method']} {scope['path']!r} failed"
        try:
            await self._app(scope, body, send_noting)
        except Exception as error:
            if has_begun:  # the response cannot be replaced, only broken off
                log_error(error, failed, request_id=request_id_of(headers))
                raise
            failure: ErrorReply = server_failure(
                error, failed, ErrorCode.INTERNAL_ERROR, request_id=request_id_of(headers)
            )
            await _response(500, failure.code, failure.message, **failure.details)(scope, receive, send)
        finally:
            route = getattr(scope.get("route"), "path", _OTHER_ROUTE)
            self._counters.request_s(route, "http").add(perf_counter() - arrived)


def _host_check(settings: Settings, keys: Keys) -> HostCheck | None:
    """The check of host names; None if each request shows a key, which no page knows."""
    if keys.are_required and not settings.allowed_hosts:
        return None
    pages = [ANY if origin == ANY else parse_origin(origin)[1] for origin in settings.allowed_origins]
    return HostCheck([*settings.allowed_hosts, *pages], is_strict=bool(settings.allowed_hosts))


async def _limited_body(
    headers: Headers, receive: Receive, most_bytes: int, timeout_s: float
) -> Receive | None:
    """Read a request's body; return a `receive` for it, or None if it is too large.

    Raises:
        TimeoutError: It takes too long.
    """
    length = None if "transfer-encoding" in headers else headers.get("content-length")
    is_too_large = length is not None and int(length) > most_bytes
    body = bytearray()
    latest = asyncio.get_running_loop().time() + timeout_s
    is_last = False
    async with asyncio.timeout_at(latest) as timeout:
        while not (is_too_large or is_last):
            message = await receive()
            if message["type"] != "http.request":
                return receive  # the client left, and nobody reads what it sent
            body += message.get("body", b"")
            is_last = not message.get("more_body", False)
            is_too_large = len(body) > most_bytes
            timeout.reschedule(latest + len(body) / _LEAST_BYTES_PER_S)
    if is_too_large:
        if not is_last:
            await _discard(receive, timeout_s)
        return None
    waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def receive_next() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_next


async def _discard(receive: Receive, timeout_s: float) -> None:
    """Read on for a while: many clients read the response only after they have sent everything."""
    left = _MOST_DISCARDED
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while left > 0:
                message = await receive()
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])


def _size(message: Message) -> int:
    """The bytes of a WebSocket's message; of a text the characters, which are nearly always as many."""
    return len(message.get("bytes") or message.get("text") or b"")


def _response(status: int, code: ErrorCode, message: str, **details: str) -> JSONResponse:
    return JSONResponse({"message": message, "code": code.value, **details}, status)


async def _refuse(response: JSONResponse, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await response(scope, receive, send)
    else:
        # This server can only respond with 403.
        await send({"type": "websocket.close", "code": CloseCode.POLICY_VIOLATION})
