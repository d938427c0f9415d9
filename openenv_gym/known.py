"""The names that this machine knows, and the source of each.

Three places, the first that has a name counts: ``OPENENV_MY_ENV_URL`` variables, the user's registry file,
and the notes that running ``openenv serve`` commands leave. The servers of providers leave none: they are
their program's own.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from openenv_gym.errors import ConfigurationError
from openenv_gym.sources import Source

_APP = "openenv-gym"
_VARIABLE = re.compile(r"OPENENV_(\w+)_URL")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MEND = 'Mend it; an environment is a table [environments.my-env] with base_url = "http://…"'


@dataclass(frozen=True)
class KnownServer:
    """A name and where its server comes from.

    Attributes:
        name: The name, with hyphens.
        source: Where the server comes from.
        known_from: Where the name is known from, for people.
    """

    name: str
    source: Source
    known_from: str


def canonical_name(name: str) -> str:
    """A name with hyphens: ``my_env`` and ``my-env`` are one.

    Raises:
        ConfigurationError: It cannot be a part of a Gymnasium id.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be an environment's name: letters, digits, '-', '_' and '.' only, as in my-env"
        )
    return name.replace("_", "-")


def registry_file() -> Path:
    """The user's registry file: TOML, a table ``[environments.my-env]`` with the `Source` of each.

    ``openenv register`` writes it.
    """
    return Path(platformdirs.user_config_dir(_APP, appauthor=False)) / "registry.toml"


def notes_folder() -> Path:
    """Where running servers leave their notes."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR the folder is one in /tmp, which does as well.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir(_APP, appauthor=False)) / "servers"


def known_servers(problems: list[str] | None = None) -> list[KnownServer]:
    """Every name that this machine knows, each once.

    Args:
        problems: Gets a sentence for each variable, and each part of the registry file, that cannot be used.
    """
    problems = [] if problems is None else problems
    found: dict[str, KnownServer] = {}
    for server in (*_from_variables(problems), *_from_registry_file(problems), *running_servers()):
        found.setdefault(server.name, server)
    return sorted(found.values(), key=lambda server: server.name)


def leave_note(name: str, base_url: str) -> Path:
    """Notes a server of this process, until `remove_note`."""
    folder = notes_folder()
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        # A runtime folder that others can read is not taken for one (XDG Base Directory Specification).
        missing.mkdir(mode=0o700, exist_ok=True)
    note = folder / f"{os.getpid()}-{canonical_name(name)}.json"
    # Whole or not at all: others read the folder at any time.
    draft = note.with_suffix(".draft")
    draft.write_text(json.dumps({"name": name, "base_url": base_url, "pid": os.getpid()}))
    return draft.replace(note)


def remove_note(note: Path) -> None:
    """Removes a note of this process."""
    note.unlink(missing_ok=True)


def _from_variables(problems: list[str]) -> Iterator[KnownServer]:
    for variable, url in os.environ.items():
        match = _VARIABLE.fullmatch(variable)
        if match and url:
            try:
                yield KnownServer(canonical_name(match[1].lower()), Source("base_url", url), f"${variable}")
            except ConfigurationError as error:
                problems.append(f"${variable}: {error}")


def _from_registry_file(problems: list[str]) -> Iterator[KnownServer]:
    path = registry_file()
    try:
        environments = read_environments(path)
    except ConfigurationError as error:
        problems.append(str(error))
        return
    for name, entry in environments.items():
        where = f"{path}, [environments.{name}]"
        try:
            if not isinstance(entry, dict):
                raise ConfigurationError(f'{where} is not a table, with base_url = "http://…" in it, say')
            yield KnownServer(canonical_name(name), Source.of(entry, where), path.name)
        except ConfigurationError as error:
            problems.append(str(error))


def read_environments(path: Path) -> dict[str, Any]:
    """The tables of a registry file, by name; none where there is no file.

    Raises:
        ConfigurationError: It is not a registry file.
    """
    import tomllib

    try:
        environments = tomllib.loads(path.read_text(encoding="utf-8")).get("environments", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is not a registry file: {error}. {_MEND}") from error
    if not isinstance(environments, dict):
        raise ConfigurationError(f"{path} is not a registry file: environments is not a table. {_MEND}")
    return environments


def running_servers() -> Iterator[KnownServer]:
    """The servers that ``openenv serve`` has running here, the last started first; some may share a name."""
    folder = notes_folder()
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json"), key=_written_at, reverse=True):
        try:
            note = json.loads(path.read_text())
            name, url, pid = canonical_name(note["name"]), str(note["base_url"]), int(note["pid"])
        except FileNotFoundError:
            continue  # its server stopped just now
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if is_running(pid):
            yield KnownServer(name, Source("base_url", url), f"openenv serve (process {pid})")
        else:
            path.unlink(missing_ok=True)


def _written_at(note: Path) -> int:
    try:
        return note.stat().st_mtime_ns
    except FileNotFoundError:
        return 0  # its server stopped just now


def is_running(pid: int) -> bool:
    """Whether there is a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
