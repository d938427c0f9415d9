"""Error responses of a server, as our errors."""

from __future__ import annotations

from typing import Any

from openenv_gym.errors import (
    CALL_RESET,
    ActionRefusedError,
    CapacityError,
    DeadlineExceededError,
    OpenEnvError,
    ProtocolError,
    RemoteEnvironmentError,
    RemoteError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.mcp import listed_tools


def error_of(
    endpoint: Endpoint, operation: str, code: str, message: str, details: dict[str, Any]
) -> OpenEnvError:
    """Return the error for an error response.

    Args:
        endpoint: The server.
        operation: The request, "step 12".
        code: One of `ErrorCode`, or any other.
        message: The server's message.
        details: The rest of the response.
    """
    context: dict[str, Any] = {"endpoint": endpoint.base_url, "operation": operation}
    where = f"{endpoint}, {operation}"
    if code == ErrorCode.UNKNOWN_SESSION:
        return lost_error(endpoint, operation, message)
    if code == ErrorCode.DEADLINE_EXCEEDED:
        timeout_s = details.get("timeout_s")
        within = f" within {timeout_s:g} s" if isinstance(timeout_s, int | float) else ""
        return DeadlineExceededError(
            f"{endpoint} did not answer {operation}{within}, because its "
            "environment does not return. The server has closed the session.",
            advice=CALL_RESET,
            **context,
        )
    context.update(code=code, details=details, server_message=message)
    match code:
        case ErrorCode.CAPACITY_REACHED:
            return CapacityError(f"{where}: no session is free. {sentence(message)}", available=0, **context)
        case ErrorCode.TIMEOUT:
            return StepTimeoutError(f"{where}: {sentence(message)}", advice=CALL_RESET, **context)
        case ErrorCode.VALIDATION_ERROR:
            return ActionRefusedError(
                f"{where}: {sentence(message + problems(message, details))}",
                advice="Nothing was done; the session continues.",
                **context,
            )
        case ErrorCode.EXECUTION_ERROR:
            error_id = details.get("error_id")
            place = f" under error_id {error_id}" if isinstance(error_id, str) else ""
            return RemoteEnvironmentError(
                f"{where}: the environment raised {sentence(message)}",
                advice=f"The session continues; the server's log has the traceback{place}.",
                **context,
            )
    return RemoteError(f"{where}: {sentence(message)} ({code})", **context)


def lost_error(endpoint: Endpoint, operation: str, message: str) -> SessionLostError:
    """Return the error for a session that the server has ended."""
    return SessionLostError(
        f"{endpoint}, {operation}: {sentence(message)}", endpoint=endpoint.base_url, operation=operation
    )


def wrong_response(endpoint: Endpoint, operation: str, response: object) -> ProtocolError:
    """Return the error for a response of the wrong kind."""
    return ProtocolError(
        f"{endpoint} answered {operation} with {type(response).__name__}",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def tools_in(response: Any, endpoint: Endpoint) -> list[dict[str, Any]]:
    """Return the tools in a response to ``tools/list``.

    Raises:
        RemoteError: The response is an error, or has no tools.
    """
    tools = listed_tools(response)
    if tools is not None:
        return tools
    error = response.get("error") if isinstance(response, dict) else None
    message = error.get("message") if isinstance(error, dict) else "its response has no tools"
    raise RemoteError(
        f"{endpoint}, tools/list: {sentence(str(message))}",
        code=str(error.get("code")) if isinstance(error, dict) else "",
        endpoint=endpoint.base_url,
        operation="tools/list",
    )


def not_encodable(endpoint: Endpoint, operation: str, cause: Exception) -> ProtocolError:
    """Return the error for a request with a value that no message can have."""
    return ProtocolError(
        f"{endpoint}, {operation}: it cannot be encoded: {cause}.",
        advice="Use values of JSON, and NumPy arrays of numbers.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def observation_misfit(endpoint: Endpoint, operation: str, cause: Exception) -> ProtocolError:
    """Return the error for an observation that does not fit the server's own schema."""
    return ProtocolError(
        f"{endpoint}, {operation}: the observation does not fit the server's own schema: {cause}.",
        advice='on_misfit="coerce" fills what is missing, drops what is extra, and goes on.',
        endpoint=endpoint.base_url,
        operation=operation,
    )


def sentence(text: str) -> str:
    """Return a text that ends like a sentence."""
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def problems(message: str, details: dict[str, Any]) -> str:
    """Return the fields that a model rejects, in parentheses; "" if the message names all of them."""
    errors = details.get("errors")
    named = [
        f"{'.'.join(map(str, item.get('loc', ())))}: {item.get('msg')}"
        for item in (errors if isinstance(errors, list) else [])
        if isinstance(item, dict)
    ]
    return "" if all(name in message for name in named) else f" ({'; '.join(named)})"
