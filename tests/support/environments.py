"""Environments that misbehave in known ways, or say what was done to them."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from openenv_server import Action, Environment, Observation, State


class CountAction(Action):
    amount: int


class CountObservation(Observation):
    total: int


class Counter(Environment[CountAction, CountObservation, State]):
    """Adds up. Amounts above 9 raise; a reset with ``fail`` raises too. Remembers how it was used."""

    instances: ClassVar[list[Counter]] = []

    def __init__(self) -> None:
        super().__init__()
        self._state = State()
        self.closed = 0
        self.threads = {threading.get_ident()}
        self.instances.append(self)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, fail: bool = False, start: int = 0
    ) -> CountObservation:
        self.threads.add(threading.get_ident())
        if fail:
            raise ValueError("told to fail")
        self._state = State(episode_id=episode_id, step_count=0, total=start + (seed or 0))
        return CountObservation(total=start + (seed or 0), metadata={"fresh": True})

    def step(self, action: CountAction) -> CountObservation:
        self.threads.add(threading.get_ident())
        if action.amount > 9:
            raise RuntimeError("too much")
        self._state.step_count += 1
        total: Any = self._state.total + action.amount  # type: ignore[attr-defined]
        self._state.total = total  # type: ignore[attr-defined]
        return CountObservation(total=total, reward=float(action.amount), done=total >= 10)

    @property
    def state(self) -> State:
        return self._state

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1
