"""All lanes of a server: what they share, and how a client finds its own again."""

from __future__ import annotations

import asyncio
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openenv_gym.wire import v2
from openenv_server.incidents import report
from openenv_server.lanes.contracts import Contract
from openenv_server.lanes.ports import Port
from openenv_server.sessions import Sessions

if TYPE_CHECKING:
    from openenv_server.lanes.lane import Lane


@dataclass
class Lanes:
    """The lanes of a server.

    Attributes:
        sessions: The server's sessions.
        contract: How its environments are driven.
        max_slots: The most sessions on one socket.
        resume_grace_s: How long the sessions of a broken socket are kept, in seconds.
    """

    sessions: Sessions
    contract: Contract
    max_slots: int
    resume_grace_s: float
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _watched: set[Lane] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _watch: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.sessions.kept = self._kept
        self.sessions.drain.tells(self.close)

    def add(self, lane: Lane) -> str:
        """Takes a lane in; returns the token by which its client finds it again."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._lanes[token] = lane
            self._watched.add(lane)
        return token

    def remove(self, token: str) -> None:
        """Nobody finds a lane any more. Its steps are looked after still."""
        with self._lock:
            self._lanes.pop(token, None)

    def give_up(self, token: str, lane: Lane) -> bool:
        """Nobody finds a lane any more; False, and nothing is done, where its client has just come back."""
        with self._lock:
            if lane.has_returned:
                return False
            self._lanes.pop(token, None)
            return True

    def forget(self, lane: Lane) -> None:
        """Looks after a lane no longer."""
        with self._lock:
            self._watched.discard(lane)

    def hand_over(self, port: Port, request: v2.Resume) -> bool:
        """Gives a client's new socket to its lane; False where there is none."""
        with self._lock:
            lane = self._lanes.get(request.token)
            if lane is None:
                return False
            lane.take_port(port, request)
            return True

    def close(self) -> None:
        """Has all lanes end once what is under way is answered. Called on the event loop."""
        with self._lock:
            for lane in self._lanes.values():
                lane.leave()

    def _kept(self) -> int:
        with self._lock:
            return sum(lane.kept for lane in self._lanes.values())

    def watch(self) -> None:
        """Looks after resets and steps that take too long, from the event loop that runs now."""
        limit_s = self.sessions.step_timeout_s
        if limit_s is None or self._watch is not None:
            return

        async def look() -> None:
            while True:
                await asyncio.sleep(min(limit_s / 4, 1.0))
                with self._lock:
                    lanes = list(self._watched)
                for lane in lanes:
                    try:
                        lane.give_up_overdue()
                    except Exception as error:
                        report(error, "looking after a lane failed")

        self._watch = asyncio.get_running_loop().create_task(look())
