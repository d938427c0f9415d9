"""The line of clients that wait for free sessions: whoever has waited longest gets the next ones."""

from __future__ import annotations

import time
from typing import NamedTuple

from openenv_gym.wire.v2 import Ticket

# A client that does not ask again within this time has left. Clients pause for at most 2 s; in seconds.
FORGET_S = 5.0
# The last attempt of a client may come later than it said, by as much, in seconds.
_LATE_S = 0.2
# Further clients are served in any order, after these.
MOST_WAITING = 1024


class Position(NamedTuple):
    """Where a request for sessions stands.

    Attributes:
        is_admitted: Whether it gets its sessions now.
        before: How many clients wait before it.
        free: How many free sessions none of these waits for.
        is_in_line: Whether the line remembers it.
    """

    is_admitted: bool
    before: int
    free: int
    is_in_line: bool


class SessionsRequest:
    """A request for sessions: it gets all of them, or none.

    Attributes:
        count: How many sessions.
        ticket: The client's ticket, if it waits in line.
        position: Where it stands, once that is decided.
    """

    def __init__(self, count: int = 1, ticket: Ticket | None = None) -> None:
        self.count = count
        self.ticket = ticket
        self.position: Position | None = None


class _Waiting(NamedTuple):
    sessions: int
    forgotten_at: float


class WaitingLine:
    """The clients that wait, in the order of their first refusal.

    A client asks again and again with its ticket. Free sessions are kept for those that wait, also for one
    that needs more than are free yet, so nobody passes it.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}  # by ticket

    def __len__(self) -> int:
        """How many clients wait."""
        self._forget(time.monotonic())
        return len(self._waiting)

    def ask(self, request: SessionsRequest, free: int, capacity: int) -> Position:
        """Decide whether a request gets its sessions now. If not, and it has a ticket, it waits.

        Args:
            request: The request.
            free: How many sessions are free.
            capacity: The most sessions at a time. Nobody waits for more.
        """
        now = time.monotonic()
        self._forget(now)
        ticket, count = request.ticket, request.count
        before = 0
        for name, waiting in self._waiting.items():
            if ticket is not None and name == ticket.name:
                break
            before += 1
            free -= waiting.sessions
        is_admitted = count <= free
        if ticket is not None:
            if is_admitted or ticket.wait_s <= 0 or count > capacity:
                self._waiting.pop(ticket.name, None)
            elif ticket.name in self._waiting or len(self._waiting) < MOST_WAITING:
                self._waiting[ticket.name] = _Waiting(count, now + min(FORGET_S, ticket.wait_s + _LATE_S))
        is_in_line = ticket is not None and ticket.name in self._waiting
        return Position(is_admitted, before, max(free, 0), is_in_line)

    def _forget(self, now: float) -> None:
        gone = [name for name, waiting in self._waiting.items() if waiting.forgotten_at <= now]
        for name in gone:
            del self._waiting[name]
