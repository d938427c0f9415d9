"""The published package's server of an environment that knows whether it was reset: python THIS PORT."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import uvicorn

from openenv.core.env_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

EPISODE_STEPS = 20


class Say(Action):
    """Comes back with the observation."""

    word: int


class Heard(Observation):
    """Which environment this is, its step, and its last action."""

    instance: int
    episode: int
    step: int
    word: int


class Tally:
    """What was done in all environments together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(["made", "closed", "resets", "steps", "steps_before_reset"], 0)

    def add(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def read(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


tally = Tally()
numbers = itertools.count()


class Listener(Environment):
    """Counts its resets and steps."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._instance, self._episode, self._step = next(numbers), 0, 0
        tally.add("made")

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Heard:
        tally.add("resets")
        self._episode, self._step = self._episode + 1, 0
        return self._heard(-1)

    def step(self, action: Say, timeout_s: float | None = None, **kwargs: Any) -> Heard:
        tally.add("steps")
        if self._episode == 0:
            tally.add("steps_before_reset")
        self._step += 1
        return self._heard(action.word)

    def close(self) -> None:
        tally.add("closed")

    @property
    def state(self) -> State:
        return State(step_count=self._step)

    def _heard(self, word: int) -> Heard:
        return Heard(
            instance=self._instance,
            episode=self._episode,
            step=self._step,
            word=word,
            done=self._step == EPISODE_STEPS,
            reward=float(self._step),
        )


if __name__ == "__main__":
    app = create_app(Listener, Say, Heard, env_name="listener", max_concurrent_envs=100)
    app.get("/tally")(tally.read)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
