"""The image: built, run, and looked at as any other server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from openenv_gym.errors import MissingExtraError


def why_no_engine() -> str:
    """Why no image can be built here; empty where a Docker engine answers."""
    return "it needs a Docker engine"


def serving_image(folder: Path, *, timeout_s: float) -> AbstractContextManager[str]:
    """Builds the image of a folder, as ``openenv build`` does, and runs it; gives its base URL.

    Args:
        folder: The environment's folder.
        timeout_s: The time for the container to come up, in seconds.

    Raises:
        MissingExtraError: Always, until there is `openenv build`.
    """
    raise MissingExtraError(f"The image of {folder}", "docker")
