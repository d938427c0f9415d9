"""The WebSocket: version 1, one session a socket, JSON in text frames; version 2 where a client offers it."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from openenv_gym.transport.frames import FrameSocket
from openenv_gym.wire import v1, v2
from openenv_gym.wire.codes import ErrorCode
from openenv_server.calls import UnknownKeywordsError, in_words, plain_errors
from openenv_server.detaching import take_socket
from openenv_server.incidents import report
from openenv_server.lanes.lane import Lane
from openenv_server.lanes.ports import AsgiPort, Port, SocketPort
from openenv_server.lanes.registry import Lanes
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
_TOO_BIG = 1009


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
        try:
            session = await sessions.open()
        except CapacityReachedError as error:
            await _refuse(
                socket,
                v1.encode_error(
                    str(error),
                    ErrorCode.CAPACITY_REACHED,
                    active_sessions=error.active,
                    max_sessions=error.capacity,
                ),
                _TRY_AGAIN_LATER,
            )
            return
        except FactoryFailedError as error:
            answer = v1.encode_error(
                str(error),
                ErrorCode.FACTORY_ERROR,
                factory_name=error.factory_name,
                error_id=error.error_id,
            )
            await _refuse(socket, answer, _INTERNAL_ERROR)
            return
        try:
            says_goodbye = await _serve(
                socket, sessions, session, action_model, session_timeout_s, most_bytes
            )
        except WebSocketDisconnect:
            says_goodbye = False
            log.debug("a client left")
        finally:
            await sessions.close(session)
        if says_goodbye:
            # Only now, so that a client that has closed one session finds its place free.
            await _hang_up(socket)

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
    Lane(port, lanes, loop).start()
    await ended.wait()


async def _refuse(socket: WebSocket, answer: str, code: int) -> None:
    try:
        await socket.send_text(answer)
        await socket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        log.debug("a client that was refused had left already")


async def _hang_up(socket: WebSocket) -> None:
    try:
        await socket.close()
    except (WebSocketDisconnect, RuntimeError):
        log.debug("a client had left already")


async def _serve(
    socket: WebSocket,
    sessions: Sessions,
    session: Session,
    action_model: type[BaseModel],
    session_timeout_s: float,
    most_bytes: int,
) -> bool:
    """Answers requests until the client says close, leaves, or falls silent for too long.

    Returns:
        Whether it said close, and waits for the socket to be closed.
    """
    while True:
        try:
            async with asyncio.timeout(session_timeout_s):
                frame = await socket.receive()
        except TimeoutError:
            message = f"Nothing came for {session_timeout_s:g} s, so the session is closed"
            await _refuse(socket, v1.encode_error(message, ErrorCode.SESSION_ERROR), _TRY_AGAIN_LATER)
            return False
        if frame["type"] == "websocket.disconnect":
            return False
        text = frame.get("text")
        if text is None:
            message = "Version 1 of the protocol has text frames only; a binary frame ends the session"
            await _refuse(socket, v1.encode_error(message, ErrorCode.INVALID_JSON), 1003)
            return False
        if len(text) > most_bytes or (not text.isascii() and len(text.encode()) > most_bytes):
            message = f"A message has {most_bytes:,} bytes at most (MAX_MESSAGE_BYTES); the session is closed"
            await _refuse(socket, v1.encode_error(message, ErrorCode.SESSION_ERROR), _TOO_BIG)
            return False
        try:
            request = v1.decode_request(text)
        except v1.BadRequestError as error:
            await socket.send_text(v1.encode_error(str(error), error.code))
            continue
        if request.type == "close":
            return True
        try:
            text = await answer(session, request, action_model)
        except StepTimeoutError as error:
            sessions.abandon(session)
            session.submit(lambda: sessions.settle(session))
            await _refuse(socket, v1.encode_error(str(error), ErrorCode.TIMEOUT), _INTERNAL_ERROR)
            return False
        await socket.send_text(text)


async def answer(session: Session, request: v1.Request, action_model: type[BaseModel]) -> str:
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
            return v1.encode_error(message, ErrorCode.VALIDATION_ERROR, errors=plain_errors(error))
    try:
        match request.type:
            case "step":
                return v1.encode_observation(await session.step(action))
            case "reset":
                return v1.encode_observation(await session.reset(request.data))
            case "state":
                return v1.encode_state(await session.state())
            case other:
                return v1.encode_error(
                    f"There is no message of the type {other!r}; there are reset, step, state and close",
                    ErrorCode.UNKNOWN_TYPE,
                )
    except UnknownKeywordsError as error:
        return v1.encode_error(str(error), ErrorCode.VALIDATION_ERROR)
    except StepTimeoutError:
        raise
    except Exception as error:
        error_id = report(error, f"the environment raised in {request.type}")
        message = f"{type(error).__name__}: {error}"
        return v1.encode_error(message, ErrorCode.EXECUTION_ERROR, error_id=error_id)
