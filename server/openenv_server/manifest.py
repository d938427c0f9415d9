"""The manifest of an environment's folder, ``openenv.yaml``."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from openenv_gym.errors import ConfigurationError
from openenv_gym.manifest import MANIFEST, canonical_name, environment_folder
from openenv_server.yaml_text import MOST_CHARACTERS, load_yaml

_MOST_SHOWN = 200
_APP = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class Manifest(BaseModel):
    """The fields of ``openenv.yaml``. Unknown fields are allowed, because tools may add their own.

    Attributes:
        spec_version: The version of this format.
        name: The environment's name, as in ``openenv/NAME``.
        type: How it is published.
        runtime: How it is served.
        app: Its application, as ``module:attribute``.
        port: The port inside its image.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True)

    name: str
    spec_version: Literal[1] = 1
    type: Literal["space"] = "space"
    runtime: Literal["fastapi"] = "fastapi"
    app: str = "server.app:app"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        canonical_name(name)
        return name

    @field_validator("app")
    @classmethod
    def _is_an_app(cls, app: str) -> str:
        if not _APP.fullmatch(app):
            raise ValueError("write it as module:attribute, as in server.app:app")
        return app

    @property
    def app_module(self) -> str:
        """The application's module."""
        return self.app.partition(":")[0]

    @property
    def app_attribute(self) -> str:
        """The application's name in its module."""
        return self.app.partition(":")[2]


def read_manifest(folder: Path) -> Manifest:
    """Read the ``openenv.yaml`` of a folder. Without one, the folder's name is the environment's.

    Raises:
        ConfigurationError: The folder is not an environment's, or the file is invalid. The message has a
            line for each mistake, with its line number.
    """
    path = environment_folder(folder) / MANIFEST
    if not path.exists():
        return Manifest(name=re.sub(r"[^A-Za-z0-9_.-]|^[_.-]+", "", path.parent.name) or "environment")
    if not path.is_file():
        raise ConfigurationError(f"{path} is not a regular file")
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    content, root = load_yaml(text, str(path))
    if not isinstance(content, dict) or not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{path} is not a mapping of fields, such as name: my_env")
    lines = _lines(root)
    misspelt = _misspelt(content)
    mistakes = [
        f"{path}:{lines[field]}: {field}: unknown field. Did you mean {meant!r}?"
        for field, meant in misspelt.items()
    ]
    mistakes += [f"{path}:{line}: {field}: duplicate field" for field, line in _repeated(root)]
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        mistakes += [
            f"{path}:{lines.get(mistake['loc'][0], 1)}: {mistake['loc'][0]}: {_message(mistake)}"
            for mistake in error.errors()
            if mistake["loc"][0] not in misspelt.values()
        ]
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))
    return manifest


def _misspelt(content: dict[Any, Any]) -> dict[str, str]:
    """Unknown fields that resemble a field which is missing, each with that field."""
    missing = [name for name in Manifest.model_fields if name not in content]
    found = {}
    for field in content:
        near = get_close_matches(str(field), missing, n=1, cutoff=0.75)
        if near and field not in Manifest.model_fields:
            found[str(field)] = near[0]
    return found


def _lines(root: yaml.MappingNode) -> dict[Any, int]:
    """The line of each field, counted from 1."""
    return {key.value: key.start_mark.line + 1 for key, _ in root.value}


def _repeated(root: yaml.MappingNode) -> list[tuple[str, int]]:
    """Repeated fields, of which YAML would take the last, with their lines."""
    seen: set[str] = set()
    repeated = []
    for key, _ in root.value:
        name = str(key.value)
        if name in seen:
            repeated.append((name, key.start_mark.line + 1))
        seen.add(name)
    return repeated


def _message(mistake: Any) -> str:
    text = str(mistake["msg"]).removeprefix("Value error, ")
    return (
        text
        if mistake["type"] in ("missing", "value_error")
        else f"{text}, not {repr(mistake['input'])[:_MOST_SHOWN]}"
    )
