"""The WebSocket: version 1, one session a socket, JSON in text frames; version 2 where a client offers it."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire import v1, v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import CloseCode
from openenv_server.calls import UnknownKeywordsError, in_words, plain_errors
from openenv_server.detaching import take_socket
from openenv_server.draining import Inbox, ServerStoppingError
from openenv_server.incidents import report
from openenv_server.lanes.lane import Lane
from openenv_server.lanes.ports import AsgiPort, Port, SocketPort
from openenv_server.lanes.registry import Lanes
from openenv_server.routes.http import address_of
from openenv_server.sessions import (
    CapacityReachedError,
    FactoryFailedError,
    Session,
    Sessions,
    StepTimeoutError,
)

log = logging.getLogger("openenv_server")

_TRY_AGAIN_LATER = 1013
_INTERNAL_ERROR = 1011
_UNSUPPORTED_DATA = 1003


def websocket_routes(
    sessions: Sessions,
    action_model: type[BaseModel],
    lanes: Lanes,
    session_timeout_s: float,
    most_bytes: int,
) -> APIRouter:
    """The route ``/ws``."""
    router = APIRouter()

    @router.websocket("/ws")
    async def session_socket(socket: WebSocket) -> None:
        if v2.SUBPROTOCOL in socket.scope["subprotocols"]:
            await _serve_lane(socket, lanes, session_timeout_s, most_bytes)
            return
        await socket.accept()
        client = _Client(socket, sessions, session_timeout_s, most_bytes)
        try:
            session = await sessions.open(address_of(socket))
        except CapacityReachedError as error:
            numbers = {"active_sessions": error.active, "max_sessions": error.capacity}
            await client.refuse(str(error), ErrorCode.CAPACITY_REACHED, _TRY_AGAIN_LATER, **numbers)
            return
        except FactoryFailedError as error:
            details = {"factory_name": error.factory_name, "error_id": error.error_id}
            await client.refuse(str(error), ErrorCode.FACTORY_ERROR, _INTERNAL_ERROR, **details)
            return
        try:
            says_goodbye = await client.serve(session, action_model)
        except WebSocketDisconnect:
            says_goodbye = False
            log.debug("a client left", extra=session.log_fields)
        finally:
            await sessions.close(session)
        if says_goodbye:
            # Only now, so that a client that has closed one session finds its place free.
            await client.hang_up()

    return router


async def _serve_lane(socket: WebSocket, lanes: Lanes, session_timeout_s: float, most_bytes: int) -> None:
    """Serves version 2, from a thread of its own."""
    await socket.accept(subprotocol=v2.SUBPROTOCOL)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    raw = await take_socket(socket, on_stopping=lanes.close)
    port: Port
    if raw is None:
        port = AsgiPort(socket, loop, ended, session_timeout_s, most_bytes)
    else:
        frames = FrameSocket(raw, is_client=False, max_size=most_bytes)
        port = SocketPort(frames, loop, ended, session_timeout_s)
    lanes.watch()
    with lanes.sessions.drain.sees_off(partial(lanes.close)):
        Lane(port, lanes, loop, address_of(socket)).start()
        await ended.wait()


class _Client:
    """One client of version 1, which has one session.

    Args:
        socket: Its WebSocket, accepted.
        sessions: The server's sessions.
        session_timeout_s: How long it may be silent, in seconds.
        most_bytes: The most bytes of a message.
    """

    def __init__(
        self, socket: WebSocket, sessions: Sessions, session_timeout_s: float, most_bytes: int
    ) -> None:
        self._socket = socket
        self._sessions = sessions
        self._most_bytes = most_bytes
        self._inbox = Inbox(socket, session_timeout_s)
        self._drain = sessions.drain
        self._count_error = sessions.tally.count_error
        self._session_timeout_s = session_timeout_s

    async def refuse(self, message: str, code: ErrorCode, close_code: int, **details: Any) -> None:
        """Says why, and closes the socket."""
        answer = self._error(message, code, **details)
        try:
            await self._socket.send_text(answer)
            await self._socket.close(close_code)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a client that was refused had left already")

    async def hang_up(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes the socket."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("a client had left before it was hung up on")

    async def serve(self, session: Session, action_model: type[BaseModel]) -> bool:
        """Answers requests until the client says close, leaves, or falls silent for too long.

        Returns:
            Whether it said close, and waits for the socket to be closed.
        """
        with self._drain.sees_off(self._inbox.shut):
            if self._drain.is_under_way:
                self._inbox.shut()  # the environment was made meanwhile
            while True:
                try:
                    frame = await self._inbox.next()
                except TimeoutError:
                    message = f"Nothing came for {self._session_timeout_s:g} s, so the session is closed"
                    await self.refuse(message, ErrorCode.SESSION_ERROR, _TRY_AGAIN_LATER)
                    return False
                except ServerStoppingError as stopping:
                    # No error message: a published client would take one as the answer to its next request.
                    await self.hang_up(CloseCode.GOING_AWAY, str(stopping))
                    return False
                if frame["type"] == "websocket.disconnect":
                    return False
                text = frame.get("text")
                if text is None:
                    message = (
                        "Version 1 of the protocol has text frames only; a binary frame ends the session"
                    )
                    await self.refuse(message, ErrorCode.INVALID_JSON, _UNSUPPORTED_DATA)
                    return False
                if len(text) > self._most_bytes or len(text.encode()) > self._most_bytes:
                    message = f"A message has {self._most_bytes:,} bytes at most (MAX_MESSAGE_BYTES)"
                    message += "; the session is closed"
                    await self.refuse(message, ErrorCode.SESSION_ERROR, CloseCode.TOO_BIG)
                    return False
                try:
                    request = v1.decode_request(text)
                except v1.BadRequestError as error:
                    await self._socket.send_text(self._error(str(error), error.code))
                    continue
                if request.type == "close":
                    return True
                try:
                    answer = await self._answer(session, request, action_model)
                except StepTimeoutError as error:
                    self._sessions.abandon(session)
                    session.submit(partial(self._sessions.settle, session))
                    await self.refuse(str(error), ErrorCode.TIMEOUT, _INTERNAL_ERROR)
                    return False
                await self._socket.send_text(answer)

    async def _answer(self, session: Session, request: v1.Request, action_model: type[BaseModel]) -> str:
        """The answer to one request; an environment that raises is answered with an error, and lives on.

        Raises:
            StepTimeoutError: It took too long. The session is of no use any more.
        """
        action: BaseModel | None = None
        if request.type == "step":
            try:
                action = action_model.model_validate(request.data)
            except ValidationError as error:
                message = f"The action is refused: {in_words(error)}"
                return self._error(message, ErrorCode.VALIDATION_ERROR, errors=plain_errors(error))
        try:
            match request.type:
                case "step":
                    return v1.encode_observation(await session.step(action))
                case "reset":
                    return v1.encode_observation(await session.reset(request.data))
                case "state":
                    return v1.encode_state(await session.state())
                case other:
                    return self._error(
                        f"There is no message of the type {other!r}; there are reset, step, state and close",
                        ErrorCode.UNKNOWN_TYPE,
                    )
        except UnknownKeywordsError as error:
            return self._error(str(error), ErrorCode.VALIDATION_ERROR)
        except StepTimeoutError:
            raise
        except Exception as error:
            error_id = report(error, f"the environment raised in {request.type}", **session.log_fields)
            message = f"{type(error).__name__}: {error}"
            return self._error(message, ErrorCode.EXECUTION_ERROR, error_id=error_id)

    def _error(self, message: str, code: ErrorCode, **details: Any) -> str:
        self._count_error(code)
        return v1.encode_error(message, code, **details)
