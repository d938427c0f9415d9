"""The action and the observation."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from openenv.core.env_server.types import Action, Observation
from openenv_gym.types import Array
from pydantic import Field

SIZE = 8
CELL_PIXELS = 6
FRAME_PIXELS = SIZE * CELL_PIXELS

FREE, WALL, AGENT, GOAL = range(4)


class GridWorldAction(Action):
    """A move."""

    move: int = Field(ge=0, le=3, description="0 up, 1 right, 2 down, 3 left")


class GridWorldObservation(Observation):
    """The grid, as numbers and as an image."""

    cells: Annotated[NDArray[np.uint8], Array(np.uint8, (SIZE, SIZE), low=FREE, high=GOAL)] = Field(
        description="0 free, 1 a wall, 2 the agent, 3 the goal; the agent hides the goal"
    )
    frame: Annotated[NDArray[np.uint8], Array(np.uint8, (FRAME_PIXELS, FRAME_PIXELS, 3))] = Field(
        description="The same as an RGB image, which render() returns",
        json_schema_extra={"x-openenv-render": "rgb_array"},
    )
