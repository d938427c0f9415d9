"""The health of a server."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Literal

from pydantic import BaseModel, Field

from openenv_gym.version import own_version
from openenv_server.operations.descriptors import descriptors
from openenv_server.sessions.capacity import Sessions

# The shortest pause of the event loop that makes a server unhealthy, and for how long after it; in seconds.
PAUSE_S = 2.0
MEMORY_S = 10.0

_BEAT_S = 0.5
_VERSION = own_version()
# Of these, a process reports its own only.
_OWN = {"uptime_s", "version", "workers"}
_FULL = "all sessions are taken"
_STOPPING = "the server is stopping"


class WorkerHealth(BaseModel):
    """The health of one of the processes that serve the same address."""

    worker: int = Field(description="Its number")
    status: Literal["healthy", "degraded", "unhealthy"]
    reasons: list[str] = Field(description="Why it is not healthy")
    active_sessions: int = Field(description="Sessions in use")
    max_sessions: int = Field(description="The most sessions at a time")
    abandoned_threads: int = Field(description="Threads whose environment does not return")


class Health(BaseModel):
    """The response to ``GET /health``."""

    status: Literal["healthy", "degraded", "unhealthy"]
    reasons: list[str] = Field(description="Why it is not healthy")
    active_sessions: int = Field(description="Sessions in use")
    max_sessions: int = Field(description="The most sessions at a time")
    abandoned_threads: int = Field(description="Threads whose environment does not return")
    uptime_s: float = Field(description="Seconds since the server was made")
    version: str = Field(description="The version of openenv-gym")
    workers: list[WorkerHealth] | None = Field(
        default=None, description="All processes that answer, if several serve this address"
    )


class Liveness(BaseModel):
    """The response to ``GET /live``."""

    status: Literal["live"] = "live"


class Readiness(BaseModel):
    """The response to ``GET /ready``."""

    status: Literal["ready", "not ready"]
    reasons: list[str] = Field(description="Why it is not ready")


class LoopMonitor:
    """Notices when the event loop is blocked. It starts with the first call."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pauses: deque[tuple[float, float]] = deque()  # when each ended, and the seconds that it took
        self._due = 0.0

    def longest_pause_s(self) -> float:
        """The longest recent pause of the event loop. Call it on the event loop."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if loop is not self._loop:
            self._loop, self._due = loop, now + _BEAT_S
            loop.call_later(_BEAT_S, self._beat, loop)
        while self._pauses and self._pauses[0][0] < now - MEMORY_S:
            self._pauses.popleft()
        return max((took for _, took in self._pauses), default=max(0.0, now - self._due))

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if now - self._due >= PAUSE_S:
            self._pauses.append((now, now - self._due))
        self._due = now + _BEAT_S
        loop.call_later(_BEAT_S, self._beat, loop)


def health_of(sessions: Sessions, monitor: LoopMonitor) -> Health:
    """The health of a server.

    Unhealthy, which a restart may fix:

    - the last three environments could not be made;
    - the event loop was blocked for two seconds or more within the last ten: by an ``async`` environment, or
      by one that holds Python's lock. Meanwhile nothing responds, so a probe needs a timeout as well;
    - as many threads were abandoned as the server has sessions, 8 at least: further ones keep their places.

    Degraded, which passes, or which a restart does not fix:

    - all sessions are taken;
    - a thread was abandoned because its environment does not return;
    - file descriptors run short, or did within the last ten seconds;
    - the server is stopping.

    Healthy otherwise.
    """
    pause_s = monitor.longest_pause_s()
    unhealthy, degraded = [], []
    if sessions.factory_fails:
        unhealthy.append(_factory_failure(sessions))
    if pause_s >= PAUSE_S:
        unhealthy.append(f"the event loop was blocked for {pause_s:.1f} s")
    stuck = f"{sessions.abandoned_threads} threads have an environment that does not return"
    if sessions.abandoned_threads >= sessions.most_abandoned:
        unhealthy.append(stuck)
    elif sessions.abandoned_threads:
        degraded.append(stuck)
    if sessions.active >= sessions.capacity:
        degraded.append(_FULL)
    if shortage := descriptors.shortage():
        degraded.append(shortage)
    if sessions.is_stopping:
        degraded.append(_STOPPING)
    return Health(
        status="unhealthy" if unhealthy else "degraded" if degraded else "healthy",
        reasons=unhealthy + degraded,
        active_sessions=sessions.active,
        max_sessions=sessions.capacity,
        abandoned_threads=sessions.abandoned_threads,
        uptime_s=round(time.monotonic() - sessions.made_at, 3),
        version=_VERSION,
    )


def readiness_of(sessions: Sessions, *, must_have_room: bool) -> Readiness:
    """Whether a server can take a client: not while it stops, nor while no environment can be made.

    Args:
        sessions: Its sessions.
        must_have_room: Whether it is not ready either while all sessions are taken.
    """
    reasons = []
    if sessions.is_stopping:
        reasons.append(_STOPPING)
    if sessions.factory_fails:
        reasons.append(_factory_failure(sessions))
    if sessions.is_making_first:
        reasons.append("the first environment is being made")
    if must_have_room and sessions.active >= sessions.capacity:
        reasons.append(_FULL)
    return Readiness(status="not ready" if reasons else "ready", reasons=reasons)


def _factory_failure(sessions: Sessions) -> str:
    return f"the last {sessions.failures_in_a_row} environments could not be made"


def worker_health_of(sessions: Sessions, monitor: LoopMonitor) -> WorkerHealth:
    """The health of this process, for the one that was asked."""
    return WorkerHealth(worker=sessions.worker, **health_of(sessions, monitor).model_dump(exclude=_OWN))
