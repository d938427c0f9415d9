"""The session whose environment runs right now, for what is logged and printed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openenv_server.sessions.session import Session

# Returns the session of this thread or task. It is set once, and asked only when something is written.
session_finder: ContextVar[Callable[[], Session | None] | None] = ContextVar("session_finder", default=None)


def running_session() -> Session | None:
    """The session whose environment calls this, if it is known."""
    find = session_finder.get()
    return None if find is None else find()
