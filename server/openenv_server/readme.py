"""An environment's description, with its README."""

from __future__ import annotations

import inspect
import os
import tomllib
from collections.abc import Callable
from contextlib import suppress
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


def complete_metadata(environment: Any, env_name: str | None) -> EnvironmentMetadata:
    """Return an environment's own description, with the README and the version of its folder.

    The folder is the nearest one above the class's file with an ``openenv.yaml`` or a ``pyproject.toml``.

    Args:
        environment: The environment.
        env_name: The name to show instead of a default one.
    """
    metadata = metadata_of(environment, env_name)
    folder = _folder_of(type(environment))
    if folder is None:
        return metadata
    readme, project = folder / "README.md", folder / "pyproject.toml"
    found: dict[str, Any] = {}
    if metadata.readme_content is None and readme.is_file():
        found["readme_content"] = readme.read_text(encoding="utf-8", errors="replace")
    if metadata.version is None and project.is_file():
        with suppress(tomllib.TOMLDecodeError):
            content = tomllib.loads(project.read_text(encoding="utf-8", errors="replace"))
            found["version"] = content.get("project", {}).get("version")
    return metadata.model_copy(update=found)


def _folder_of(kind: type) -> Path | None:
    if kind.__module__.partition(".")[0] == "openenv_server":
        return None  # a served Gymnasium environment, which is in no folder
    try:
        file = Path(inspect.getfile(kind)).resolve()
    except (OSError, TypeError):  # made in an interactive session
        return None
    names = ("openenv.yaml", "pyproject.toml")
    return next((above for above in file.parents if any((above / name).is_file() for name in names)), None)


def _readme(env_name: str | None) -> str | None:
    places = [
        *filter(None, [os.environ.get("ENV_README_PATH")]),
        *([f"envs/{env_name}/README.md"] if env_name else []),
        *("/app/env/README.md", "/app/README.md"),
    ]
    found = next((path for path in map(Path, places) if path.is_file()), None)
    return found.read_text(encoding="utf-8", errors="replace") if found else None
