"""The guard in front of all routes: an ASGI middleware, so that no route and no handshake gets past it."""

from __future__ import annotations

import contextlib
from collections import Counter

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from openenv_gym.wire.codes import ErrorCode
from openenv_server.incidents import own_failure, report
from openenv_server.security.bodies import limited
from openenv_server.security.keys import shows_key
from openenv_server.security.origins import may_come_from
from openenv_server.settings import Settings

# Whatever watches a server asks for this, and has no key.
_OPEN_PATH = "/health"
_CHANGES_NOTHING = frozenset({"GET", "HEAD", "OPTIONS"})
_INTERNAL_ERROR = 1011
_POLICY_VIOLATION = 1008


class Guard:
    """Refuses who shows no key, pages of other origins, and what is too much; then passes on.

    What a route raises is logged here, and the client gets an id.

    Args:
        app: What it stands in front of.
        settings: The key and the limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        key = settings.openenv_api_key
        self._key = None if key is None else key.get_secret_value().encode()
        self._allowed_origins = settings.allowed_origins
        self._most_bytes = settings.max_message_bytes
        self._most_sockets = settings.max_sockets_per_address
        self._sockets: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
        else:
            await self._serve_request(scope, headers, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        is_request = scope["type"] == "http"
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if (
            self._key is not None
            and not (is_request and path == _OPEN_PATH)
            and not shows_key(
                [value.encode("latin-1") for value in headers.getlist("authorization")], self._key
            )
        ):
            response = _answer(
                401, ErrorCode.UNAUTHORIZED, "This server asks for a key: Authorization: Bearer KEY"
            )
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if is_request and scope["method"] in _CHANGES_NOTHING:
            return None
        origins = headers.getlist("origin")
        if not may_come_from(origins, headers.get("host", ""), self._allowed_origins):
            return _answer(
                403,
                ErrorCode.FORBIDDEN,
                f"Pages of {', '.join(origins)[:200]} may not use this server; ALLOWED_ORIGINS names those "
                "that may",
            )
        return None

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = scope["client"][0] if scope.get("client") else ""
        if self._sockets[address] >= self._most_sockets:
            message = (
                f"{address} has {self._most_sockets} sockets open, which is as many as an address may have "
                "(MAX_SOCKETS_PER_ADDRESS)"
            )
            await _refuse(_answer(429, ErrorCode.CAPACITY_REACHED, message), scope, receive, send)
            return
        self._sockets[address] += 1
        try:
            await self._app(scope, receive, send)
        except WebSocketDisconnect:
            raise
        except Exception as error:
            reason = own_failure(report(error, "a WebSocket failed"))
            with contextlib.suppress(RuntimeError, OSError):  # it may be closed already
                await send({"type": "websocket.close", "code": _INTERNAL_ERROR, "reason": reason})
        finally:
            self._sockets[address] -= 1
            if not self._sockets[address]:
                del self._sockets[address]

    async def _serve_request(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        body = await limited(headers, receive, self._most_bytes)
        if body is None:
            message = f"A body has {self._most_bytes:,} bytes at most (MAX_MESSAGE_BYTES)"
            await _refuse(_answer(413, ErrorCode.VALIDATION_ERROR, message), scope, receive, send)
            return
        try:
            await self._app(scope, body, send_noting)
        except Exception as error:
            error_id = report(error, f"{scope['method']} {scope['path']!r} failed")
            if has_begun:
                raise  # the answer cannot be taken back, only broken off
            response = _answer(500, ErrorCode.INTERNAL_ERROR, own_failure(error_id), error_id=error_id)
            await response(scope, receive, send)


def _answer(status: int, code: ErrorCode, message: str, **details: str) -> JSONResponse:
    return JSONResponse({"message": message, "code": code.value, **details}, status)


async def _refuse(response: JSONResponse, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await response(scope, receive, send)
    else:
        # A server that can only say 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
