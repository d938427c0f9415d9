"""The names that this machine knows: where each comes from, and the server behind it.

Three places, the first that has a name counts: ``OPENENV_MY_ENV_URL`` variables, the user's registry file,
and the notes that running ``openenv serve`` commands leave.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from openenv_gym.errors import ConfigurationError

_APP = "openenv-gym"
_VARIABLE = re.compile(r"OPENENV_(\w+)_URL")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class KnownServer:
    """A name and the server behind it.

    Attributes:
        name: The name, with hyphens.
        base_url: The server's address.
        source: Where it is known from, for people.
    """

    name: str
    base_url: str
    source: str


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
    """The user's registry file: TOML, a table ``[environments.my-env]`` with a ``base_url`` each."""
    return Path(platformdirs.user_config_dir(_APP, appauthor=False)) / "registry.toml"


def notes_folder() -> Path:
    """Where running servers leave their notes."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR the folder is one in /tmp, which does as well.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir(_APP, appauthor=False)) / "servers"


def known_servers() -> list[KnownServer]:
    """Every name that this machine knows, each once.

    Raises:
        ConfigurationError: The registry file is not one.
    """
    found: dict[str, KnownServer] = {}
    for server in (*_from_variables(), *_from_registry_file(), *_from_notes()):
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


def _from_variables() -> Iterator[KnownServer]:
    for variable, url in os.environ.items():
        match = _VARIABLE.fullmatch(variable)
        if match and url:
            yield KnownServer(canonical_name(match[1].lower()), url, f"${variable}")


def _from_registry_file() -> Iterator[KnownServer]:
    path = registry_file()
    if not path.exists():
        return
    import tomllib

    try:
        environments = tomllib.loads(path.read_text()).get("environments", {})
        for name, entry in environments.items():
            yield KnownServer(canonical_name(name), entry["base_url"], str(path))
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is not a registry file ({error!r}). "
            'Each environment is a table [environments.my-env] with base_url = "http://…".'
        ) from error


def _from_notes() -> Iterator[KnownServer]:
    folder = notes_folder()
    if not folder.is_dir():
        return
    # Of two servers of one name, the one that was started last.
    for path in sorted(folder.glob("*.json"), key=_written_at, reverse=True):
        try:
            note = json.loads(path.read_text())
            name, url, pid = canonical_name(note["name"]), str(note["base_url"]), int(note["pid"])
        except FileNotFoundError:
            continue  # its server stopped just now
        except (ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            continue
        if _is_running(pid):
            yield KnownServer(name, url, f"openenv serve (process {pid})")
        else:
            path.unlink(missing_ok=True)


def _written_at(note: Path) -> int:
    try:
        return note.stat().st_mtime_ns
    except FileNotFoundError:
        return 0  # its server stopped just now


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
