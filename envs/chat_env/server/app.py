"""The application: for `openenv serve`, for `uvicorn server.app:app`, and to be run as it is."""

import argparse
import os
from typing import TYPE_CHECKING

import uvicorn
from openenv.core.env_server import create_app

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        ChatAction,
        ChatObservation,
    )
    from .chat_environment import ChatEnvironment
else:  # started from inside the folder
    from models import (
        ChatAction,
        ChatObservation,
    )
    from server.chat_environment import ChatEnvironment

# The class, not an instance: each session has an environment of its own.
app = create_app(
    ChatEnvironment,
    ChatAction,
    ChatObservation,
    env_name="chat_env",
)


def main() -> None:
    """Serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serves chat_env.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
