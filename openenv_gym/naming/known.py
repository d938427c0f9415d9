"""The names that this machine knows, each with its source.

A name comes from one of three places; the first that has it wins: an ``OPENENV_MY_ENV_URL`` variable, the
user's registry file, and the notes of running ``openenv serve`` commands. A server that a provider started
has no note: it belongs to its program.
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
from openenv_gym.manifest import canonical_name
from openenv_gym.providers.sources import Source
from openenv_gym.providers.supervised_process import is_running

_APP = "openenv-gym"
_VARIABLE = re.compile(r"OPENENV_(\w+)_URL")
_FIX = 'Fix the file: each environment is a table, [environments.my-env] with base_url = "http://…"'


@dataclass(frozen=True)
class KnownServer:
    """A name, and where its server comes from.

    Attributes:
        name: The name, with hyphens.
        source: Where the server comes from.
        known_from: What defines the name, for people: a variable, the file, or a process.
    """

    name: str
    source: Source
    known_from: str


def registry_file() -> Path:
    """The path of the user's registry file, which ``openenv register`` writes.

    It is TOML; each environment is a table ``[environments.my-env]`` with its `Source`.
    """
    return Path(platformdirs.user_config_dir(_APP, appauthor=False)) / "registry.toml"


def notes_folder() -> Path:
    """The folder with the notes of running servers."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR it is a folder in /tmp, which works too.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir(_APP, appauthor=False)) / "servers"


def known_servers(problems: list[str] | None = None) -> list[KnownServer]:
    """Every name that this machine knows, each once.

    Args:
        problems: Receives a sentence for each variable and each registry entry that cannot be used.
    """
    problems = [] if problems is None else problems
    found: dict[str, KnownServer] = {}
    for server in (*_from_variables(problems), *_from_registry_file(problems), *running_servers()):
        found.setdefault(server.name, server)
    return sorted(found.values(), key=lambda server: server.name)


def leave_note(name: str, base_url: str) -> Path:
    """Announce a server of this process to this machine, until `remove_note`."""
    folder = notes_folder()
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        # The XDG Base Directory Specification wants a runtime folder that only its user can read.
        missing.mkdir(mode=0o700, exist_ok=True)
    note = folder / f"{os.getpid()}-{canonical_name(name)}.json"
    # Written atomically, because others read the folder at any time.
    draft = note.with_suffix(".draft")
    draft.write_text(json.dumps({"name": name, "base_url": base_url, "pid": os.getpid()}))
    return draft.replace(note)


def remove_note(note: Path) -> None:
    """Remove a note of this process."""
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
                raise ConfigurationError(f'{where} is not a table such as {{ base_url = "http://…" }}')
            yield KnownServer(canonical_name(name), Source.of(entry, where), path.name)
        except ConfigurationError as error:
            problems.append(str(error))


def read_environments(path: Path) -> dict[str, Any]:
    """The tables of a registry file, by name; empty if the file does not exist.

    Raises:
        ConfigurationError: The file cannot be read, or is not a registry file.
    """
    import tomllib

    try:
        environments = tomllib.loads(path.read_text(encoding="utf-8")).get("environments", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is not a registry file: {error}. {_FIX}") from error
    if not isinstance(environments, dict):
        raise ConfigurationError(f"{path} is not a registry file: environments is not a table. {_FIX}")
    return environments


def running_servers() -> Iterator[KnownServer]:
    """The servers of running ``openenv serve`` commands, newest first; several may share a name."""
    folder = notes_folder()
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.json"), key=_written_at, reverse=True):
        try:
            note = json.loads(path.read_text())
            name, url, pid = canonical_name(note["name"]), str(note["base_url"]), int(note["pid"])
        except FileNotFoundError:
            continue  # its server has just stopped
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
        return 0  # its server has just stopped
