"""An environment that takes its time, or fails, as it is told."""

from __future__ import annotations

import time
from typing import Any

from openenv_server import Action, Environment, Observation, State


class Nap(Action):
    seconds: float


class Slept(Observation):
    naps: int


class Napper(Environment[Nap, Slept, State]):
    """Sleeps as long as it is told, and says so; fails when that is negative."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Slept:
        self._naps = 0
        return Slept(naps=0, metadata={"seed": seed})

    def step(self, action: Nap, timeout_s: float | None = None, **kwargs: Any) -> Slept:
        if action.seconds < 0:
            raise RuntimeError("cannot sleep backwards")
        time.sleep(action.seconds)
        self._naps += 1
        return Slept(naps=self._naps, metadata={"slept": action.seconds})

    @property
    def state(self) -> State:
        return State()
