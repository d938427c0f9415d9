"""Where a server comes from: the table of sources, and one source.

``gym.make``, `openenv_gym.register`, the registry file and ``openenv register`` read `SOURCES`: for them a
new source is one entry here, and the provider that it names. ``openenv serve`` has options for what it can
serve.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from openenv_gym.errors import ConfigurationError


@dataclass(frozen=True)
class SourceKind:
    """One way to say where a server comes from.

    Attributes:
        keyword: The keyword of ``gym.make`` and `openenv_gym.register`, and the key in the registry file.
        summary: What a value is, for ``--help``.
        provider: The import path of the `Provider` that starts the servers; "" if they run already.
        pattern: The regular expression that a value matches.
        expected: What a value should look like, for the error.
        named_providers: Other providers that ``provider="NAME"`` chooses, from the name to the import path.
        option: The option of ``openenv register``, without dashes; the keyword by default.
        metavar: What ``--help`` shows for a value.
        status: What ``openenv list`` shows instead of asking the server, which is not started yet.
        is_path: Whether a value is a path, which is made absolute.
    """

    keyword: str
    summary: str
    provider: str
    pattern: str = ".+"
    expected: str = "a non-empty string"
    named_providers: Mapping[str, str] = field(default_factory=dict)
    option: str = ""
    metavar: str = "TEXT"
    status: str = "starts on demand"
    is_path: bool = False

    def __post_init__(self) -> None:
        if not self.option:
            object.__setattr__(self, "option", self.keyword)


_PROCESS = "openenv_gym.providers.process:ProcessProvider"
_RAY = {"ray": "openenv_gym.providers.ray:RayProvider"}

_TABLE = (
    SourceKind("base_url", "A server's address.", provider="", option="url"),
    SourceKind(
        "path",
        "An environment's folder, served by each gym.make.",
        _PROCESS,
        named_providers=_RAY,
        metavar="PATH",
        is_path=True,
    ),
    SourceKind("gym", "A Gymnasium environment.", _PROCESS, named_providers=_RAY, metavar="ID"),
    SourceKind(
        "app",
        "An application, by its import path.",
        _PROCESS,
        pattern=r"[^\W\d][\w.]*:[^\W\d]\w*",
        expected="module:attribute, as in my_env.server.app:app",
        named_providers=_RAY,
        metavar="MODULE:ATTRIBUTE",
    ),
    SourceKind(
        "image",
        "A container image.",
        "openenv_gym.providers.docker:DockerProvider",
        pattern=r"[A-Za-z0-9][\w.:/@-]*",
        expected="the name of an image, as in ghcr.io/my-org/my-env:latest",
    ),
    SourceKind(
        "space",
        "A Space on the Hugging Face Hub.",
        "openenv_gym.providers.hub:HubProvider",
        pattern=r"[\w.-]+/[\w.-]+",
        expected="OWNER/NAME, as in my-org/my-env",
        metavar="OWNER/NAME",
        status="on the Hub, not checked",
    ),
)
SOURCES: Mapping[str, SourceKind] = {kind.keyword: kind for kind in _TABLE}


@dataclass(frozen=True)
class Source:
    """Where the server of one environment comes from.

    Attributes:
        kind: The keyword of its entry in `SOURCES`.
        value: The server's base URL, the folder, the Gymnasium id, …
    """

    kind: str
    value: str

    @property
    def keywords(self) -> dict[str, str]:
        """The keyword of ``gym.make``, with its value."""
        return {self.kind: self.value}

    @property
    def is_address(self) -> bool:
        """Whether the server runs already, so that nothing has to be started."""
        return not SOURCES[self.kind].provider

    @classmethod
    def of(cls, given: Mapping[str, object], where: str) -> Source:
        """Pick the one source among keywords, or among the keys of a table.

        Args:
            given: May have any of `SOURCES`; a value of None counts as absent.
            where: What has these keywords, for the error.

        Raises:
            ConfigurationError: Not exactly one was given, or its value is malformed.
        """
        found = [kind for keyword, kind in SOURCES.items() if given.get(keyword) is not None]
        if len(found) != 1:
            several = f"has {' and '.join(kind.keyword for kind in found)}; keep one of them"
            none = f"has no source; name one of {', '.join(SOURCES)}"
            raise ConfigurationError(f"{where} {several if found else none}.")
        (kind,) = found
        value = given[kind.keyword]
        if isinstance(value, Path):
            value = str(value)
        if not (isinstance(value, str) and re.fullmatch(kind.pattern, value, re.DOTALL)):
            raise ConfigurationError(f"{where}: {kind.keyword} must be {kind.expected}, got {value!r}")
        return cls(kind.keyword, value)

    def absolute(self) -> Source:
        """The same source for a process in any folder: a path becomes absolute."""
        return Source(self.kind, str(Path(self.value).resolve())) if SOURCES[self.kind].is_path else self
