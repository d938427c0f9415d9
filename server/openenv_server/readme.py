"""An environment's description, with its README."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from openenv_gym.types import EnvironmentMetadata
from openenv_server.calls import class_behind, metadata_of
from openenv_server.environment import describe


def load_environment_metadata(
    env: Any | Callable[[], Any], env_name: str | None = None
) -> EnvironmentMetadata:
    """Return the description of an environment.

    Args:
        env: The environment, or what makes it: a class, a function or a partial of one, which is not called.
        env_name: The name to show, and the name of the environment's folder. Default: that of the class.

    Returns:
        For an environment, its own description. For what makes one, the class's name and docstring, and the
        first README found: ``ENV_README_PATH``, in ``envs/NAME``, or in an image's ``/app/env`` or ``/app``.
    """
    if isinstance(env, partial):
        env = env.func
    if not callable(env):
        return metadata_of(env, env_name)
    kind = class_behind(env)
    name = env_name or (kind or env).__name__
    description = describe(kind).description if kind else f"The environment {name}"
    return EnvironmentMetadata(name=name, description=description, readme_content=_readme(env_name))


def _readme(env_name: str | None) -> str | None:
    places = [
        *filter(None, [os.environ.get("ENV_README_PATH")]),
        *([f"envs/{env_name}/README.md"] if env_name else []),
        *("/app/env/README.md", "/app/README.md"),
    ]
    found = next((path for path in map(Path, places) if path.is_file()), None)
    return found.read_text(encoding="utf-8", errors="replace") if found else None
