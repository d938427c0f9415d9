"""What a server answers to a request that it did not do, as our errors."""

from __future__ import annotations

from typing import Any

from openenv_gym.errors import CALL_RESET as CALL_RESET
from openenv_gym.errors import (
    ActionRefusedError,
    CapacityError,
    RemoteEnvironmentError,
    RemoteError,
    StepTimeoutError,
)
from openenv_gym.wire.codes import ErrorCode


def remote_error(where: str, code: str, message: str, details: dict[str, Any]) -> RemoteError:
    """The error for an answer with a code; ``where`` names the server and the request."""
    match code:
        case ErrorCode.CAPACITY_REACHED:
            return capacity_error(f"{where}: no session is free", message, 1, details)
        case ErrorCode.TIMEOUT:
            return StepTimeoutError(
                f"{where}: {_sentence(message)}", advice=CALL_RESET, code=code, details=details
            )
        case ErrorCode.VALIDATION_ERROR:
            problems = details.get("errors")
            named = [
                f"{'.'.join(map(str, item.get('loc', ())))}: {item.get('msg')}"
                for item in (problems if isinstance(problems, list) else [])
                if isinstance(item, dict)
            ]
            detail = "" if all(name in message for name in named) else f" ({'; '.join(named)})"
            return ActionRefusedError(
                f"{where}: {_sentence(message + detail)} Nothing was done; the session goes on.",
                code=code,
                details=details,
            )
        case ErrorCode.EXECUTION_ERROR:
            error_id = details.get("error_id")
            place = f" under error_id {error_id}" if isinstance(error_id, str) else ""
            return RemoteEnvironmentError(
                f"{where}: the environment raised {_sentence(message)} The session is still "
                f"there; the server's log has the traceback{place}.",
                code=code,
                details=details,
            )
    return RemoteError(f"{where}: {_sentence(message)} ({code})", code=code, details=details)


def capacity_error(
    finding: str,
    message: str,
    asked_for: int,
    details: dict[str, Any],
    available: int = 0,
    in_all: int | None = None,
) -> CapacityError:
    """The error for sessions that are not to be had.

    Args:
        finding: What was found, and where.
        message: What the server says.
        asked_for: How many sessions were asked for.
        details: The rest of the server's answer.
        available: How many there were.
        in_all: How many the servers have in total, if that is too few.
    """
    return CapacityError(
        f"{finding}. {_sentence(message)}",
        code=ErrorCode.CAPACITY_REACHED,
        details=details,
        asked_for=asked_for,
        available=available,
        in_all=in_all,
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
