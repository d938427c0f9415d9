"""An environment as an author writes one, with fields of many kinds in its models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import BaseModel, Field

from openenv_gym.types import Array


class Part(BaseModel):
    name: str = Field(max_length=20)
    weights: list[float] = Field(max_length=4)


class Press(Action):
    button: Literal["a", "b"]
    force: int = Field(ge=0)
    part: Part | None = None
    tags: dict[str, Any] = Field(default_factory=dict)


class Pressed(Observation):
    force: int
    part: Part | None
    tags: dict[str, Any]
    frame: Annotated[np.ndarray, Array(np.uint8, (4, 4, 3))]


class Machine(Environment):
    """Gives back what it gets; too much force breaks it, for one step."""

    def __init__(self) -> None:
        super().__init__()
        self._state = State()

    def reset(self, seed: int | None = None, level: int = 1, label: str = "") -> Pressed:
        self._state = State()
        return Pressed(force=level, part=None, tags={"label": label}, frame=np.zeros((4, 4, 3), np.uint8))

    def step(self, action: Press) -> Pressed:
        if 100 < action.force < 200:
            raise RuntimeError("too much force")
        self._state.step_count += 1
        frame = np.full((4, 4, 3), self._state.step_count % 256, np.uint8)
        return Pressed(force=action.force, part=action.part, tags=action.tags, frame=frame, reward=1.0)

    @property
    def state(self) -> State:
        return self._state


app = create_app(Machine, Press, Pressed, env_name="press")
