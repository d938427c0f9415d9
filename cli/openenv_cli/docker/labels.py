"""The labels of an environment's image, by which registries and people know what is in it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from openenv_cli.docker.dockerfile import Instruction, final_stage

# The keys of https://github.com/opencontainers/image-spec/blob/main/annotations.md begin with this.
_PREFIX = "org.opencontainers.image."
# The names of a project's URLs that lead to its source, as the Python Packaging User Guide lists them.
_SOURCES = ("source", "repository", "sourcecode", "github")


def labels_of(context: Path, instructions: Sequence[Instruction], name: str) -> dict[str, str]:
    """The labels that a Dockerfile does not set itself: title, and from ``pyproject.toml`` what it says.

    Args:
        context: The folder that the Dockerfile copies from.
        instructions: The Dockerfile's.
        name: The environment's name.
    """
    project = _project(context / "pyproject.toml")
    urls = project.get("urls")
    sources = {
        "".join(filter(str.isalnum, label)).lower(): url
        for label, url in (urls.items() if isinstance(urls, dict) else ())
    }
    found = {
        "title": name,
        "description": project.get("description"),
        "version": project.get("version"),
        "source": next((sources[label] for label in _SOURCES if label in sources), None),
    }
    own = " ".join(
        instruction.arguments
        for instruction in final_stage(list(instructions))
        if instruction.name == "LABEL"
    )
    return {
        key: value
        for key, value in ((f"{_PREFIX}{field}", value) for field, value in found.items())
        if isinstance(value, str) and value and key not in own
    }


def _project(file: Path) -> dict[str, Any]:
    """The table ``[project]`` of a ``pyproject.toml``; empty without one that can be read."""
    with suppress(OSError, ValueError):
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
        if isinstance(project, dict):
            return project
    return {}
