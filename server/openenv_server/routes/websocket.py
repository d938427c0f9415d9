"""The WebSocket: version 2 if the client offers it, else version 1, with one session a socket."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from openenv_gym.tracing import Span, find_tracer
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire import v1, v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import CloseCode
from openenv_server.connections.registry import Connections
from openenv_server.connections.transports import AsgiTransport, Inbox, SocketTransport, Transport
from openenv_server.connections.worker import ConnectionWorker
from openenv_server.errors import (
    CapacityReachedError,
    ClientLeftError,
    DeadlinePassedError,
    ErrorReply,
    FactoryFailedError,
    ServerStoppingError,
    StepLimitExceededError,
    refused_action,
    reply_to,
)
from openenv_server.operations.graceful_shutdown import GracefulShutdown
from openenv_server.routes.http import client_of
from openenv_server.serialization import validate_action
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.lifecycle import EndReason
from openenv_server.sessions.session import CLOSE_TIMEOUT_S, Session
from openenv_server.socket_takeover import take_socket
from openenv_server.tools.routes import ToolSessions

log = logging.getLogger("openenv_server")

_V1_ROUTES = frozenset({"step", "reset", "state", "mcp"})


def websocket_routes(
    sessions: Sessions,
    shutdown: GracefulShutdown,
    action_model: type[BaseModel],
    connections: Connections,
    tool_sessions: ToolSessions,
    session_timeout_s: float,
    most_bytes: int,
) -> APIRouter:
    """The route ``/ws``."""
    router = APIRouter()

    @router.websocket("/ws")
    async def session_socket(socket: WebSocket) -> None:
        if v2.SUBPROTOCOL in socket.scope["subprotocols"]:
            await _serve_v2(socket, connections, shutdown, session_timeout_s, most_bytes)
            return
        await socket.accept(headers=[(v1.TIMEOUTS_HEADER.encode(), b"1")])
        client = V1Client(socket, sessions, shutdown, session_timeout_s, most_bytes)
        # The published tool client calls tools over HTTP, and resets the same session here.
        shared = tool_sessions.get(socket.query_params.get("session_id", ""))
        try:
            session = shared
            if session is None:
                session = await client.inbox.unless_left(sessions.open(client_of(socket, "v1")))
        except ClientLeftError as error:
            log.debug("a client left before its session was open: %s", error)
            await client.hang_up()
            return
        except CapacityReachedError as error:
            await client.refuse(reply_to(error, "opening a session failed"), CloseCode.TRY_AGAIN_LATER)
            return
        except FactoryFailedError as error:
            await client.refuse(reply_to(error, "opening a session failed"), CloseCode.INTERNAL_ERROR)
            return
        try:
            is_closing = await client.serve(session, action_model)
        except ClientLeftError as error:
            is_closing = True
            log.debug("%s", error, extra=session.log_fields)
        except WebSocketDisconnect:
            is_closing = False
            log.debug("a client left", extra=session.log_fields)
        finally:
            if shared is None:
                await sessions.close(session, client.inbox.end_reason, client.close_timeout_s)
        if is_closing:
            # Only now, so that a client that has closed one session finds its place free.
            await client.hang_up()

    return router


async def _serve_v2(
    socket: WebSocket,
    connections: Connections,
    shutdown: GracefulShutdown,
    session_timeout_s: float,
    most_bytes: int,
) -> None:
    """Serve version 2 from a connection worker."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    with connections.unix_sockets.offer(socket.scope) as unix:
        try:
            await socket.accept(subprotocol=v2.SUBPROTOCOL, headers=unix.headers)
            raw = await take_socket(socket, on_stopping=connections.leave)
        except WebSocketDisconnect:
            log.debug("a client left in the handshake")
            return
        transport: Transport
        if raw is None:
            transport = AsgiTransport(socket, loop, closed, session_timeout_s, most_bytes)
        else:
            counters = connections.sessions.counters
            frames = FrameSocket(raw, is_client=False, max_size=most_bytes)
            transport = moving = SocketTransport(frames, loop, closed, session_timeout_s, counters)
            unix.allow(
                lambda raw, memory: moving.move_to(
                    FrameSocket(raw, is_client=False, max_size=most_bytes, memory=memory)
                )
            )
        worker = ConnectionWorker(transport, connections, loop, client_of(socket, "v2"))
        connections.start_watchdog()
        with shutdown.closes(worker.leave):
            worker.start()
            await closed.wait()


class V1Client:
    """One client of version 1, which has one session.

    Args:
        socket: Its WebSocket, accepted.
        sessions: The server's sessions.
        shutdown: The server's graceful shutdown.
        session_timeout_s: How long it may be silent, in seconds.
        most_bytes: The maximum size of a message in bytes.

    Attributes:
        inbox: Its messages.
        close_timeout_s: How long its environment may take to close, in seconds.
    """

    def __init__(
        self,
        socket: WebSocket,
        sessions: Sessions,
        shutdown: GracefulShutdown,
        session_timeout_s: float,
        most_bytes: int,
    ) -> None:
        self._socket = socket
        self._sessions = sessions
        self._shutdown = shutdown
        self._most_bytes = most_bytes
        self.inbox: Inbox = Inbox(socket, session_timeout_s)
        self.close_timeout_s: float = CLOSE_TIMEOUT_S
        self._session_timeout_s = session_timeout_s
        self._tracer = find_tracer()
        self._span: Span | None = None

    async def refuse(self, reply: ErrorReply, close_code: int) -> None:
        """Send an error and close the socket."""
        try:
            await self._socket.send_text(self._error(reply))
            await self._socket.close(close_code)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a client that was refused had already left")

    async def hang_up(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the socket."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a client had already left")

    async def serve(self, session: Session, action_model: type[BaseModel]) -> bool:
        """Answer requests until the client closes the session, leaves, or is silent for too long.

        Returns:
            Whether it closed the session, and waits for the socket to be closed.
        """
        with self._shutdown.closes(self.inbox.shut):
            if self._sessions.is_stopping:
                self.inbox.shut()  # the shutdown began while the environment was made
            while True:
                try:
                    frame = await self.inbox.next()
                except TimeoutError:
                    message = (
                        f"The client was silent for {self._session_timeout_s:g} s: the session is closed"
                    )
                    await self.refuse(
                        ErrorReply(ErrorCode.SESSION_ERROR, message, {}), CloseCode.TRY_AGAIN_LATER
                    )
                    return False
                except ServerStoppingError as stopping:
                    # No error message: a published client would take it for the answer to its next request.
                    await self.hang_up(CloseCode.GOING_AWAY, str(stopping))
                    return False
                if frame["type"] == "websocket.disconnect":
                    return False
                text = frame.get("text")
                if text is None:
                    self.inbox.end_reason = EndReason.PROTOCOL_ERROR
                    message = "A binary frame came: version 1 of the protocol has only text frames"
                    await self.refuse(
                        ErrorReply(ErrorCode.INVALID_JSON, message, {}), CloseCode.UNSUPPORTED_DATA
                    )
                    return False
                if len(text) > self._most_bytes or len(text.encode()) > self._most_bytes:
                    self.inbox.end_reason = EndReason.PROTOCOL_ERROR
                    message = (
                        f"A message exceeds the limit of {self._most_bytes:,} bytes (MAX_MESSAGE_BYTES); "
                        "the session is closed"
                    )
                    await self.refuse(ErrorReply(ErrorCode.SESSION_ERROR, message, {}), CloseCode.TOO_BIG)
                    return False
                arrived = perf_counter()
                try:
                    request = v1.decode_request(text)
                except v1.BadRequestError as error:
                    await self._socket.send_text(self._error(ErrorReply(error.code, str(error), {})))
                    continue
                if request.type == "close":
                    self.inbox.end_reason = EndReason.CLIENT_LEFT
                    self.close_timeout_s = min(request.timeout_s or CLOSE_TIMEOUT_S, CLOSE_TIMEOUT_S)
                    return True
                try:
                    answer = await self.inbox.unless_left(self._answer_traced(session, request, action_model))
                except (StepLimitExceededError, DeadlinePassedError) as error:
                    self._sessions.abandon(session, str(error), EndReason.TIMEOUT)
                    await self.refuse(
                        reply_to(error, "a step exceeded the timeout"), CloseCode.INTERNAL_ERROR
                    )
                    return False
                await self._socket.send_text(answer)
                if request.type in _V1_ROUTES:  # others have errors for answers
                    self._sessions.counters.request_s(request.type, "v1").add(perf_counter() - arrived)

    async def _answer_traced(
        self, session: Session, request: v1.Request, action_model: type[BaseModel]
    ) -> str:
        """Answer one request, in a span if this process has set up tracing."""
        if self._tracer is None:
            return await self._answer(session, request, action_model)
        self._span = self._tracer.serve(request.type, 1, self._socket.headers.get("traceparent"))
        try:
            return await self._answer(session, request, action_model)
        finally:
            self._span.end()

    async def _answer(self, session: Session, request: v1.Request, action_model: type[BaseModel]) -> str:
        """Answer one request. If the environment raises, the answer is an error, and the session continues.

        Raises:
            StepLimitExceededError: It took too long. The session is unusable afterwards.
            DeadlinePassedError: It took longer than the client waits. The same.
        """
        action: BaseModel | None = None
        if request.type == "step":
            try:
                action = validate_action(request.data, action_model)
            except ValidationError as error:
                return self._error(refused_action(error))
        try:
            match request.type:
                case "step":
                    return v1.encode_observation(await session.step(action, timeout_s=request.timeout_s))
                case "reset":
                    return v1.encode_observation(await session.reset(request.data, request.timeout_s))
                case "state":
                    return v1.encode_state(await session.state())
                case "mcp":
                    return v1.encode_mcp(await session.mcp(request.data) or {})
                case other:
                    message = f"Unknown message type {other!r}: use reset, step, state, mcp or close"
                    return self._error(ErrorReply(ErrorCode.UNKNOWN_TYPE, message, {}))
        except (StepLimitExceededError, DeadlinePassedError):
            raise
        except Exception as error:
            return self._error(
                reply_to(error, f"the environment raised in {request.type}", **session.log_fields)
            )

    def _error(self, reply: ErrorReply) -> str:
        self._sessions.counters.count_error(reply.code)
        if self._span is not None:
            self._span.fail([reply.message])
        return v1.encode_error(reply.message, reply.code, **reply.details)
