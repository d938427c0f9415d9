"""What the log says about a session: its client, and when and why it opened, broke, resumed and closed."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from openenv_server.sessions.session import Session

log = logging.getLogger("openenv_server")

Event = Literal["opened", "cut", "resumed", "closed"]
Protocol = Literal["v1", "v2", "http", "mcp"]


class EndReason(StrEnum):
    """Why a session ended."""

    CLIENT_LEFT = "client_left"  # it closed the session, or its connection, as it should
    CONNECTION_LOST = (
        "connection_lost"  # the connection broke, and could not be resumed: version 1, or too early
    )
    GRACE_OVER = "grace_over"  # the connection broke, and the client did not resume in time
    IDLE = "idle"  # the client was silent for the session timeout
    TIMEOUT = "timeout"  # a reset or a step exceeded the step timeout, or its client's own
    ABANDONED = "abandoned"  # its environment did not return when it was to be closed
    DRAIN = "drain"  # the server stopped
    PROTOCOL_ERROR = "protocol_error"  # the client violated the protocol, or sent too much
    SERVER_ERROR = "server_error"  # the server itself failed; its log has the traceback
    REQUEST_DONE = "request_done"  # it was opened for a single HTTP request


class Client(NamedTuple):
    """Who uses a session.

    Attributes:
        address: The address and port.
        protocol: How it speaks to the server.
        agent: Its ``User-Agent``, such as ``openenv-gym/0.1.0 Python/3.12.1``; "" if it sends none.
    """

    address: str
    protocol: Protocol
    agent: str = ""

    def __str__(self) -> str:
        return f"{self.address} ({', '.join(filter(None, (self.protocol, self.agent)))})"


def log_event(session: Session, event: Event, why: str = "", **fields: Any) -> None:
    """Log at ``info`` what happened to a session.

    Args:
        session: The session.
        event: What happened.
        why: Why, or how.
        **fields: Further fields of the log record.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    counts, seconds = session.counts(), session.age_s()
    what: str = event
    if event != "opened":
        what += f" after {counts.steps:,} steps and {counts.resets:,} resets in {seconds:.1f} s: {why}"
    fields = {"event": event, "steps": counts.steps, "resets": counts.resets, "seconds": seconds, **fields}
    log.info("session %s of %s %s", session.id, session.client, what, extra={**session.log_fields, **fields})
