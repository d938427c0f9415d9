"""Failures under an id, by which what a client is told can be found in the log."""

from __future__ import annotations

import logging
import secrets
from typing import Any

log = logging.getLogger("openenv_server")


def report(error: BaseException, what: str, **fields: Any) -> str:
    """Logs a failure with its traceback, which no client gets to see.

    Args:
        error: What was raised.
        what: What it was raised in, as the log says it.
        **fields: What a structured log has beside the message.

    Returns:
        The id in the log, 8 hexadecimal digits, for the client.
    """
    error_id = secrets.token_hex(4)
    log.error("%s [error_id %s]", what, error_id, exc_info=error, extra={"error_id": error_id, **fields})
    return error_id


def own_failure(error_id: str) -> str:
    """What a client is told of a failure that is the server's own, and not its environment's."""
    return f"The server itself failed. Its log says why, under error_id {error_id}"
