"""The session whose environment runs right now, for what is logged and printed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from openenv_server.sessions.session import Session

T = TypeVar("T")

# No context variable for threads: in a thread that has set one, each of NumPy's operations looks up its own.
_of_thread = threading.local()
_of_task: ContextVar[Session | None] = ContextVar("session", default=None)


def find_in_this_thread(find: Callable[[], Session | None]) -> None:
    """Let a function find the session of this thread; it is called only when something is written."""
    _of_thread.find = find


def begin_task(session: Session) -> None:
    """Note that the running task of the event loop is a session's."""
    _of_task.set(session)


async def in_task_of(session: Session, work: Coroutine[Any, Any, T]) -> T:
    """Run something in a task that is a session's."""
    begin_task(session)
    return await work


def running_session() -> Session | None:
    """The session whose environment calls this, if it is known."""
    find: Callable[[], Session | None] | None = getattr(_of_thread, "find", None)
    return _of_task.get() if find is None else find()
