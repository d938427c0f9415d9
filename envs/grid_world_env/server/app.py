"""The application, for `openenv serve`, `uvicorn server.app:app` and `python -m`."""

import argparse
import os
from typing import TYPE_CHECKING

import uvicorn
from openenv.core.env_server import create_app

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        GridWorldAction,
        GridWorldObservation,
    )
    from .grid_world_environment import GridWorldEnvironment
else:  # run from inside the folder
    from models import (
        GridWorldAction,
        GridWorldObservation,
    )
    from server.grid_world_environment import GridWorldEnvironment

WALL_SHARE = float(os.environ.get("GRID_WORLD_WALL_SHARE", "0.25"))
EPISODE_STEPS = int(os.environ.get("GRID_WORLD_EPISODE_STEPS", "100"))


def create_grid_world_environment() -> GridWorldEnvironment:
    """Make the environment of a session."""
    return GridWorldEnvironment(wall_share=WALL_SHARE, episode_steps=EPISODE_STEPS)


app = create_app(
    create_grid_world_environment,
    GridWorldAction,
    GridWorldObservation,
    env_name="grid_world_env",
)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve grid_world_env.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
