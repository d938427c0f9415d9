"""The Model Context Protocol over HTTP (its "streamable HTTP") and over a WebSocket, both at ``/mcp``."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from fastapi import APIRouter, Request, Response, WebSocket, WebSocketDisconnect

from openenv_gym.tool_types import JsonRpcErrorCode
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import CloseCode
from openenv_gym.wire.values import MOST_IN_REQUEST, check_json
from openenv_server.connections.transports import Inbox
from openenv_server.errors import STOPPING, CapacityReachedError, ClientLeftError, FactoryFailedError
from openenv_server.operations.graceful_shutdown import GracefulShutdown
from openenv_server.routes.http import client_of, in_session, json_response
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.lifecycle import Client, EndReason
from openenv_server.sessions.session import Session
from openenv_server.tools.jsonrpc import failure, is_request, success

# With which header a client of the standard names its session.
SESSION_HEADER = "mcp-session-id"
# Published clients name theirs in the params, and open and close it with these.
_CREATE, _CLOSE = "openenv/session/create", "openenv/session/close"
_NOTIFICATION = "notifications/"


class ToolSessions:
    """The sessions of clients that name them, each closed after a time without a request.

    Args:
        sessions: The server's sessions.
        timeout_s: That time, in seconds.
    """

    def __init__(self, sessions: Sessions, timeout_s: float) -> None:
        self._sessions = sessions
        self._timeout_s = timeout_s
        self._known: dict[str, tuple[Session, asyncio.TimerHandle]] = {}
        self._closing: set[asyncio.Task[bool]] = set()

    async def open(self, client: Client) -> str:
        """Open a session; returns its name. Raises what `Sessions.open` does."""
        name = secrets.token_urlsafe(24)
        session = await self._sessions.open(client)
        self._known[name] = session, self._timer(name)
        return name

    def get(self, name: str) -> Session | None:
        """Return a session, and count its silence from now on."""
        if name not in self._known:
            return None
        session, timer = self._known[name]
        timer.cancel()
        self._known[name] = session, self._timer(name)
        return session

    async def close(self, name: str, reason: EndReason = EndReason.CLIENT_LEFT) -> bool:
        """Close a session; returns whether it was open."""
        session, timer = self._known.pop(name, (None, None))
        if session is None or timer is None:
            return False
        timer.cancel()
        await self._sessions.close(session, reason)
        return True

    def close_all(self) -> None:
        """Begin to close all sessions. Call it on the event loop."""
        for name in list(self._known):
            self._close_soon(name, EndReason.DRAIN)

    def _timer(self, name: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._timeout_s, self._close_soon, name, EndReason.IDLE)

    def _close_soon(self, name: str, reason: EndReason) -> None:
        closing = asyncio.get_running_loop().create_task(self.close(name, reason))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def mcp_routes(sessions: Sessions, tool_sessions: ToolSessions, shutdown: GracefulShutdown) -> APIRouter:
    """The routes ``/mcp``."""
    router = APIRouter()

    async def answer(
        http: Request, message: Any, session: Session | None, is_standard: bool
    ) -> dict[str, Any] | None:
        """Answer a request in a session, or in one for this request alone."""
        try:
            if session is not None:
                return await session.mcp(message, is_standard=is_standard)
            return await in_session(http, sessions, lambda session: session.mcp(message), "mcp")
        except (CapacityReachedError, ClientLeftError, FactoryFailedError) as error:
            return failure(message.get("id"), JsonRpcErrorCode.SERVER_ERROR, str(error))

    @router.post("/mcp", tags=["tools"])
    async def post(http: Request) -> Response:
        """A request of JSON-RPC 2.0: `initialize`, `tools/list`, `tools/call`."""
        try:
            message = _parsed(await http.body())
        except (ValueError, RecursionError) as error:
            text = f"Not JSON: {error}"
            return json_response(failure(None, JsonRpcErrorCode.PARSE_ERROR, text))
        if not is_request(message):
            request_id = message.get("id") if isinstance(message, dict) else None
            text = "Not a request of JSON-RPC 2.0"
            return json_response(failure(request_id, JsonRpcErrorCode.INVALID_REQUEST, text))
        request_id, method = message.get("id"), message["method"]
        params = message["params"] if isinstance(message.get("params"), dict) else {}
        if method in ("initialize", _CREATE):
            try:
                name = await tool_sessions.open(client_of(http, "mcp"))
            except (CapacityReachedError, FactoryFailedError) as error:
                return json_response(failure(request_id, JsonRpcErrorCode.SERVER_ERROR, str(error)), 503)
            if method == _CREATE:
                return json_response(success(request_id, {"session_id": name}))
            session = tool_sessions.get(name)
            return json_response(await answer(http, message, session, True), headers={SESSION_HEADER: name})
        named = http.headers.get(SESSION_HEADER) or params.get("session_id")
        session = tool_sessions.get(named) if isinstance(named, str) else None
        if named is not None and session is None:
            text = f"Unknown session {named!r}: it was closed, or the server was restarted"
            status = 404 if SESSION_HEADER in http.headers else 200
            return json_response(failure(request_id, JsonRpcErrorCode.INVALID_PARAMS, text), status)
        if method == _CLOSE:
            closed = isinstance(named, str) and await tool_sessions.close(named)
            return json_response(success(request_id, {"session_id": named, "closed": closed}))
        if method.startswith(_NOTIFICATION):
            return Response(status_code=202)
        return json_response(await answer(http, message, session, SESSION_HEADER in http.headers))

    @router.delete("/mcp", tags=["tools"])
    async def delete(http: Request) -> Response:
        """Close a session."""
        if await tool_sessions.close(http.headers.get(SESSION_HEADER, "")):
            return Response(status_code=204)
        message = f"No such session: name one that is open in the header {SESSION_HEADER}"
        return json_response({"message": message, "code": ErrorCode.UNKNOWN_SESSION.value}, 404)

    @router.websocket("/mcp")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        try:
            session = await sessions.open(client_of(socket, "mcp"))
        except (CapacityReachedError, FactoryFailedError) as error:
            await socket.send_text(json.dumps(failure(None, JsonRpcErrorCode.SERVER_ERROR, str(error))))
            await socket.close()
            return
        inbox = Inbox(socket, None)
        serving = asyncio.create_task(_serve(socket, inbox, session))

        def leave() -> None:
            serving.cancel()

        try:
            with shutdown.closes(leave):
                await serving
        except (WebSocketDisconnect, ClientLeftError):
            pass  # the client has left
        except asyncio.CancelledError:
            if not sessions.is_stopping:
                raise
            inbox.end_reason = EndReason.DRAIN
            await socket.close(CloseCode.GOING_AWAY, STOPPING)
        finally:
            await sessions.close(session, inbox.end_reason)

    return router


async def _serve(socket: WebSocket, inbox: Inbox, session: Session) -> None:
    """Answer the requests of a WebSocket until the client leaves."""
    while True:
        frame = await inbox.next()
        if frame["type"] == "websocket.disconnect":
            return
        response: dict[str, Any] | None
        try:
            message = _parsed(frame.get("text") or frame.get("bytes") or "")
        except (ValueError, RecursionError) as error:
            response = failure(None, JsonRpcErrorCode.PARSE_ERROR, f"Not JSON: {error}")
        else:
            response = await inbox.unless_left(session.mcp(message))
        if response is not None:
            await socket.send_text(json.dumps(response))


def _parsed(text: str | bytes) -> Any:
    """Parse a client's message.

    Raises:
        ValueError: It is not JSON, or has too many values.
        RecursionError: It is nested too deeply.
    """
    check_json(text, MOST_IN_REQUEST)
    return json.loads(text)
