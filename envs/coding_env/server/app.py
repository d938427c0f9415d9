"""The application, for `openenv serve`, `uvicorn server.app:app` and `python -m`."""

import argparse
import os
from typing import TYPE_CHECKING

import uvicorn
from openenv.core.env_server import create_app

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        CodingAction,
        CodingObservation,
    )
    from .coding_environment import CodingEnvironment
    from .limits import Limits
    from .sandbox import strongest_isolation
else:  # run from inside the folder
    from models import (
        CodingAction,
        CodingObservation,
    )
    from server.coding_environment import CodingEnvironment
    from server.limits import Limits
    from server.sandbox import strongest_isolation

LIMITS = Limits.from_environment()


def create_coding_environment() -> CodingEnvironment:
    """Make the environment of a session.

    Raises:
        SandboxError: This machine does not allow the required isolation. A server makes one environment when
            it starts, and ends with the reason.
    """
    strongest_isolation(LIMITS)
    return CodingEnvironment(LIMITS)


app = create_app(
    create_coding_environment,
    CodingAction,
    CodingObservation,
    env_name="coding_env",
)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve coding_env.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
