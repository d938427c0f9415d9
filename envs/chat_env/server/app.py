"""The application, for `openenv serve`, `uvicorn server.app:app` and `python -m`."""

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
else:  # run from inside the folder
    from models import (
        ChatAction,
        ChatObservation,
    )
    from server.chat_environment import ChatEnvironment

# The class, not an instance: each session gets its own environment.
app = create_app(
    ChatEnvironment,
    ChatAction,
    ChatObservation,
    env_name="chat_env",
)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve chat_env.")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
    arguments = parser.parse_args()
    uvicorn.run(app, host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
