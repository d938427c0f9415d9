"""The server's exceptions, and the one table that turns an exception into the error a client receives.

Failures that a client cannot fix are logged with their traceback under an error id, 8 hexadecimal digits. The
client receives the id and never the traceback.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.wire.codes import ErrorCode
from openenv_server.sessions.waiting_line import Position

# The reason that goes with the close code 1001.
STOPPING = "The server is stopping"
# The most characters of a client's header in the log.
MOST_OF_HEADER = 200
# Files that an environment's author did not write.
_LIBRARIES = re.compile(r"site-packages|dist-packages|openenv_server|openenv_gym|python3\.\d+[\\/]|^<")

log = logging.getLogger("openenv_server")


class ServerError(OpenEnvError):
    """The base of the server's own exceptions."""


class ConcurrencyConfigurationError(ServerError, ConfigurationError):
    """More sessions are requested than the environment's class allows."""

    def __init__(self, environment_name: str, max_concurrent_envs: int, message: str | None = None) -> None:
        self.environment_name = environment_name
        self.max_concurrent_envs = max_concurrent_envs
        super().__init__(
            message
            or f"{max_concurrent_envs} concurrent sessions were requested, but {environment_name} sets "
            "SUPPORTS_CONCURRENT_SESSIONS = False.",
            advice="Request 1, or set it to True if two instances in one process do not disturb each other.",
        )


class CapacityReachedError(ServerError):
    """All sessions are taken, or the server is stopping and opens no more.

    Args:
        active_sessions: Sessions in use.
        max_sessions: The most sessions at a time.
        message: Another message.
        kept: How many of them are kept for a client whose connection broke.
        position: Where the request stands among the clients that wait.
        is_stopping: Whether the server is stopping.
    """

    def __init__(
        self,
        active_sessions: int,
        max_sessions: int,
        message: str | None = None,
        *,
        kept: int = 0,
        position: Position | None = None,
        is_stopping: bool = False,
    ) -> None:
        self.active_sessions = active_sessions
        self.max_sessions = max_sessions
        self.position = position
        if message is not None:
            super().__init__(message)
            return
        if is_stopping:
            super().__init__(
                f"{STOPPING} and opens no more sessions.", advice="Retry here later, or use another server."
            )
            return
        before = 0 if position is None else position.before
        if active_sessions >= max_sessions:
            message = f"The server is at its capacity of {max_sessions} session{'s' * (max_sessions != 1)}"
        else:
            message = f"{active_sessions} of the server's {max_sessions} sessions are in use"
        if kept:
            message += f"; {kept} of them wait for a client to reconnect (RESUME_GRACE)"
        if before:
            message += f"; {'1 client waits' if before == 1 else f'{before} clients wait'} before this one"
        super().__init__(
            f"{message}.",
            advice="Close one, or raise the limit (MAX_CONCURRENT_ENVS, or `openenv serve --max-sessions`).",
        )


class BatchRefusedError(ServerError, ValueError):
    """No vector environment can be what the client asks for."""


class SessionNotFoundError(ServerError):
    """A session does not exist."""

    def __init__(self, session_id: str, message: str | None = None) -> None:
        self.session_id = session_id
        super().__init__(message or f"The session {session_id!r} does not exist")


class SessionCreationError(ServerError):
    """A session cannot be opened."""

    def __init__(self, reason: str, message: str | None = None) -> None:
        self.reason = reason
        super().__init__(message or f"The session cannot be opened: {reason}")


class FactoryFailedError(ServerError):
    """The environment could not be made.

    Args:
        factory_name: The environment's class, or the function that makes it.
        message: What happened.
        error_id: The id of the traceback in the log.
    """

    def __init__(self, factory_name: str, message: str | None = None, error_id: str = "") -> None:
        self.factory_name = factory_name
        self.error_id = error_id
        super().__init__(message or f"{factory_name}() made no environment")


def factory_failure(factory: Callable[[], Any], error: BaseException) -> ConfigurationError:
    """The error for a factory that fails when the server starts: where, why, and what it lacks."""
    name = getattr(factory, "__name__", repr(factory))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _LIBRARIES.search(frame.filename)]
    where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    advice = "Set or fix what it needs."
    if isinstance(error, OpenEnvError) and error.advice:
        advice = ""  # the error has it
    elif isinstance(error, KeyError) and frames[-1].filename in (os.__file__, "<frozen os>"):
        advice = f"Set the environment variable {error.args[0]}."
    return ConfigurationError(
        f"No environment can be made: {name}() failed{where}: {type(error).__name__}: "
        f"{str(error).removesuffix('.')}.",
        advice=advice,
    )


class RefusedSeedError(ServerError, ValueError):
    """A reset got a seed that no environment can take."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"The reset is refused: a seed must be 0 or greater, got {seed}")


class StepLimitExceededError(ServerError):
    """A reset or a step exceeded the server's step timeout. Its thread is abandoned."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"The reset or the step took more than {limit_s:g} s, and its session is closed")


class DeadlinePassedError(ServerError):
    """A slot did not answer within the client's own timeout. Its thread is abandoned."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"The client waits for {timeout_s:g} s at most, and the session is closed")


class SessionAbandonedError(ServerError):
    """The session was given up before this call of its environment began."""


class WrongResultError(ServerError, TypeError):
    """An environment returned something other than an observation, or a state."""


class ServerStoppingError(ServerError, ConnectionError):
    """The server is stopping and takes no further request."""


class NotBinaryError(ServerError, ConnectionError):
    """A text frame on a connection of protocol version 2, which has none."""


class ClientLeftError(ServerError, ConnectionError):
    """The client closed the connection and will not reconnect."""


class ProtocolViolatedError(ClientLeftError):
    """The connection was closed because the client violates the protocol, or sends too much."""


class HandedOverError(ServerError):
    """The connection, or its worker, now belongs to another thread, so this thread ends."""


class ErrorReply(NamedTuple):
    """An error as a client receives it, in every version of the protocol and over HTTP."""

    code: ErrorCode
    message: str
    details: dict[str, Any]


def reply_to(error: BaseException, failed: str, **log_fields: Any) -> ErrorReply:
    """Turn an exception into the error that the client receives.

    Args:
        error: An exception of the server, or anything that the environment raised. The latter is logged.
        failed: What failed, for the log.
        **log_fields: Further fields of the log record.
    """
    match error:
        case CapacityReachedError():
            counts = {"active_sessions": error.active_sessions, "max_sessions": error.max_sessions}
            if error.position is not None:
                counts["free_sessions"] = error.position.free
                if error.position.is_in_line:
                    counts["waiting_before"] = error.position.before
            return ErrorReply(ErrorCode.CAPACITY_REACHED, str(error), counts)
        case FactoryFailedError():
            details = {"factory_name": error.factory_name, "error_id": error.error_id}
            return ErrorReply(ErrorCode.FACTORY_ERROR, str(error), details)
        case RefusedSeedError() | BatchRefusedError():
            return ErrorReply(ErrorCode.VALIDATION_ERROR, str(error), {})
        case StepLimitExceededError():
            return ErrorReply(ErrorCode.TIMEOUT, str(error), {"timeout_s": error.limit_s})
        case DeadlinePassedError():
            return ErrorReply(ErrorCode.DEADLINE_EXCEEDED, str(error), {"timeout_s": error.timeout_s})
        case _:
            error_id = log_error(error, failed, **log_fields)
            message = f"{type(error).__name__}: {error}"
            return ErrorReply(ErrorCode.EXECUTION_ERROR, message, {"error_id": error_id})


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The client's own id of a request over HTTP, for the log."""
    return headers.get("x-request-id", "")[:MOST_OF_HEADER] or None


def refused_action(error: ValidationError) -> ErrorReply:
    """The error for an action that does not fit the action model."""
    reasons = "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'action'}: {item['msg']}"
        for item in error.errors(include_url=False)
    )
    try:
        text = error.json(include_url=False, include_context=False)
    except ValueError:  # the input contains something JSON lacks, such as bytes
        text = error.json(include_url=False, include_context=False, include_input=False)
    # parse_constant: NaN and infinity become their names.
    details = {"errors": json.loads(text, parse_constant=str)}
    return ErrorReply(ErrorCode.VALIDATION_ERROR, f"The action is refused: {reasons}", details)


def server_failure(error: BaseException, failed: str, code: ErrorCode, **log_fields: Any) -> ErrorReply:
    """The error for a bug of the server itself: the client learns only the id in the log."""
    error_id = log_error(error, failed, **log_fields)
    message = f"The server itself failed. Its log has the reason under error_id {error_id}"
    return ErrorReply(code, message, {"error_id": error_id})


def log_error(error: BaseException, failed: str, **fields: Any) -> str:
    """Log an exception with its traceback; returns its error id.

    Args:
        error: The exception.
        failed: What failed.
        **fields: Further fields of the log record, among them the client's ``request_id``.
    """
    error_id = secrets.token_hex(4)
    fields = {"error_id": error_id, **{name: value for name, value in fields.items() if value is not None}}
    ids = ", ".join(f"{name} {fields[name]}" for name in ("error_id", "request_id") if name in fields)
    log.error("%s [%s]", failed, ids, exc_info=error, extra=fields)
    return error_id
