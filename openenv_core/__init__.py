"""The older root of the guide's import paths: everything under ``openenv.core``, by its former name."""

from typing import Any

from openenv import core

# openenv_core.env_server and the others are found where openenv.core has them.
__path__ = core.__path__


def __getattr__(name: str) -> Any:
    """A name of ``openenv.core``."""
    return getattr(core, name)
