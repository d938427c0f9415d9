"""Where an environment comes from: a server's address, or what a server of its own is made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from openenv_gym.errors import ConfigurationError

Kind = Literal["base_url", "path", "gym", "app", "image", "space"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SPACE = re.compile(r"[\w.-]+/[\w.-]+")
_APP = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
_IMAGE = re.compile(r"[a-z0-9][\w.:/@-]*", re.IGNORECASE)

MANIFEST = "openenv.yaml"


@dataclass(frozen=True)
class Source:
    """Where an environment comes from.

    Attributes:
        kind: What it is, which is also the keyword of ``gym.make`` and of the registry file.
        value: The server's base URL, the environment's folder, a Gymnasium id, an application's import path
            (``module:attribute``), the image's name, or ``owner/name`` of a Space.
    """

    kind: Kind
    value: str

    @property
    def keywords(self) -> dict[str, str]:
        """The keyword of ``gym.make``."""
        return {self.kind: self.value}

    @classmethod
    def of(cls, given: Mapping[str, object], where: str) -> Source:
        """The source among keywords, or among the fields of a table.

        Args:
            given: May have each of `KINDS`; those that are None do not count.
            where: Names what was given, for the message.

        Raises:
            ConfigurationError: There is none, or several, or it is not what it should be.
        """
        found = [(kind, given[kind]) for kind in KINDS if given.get(kind) is not None]
        if len(found) != 1:
            has = " and ".join(kind for kind, _ in found) or "none of them"
            raise ConfigurationError(f"{where} has {has}; name one of {', '.join(KINDS)}")
        ((kind, value),) = found
        if isinstance(value, Path):
            value = str(value)
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{where}: {kind} is a text, not {value!r}")
        if kind == "space" and not _SPACE.fullmatch(value):
            raise ConfigurationError(f"{where}: a Space is OWNER/NAME, as in my-org/my-env, not {value!r}")
        if kind == "app" and not _APP.fullmatch(value):
            raise ConfigurationError(
                f"{where}: an application is module:attribute, as in my_env.server.app:app, not {value!r}"
            )
        if kind == "image" and not _IMAGE.fullmatch(value):
            raise ConfigurationError(
                f"{where}: {value!r} is not an image's name, such as ghcr.io/my-org/my-env:latest"
            )
        return cls(kind, value)

    def absolute(self) -> Source:
        """The same, wherever the process goes: a folder's path from the root of the file system."""
        return Source(self.kind, str(Path(self.value).resolve())) if self.kind == "path" else self


def environment_folder(path: str | Path) -> Path:
    """An environment's folder, from the root of the file system.

    Raises:
        ConfigurationError: There is no such folder, or no ``openenv.yaml`` in it.
    """
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise ConfigurationError(
            f"There is no folder {folder}{': that is a file' if folder.exists() else ''}"
        )
    if not (folder / MANIFEST).exists():
        raise ConfigurationError(
            f"{folder} has no {MANIFEST}, so it is not an environment's folder. "
            "Go into one, make one with `openenv init my_env`, "
            "or serve a Gymnasium environment: openenv serve --gym CartPole-v1"
        )
    return folder
