"""Version 1 of the protocol: JSON in text frames, one session per WebSocket, answers in order.

A request has a ``type``, most have ``data``, and each has one answer. The messages are those of published
OpenEnv servers. The variations of older servers are accepted too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openenv_gym.errors import ProtocolError
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.values import MOST_IN_ANSWER, MOST_IN_REQUEST, check_json

# A header of the accepted handshake, from a server that gives up on requests that exceed their ``timeout_s``.
TIMEOUTS_HEADER = "x-openenv-timeouts"

STATE_REQUEST = '{"type":"state"}'


@dataclass(slots=True)
class Request:
    """A message from a client.

    Attributes:
        type: Its type.
        data: Its data.
        timeout_s: How long the client waits for the answer, in seconds, if it says so.
    """

    type: str
    data: dict[str, Any]
    timeout_s: float | None = None


@dataclass(slots=True)
class StepAnswer:
    """The answer to ``reset`` and ``step``."""

    observation: dict[str, Any]
    reward: bool | int | float | None
    terminated: bool
    truncated: bool
    metadata: dict[str, Any]


@dataclass(slots=True)
class StateAnswer:
    """The answer to ``state``."""

    data: dict[str, Any]


@dataclass(slots=True)
class ErrorAnswer:
    """The answer to a request that failed."""

    message: str
    code: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class McpAnswer:
    """The answer to ``mcp``: a response of JSON-RPC 2.0."""

    data: dict[str, Any]


Answer = StepAnswer | StateAnswer | McpAnswer | ErrorAnswer


class BadRequestError(ProtocolError):
    """A request that cannot be read; ``code`` is the reason."""

    def __init__(self, message: str, code: ErrorCode) -> None:
        super().__init__(message)
        self.code = code


# --- requests ---------------------------------------------------------------------------------------------


def encode_reset(data: dict[str, Any], timeout_s: float | None = None) -> str:
    """Encode the request for a new episode; ``data`` are the arguments of the environment's reset."""
    return _dump({"type": "reset", "data": data, **_limit(timeout_s)})


def encode_step(payload: dict[str, Any], timeout_s: float | None = None) -> str:
    """Encode the request for a step; ``payload`` holds the action's fields."""
    return _dump({"type": "step", "data": payload, **_limit(timeout_s)})


def _limit(timeout_s: float | None) -> dict[str, float]:
    # Published servers refuse fields that they do not know.
    return {} if timeout_s is None else {"timeout_s": timeout_s}


def encode_close(timeout_s: float | None = None) -> str:
    """Encode the request to end the session."""
    return _dump({"type": "close", **_limit(timeout_s)})


def encode_mcp(message: Mapping[str, Any]) -> str:
    """Encode a request of the Model Context Protocol, or the answer to one."""
    return _dump({"type": "mcp", "data": message})


def decode_request(text: str) -> Request:
    """Decode a client's message.

    Raises:
        BadRequestError: The text is not JSON, too large, not an object, or has no type.
    """
    try:
        check_json(text, MOST_IN_REQUEST)
    except ValueError as error:
        raise BadRequestError(f"The message is refused: {error}", ErrorCode.VALIDATION_ERROR) from error
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The message is not valid JSON: {error}", ErrorCode.INVALID_JSON) from error
    if not isinstance(message, dict):
        raise BadRequestError(
            f"A message is a JSON object with a type, not {type(message).__name__}",
            ErrorCode.VALIDATION_ERROR,
        )
    kind = message.get("type")
    if not isinstance(kind, str):
        raise BadRequestError('The message has no "type"', ErrorCode.UNKNOWN_TYPE)
    data = message.get("data", {})
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise BadRequestError(
            f'"data" is a JSON object, not {type(data).__name__}', ErrorCode.VALIDATION_ERROR
        )
    timeout_s = message.get("timeout_s")
    if timeout_s is not None and not (type(timeout_s) in (int, float) and timeout_s > 0):
        raise BadRequestError(
            f'"timeout_s" is a positive number of seconds, not {timeout_s!r}', ErrorCode.VALIDATION_ERROR
        )
    return Request(kind, data, timeout_s)


# --- answers ----------------------------------------------------------------------------------------------


def encode_state(data_json: str) -> str:
    """Encode the answer to ``state``; ``data_json`` is the state as JSON text."""
    return f'{{"type":"state","data":{data_json}}}'


def encode_observation(data_json: str) -> str:
    """Encode the answer to ``reset`` and ``step``; ``data_json`` is the result as JSON text."""
    return f'{{"type":"observation","data":{data_json}}}'


def encode_error(message: str, code: ErrorCode, **details: Any) -> str:
    """Encode the answer to a request that failed."""
    return _dump({"type": "error", "data": {"message": message, "code": code.value, **details}})


def decode_answer(text: str | bytes | memoryview) -> Answer:
    """Decode a server's message, a text or its UTF-8.

    Raises:
        ProtocolError: The text is not an answer of the protocol.
    """
    try:
        check_json(text, MOST_IN_ANSWER)
    except ValueError as error:
        raise ProtocolError(f"The server sent a message that is too large: {error}") from error
    try:
        text = text if isinstance(text, str) else str(text, "utf-8")
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The server sent a message that is not JSON: {_excerpt(text)}") from error
    if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
        raise ProtocolError(f'The server sent a message without "type" and "data": {_excerpt(text)}')
    kind, data = message.get("type"), message["data"]
    if kind == "observation":
        return decode_step_data(data)
    if kind == "state":
        return StateAnswer(data)
    if kind == "mcp":
        return McpAnswer(data)
    if kind == "error":
        code = str(data.pop("code", ErrorCode.EXECUTION_ERROR.value))
        return ErrorAnswer(str(data.pop("message", "no message")), code, data)
    raise ProtocolError(f"The server sent a message of the unknown type {kind!r}: {_excerpt(text)}")


def decode_step_data(data: dict[str, Any]) -> StepAnswer:
    """Decode the ``data`` of an observation message, in any of the forms that servers send.

    Version 1 has one flag, ``done``; `end_of_episode` tells termination from truncation.

    Raises:
        ProtocolError: It has no observation.
    """
    observation = data.get("observation")
    if not isinstance(observation, dict):
        raise ProtocolError(f"The server's answer has no observation; it has {sorted(data)}")
    inner = observation.pop("metadata", None)
    outer = data.get("metadata")
    metadata = {**(inner if isinstance(inner, dict) else {}), **(outer if isinstance(outer, dict) else {})}
    done = bool(data.get("done", observation.get("done", False)))
    reward = data.get("reward", observation.get("reward"))
    truncated = data.get("truncated")
    terminated, truncated = end_of_episode(done, None if truncated is None else bool(truncated), metadata)
    observation.pop("done", None)
    observation.pop("reward", None)
    return StepAnswer(observation, reward, terminated, truncated, metadata)


def end_of_episode(done: bool, truncated: bool | None, metadata: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether an episode was terminated, and whether it was truncated, from an environment's flags.

    An episode that is ``done`` was truncated if the flag says so, or ``truncated`` or Gymnasium's
    ``TimeLimit.truncated`` in the metadata. Otherwise it was terminated; also if the metadata says
    ``terminated``.
    """
    if not done:
        return False, False
    if truncated is None:
        truncated = bool(metadata.get("truncated", metadata.get("TimeLimit.truncated", False)))
    return not truncated or metadata.get("terminated") is True, truncated


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _excerpt(text: str | bytes | memoryview) -> str:
    shown = text[:200] if isinstance(text, str) else bytes(text[:200])
    return repr(shown) + ("…" if len(text) > len(shown) else "")
