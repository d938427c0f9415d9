"""Servers for the playground: one that calls tools, one of arrays, one with a field of every kind."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from openenv_server import MCPEnvironment, create_app
from pydantic import Field

from openenv_gym.tool_types import CallToolAction, CallToolObservation
from openenv_gym.types import Action, Array, Observation, State
from tests.browser.every_field import Every


class Shelf(MCPEnvironment):
    """A shelf to put things on."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, int] = {}

        @self.tool()
        def look() -> str:
            """Look at the shelf."""
            return ", ".join(f"{count} {item}" for item, count in self.items.items()) or "nothing"

        @self.tool()
        def put(item: str, count: Annotated[int, Field(ge=1, le=5)] = 1) -> dict[str, int]:
            """Put something on the shelf, and see what is there."""
            self.items[item] = self.items.get(item, 0) + count
            return self.items

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Observation:
        self.items = {}
        return Observation()

    @property
    def state(self) -> State:
        return State()


tools = create_app(Shelf, CallToolAction, CallToolObservation, reset_observation_cls=Observation)


class Paint(Action):
    """Add to the field."""

    brush: Annotated[NDArray[np.float32], Array(np.float32, (3, 3), low=-1, high=1)] = Field(
        description="What is added around the place"
    )
    place: Annotated[NDArray[np.int64], Array(np.int64, (2,), low=1, high=22)] = Field(
        description="Row and column"
    )


class Painted(Observation):
    field: Annotated[NDArray[np.float32], Array(np.float32, (24, 24))]
    brush: Annotated[NDArray[np.float32], Array(np.float32, (3, 3))]
    place: Annotated[NDArray[np.int64], Array(np.int64, (2,))]
    spread: Annotated[NDArray[np.float64], Array(np.float64, (6,))]


class Field24:
    """A field of numbers to paint on. The reward is what a step adds."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        self._field = np.zeros((24, 24), np.float32)

    def reset(self, seed: int | None = None) -> Painted:
        self._field = np.random.default_rng(seed).normal(size=(24, 24)).astype(np.float32)
        return self._painted(np.zeros((3, 3), np.float32), np.array([1, 1]))

    def step(self, action: Paint) -> Painted:
        row, column = action.place
        self._field[row - 1 : row + 2, column - 1 : column + 2] += 9 * action.brush
        return self._painted(action.brush, action.place)

    @property
    def state(self) -> State:
        return State()

    def _painted(self, brush: NDArray[np.float32], place: NDArray[np.int64]) -> Painted:
        spread = np.percentile(self._field, [0, 10, 25, 75, 90, 100])
        return Painted(field=self._field, brush=brush, place=place, spread=spread, reward=float(brush.sum()))


arrays = create_app(Field24, Paint, Painted, env_name="field")


class Heard(Observation):
    action: dict[str, Any]


class Listener:
    """Repeats the action."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None) -> Heard:
        return Heard(action={})

    def step(self, action: Every) -> Heard:
        return Heard(action=action.model_dump(mode="json"), reward=1.0)

    @property
    def state(self) -> State:
        return State()


every = create_app(Listener, Every, Heard, env_name="every field")
