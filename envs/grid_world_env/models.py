"""What an agent sends, and what it gets back."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from openenv.core.env_server.types import Action, Observation
from openenv_gym.types import Array
from pydantic import Field

SIZE = 8


class GridWorldAction(Action):
    """A move."""

    move: int = Field(ge=0, le=3, description="0 up, 1 right, 2 down, 3 left")


class GridWorldObservation(Observation):
    """The field from above."""

    cells: Annotated[NDArray[np.uint8], Array(np.uint8, (SIZE, SIZE), low=0, high=2)] = Field(
        description="0 nothing, 1 the agent, 2 the goal"
    )
