"""The names that this machine knows, each with its source.

A name comes from one of three places; the first that has it wins: an ``OPENENV_MY_ENV_URL`` variable, the
user's registry file, and the notes of running ``openenv serve`` commands. A server that a provider started
has no note: it belongs to its program.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from openenv_gym.errors import ConfigurationError
from openenv_gym.manifest import canonical_name
from openenv_gym.providers.sources import Source
from openenv_gym.providers.supervised_process import is_own

_APP = "openenv-gym"
_VARIABLE = re.compile(r"OPENENV_(\w+)_URL")
_FIX = 'Fix the file: each environment is a table, [environments.my-env] with base_url = "http://…"'

_NO_NAME = "This server is not found by its name, only by its address."
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Far more than a note has.
_MOST_CHARACTERS = 65536


@dataclass(frozen=True)
class KnownServer:
    """A name, and where its server comes from.

    Attributes:
        name: The name, with hyphens.
        source: Where the server comes from.
        known_from: What defines the name, for people: a variable, the file, or a process.
        serves: The folder that a running server serves, "" if it serves something else; None for other names.
    """

    name: str
    source: Source
    known_from: str
    serves: str | None = None


def registry_file() -> Path:
    """The path of the user's registry file, which ``openenv register`` writes.

    It is TOML; each environment is a table ``[environments.my-env]`` with its `Source`.

    Raises:
        ConfigurationError: This user has no home folder, as in a container that runs as any user.
    """
    try:
        return Path(platformdirs.user_config_dir(_APP, appauthor=False)) / "registry.toml"
    except RuntimeError as error:
        raise ConfigurationError(
            "This user has no home folder, and so no registry file.", advice="Set HOME or XDG_CONFIG_HOME."
        ) from error


def notes_folder() -> Path:
    """The folder with the notes of running servers.

    Raises:
        OSError: This user has none, as in a container whose file system is read-only.
    """
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR it is a folder in /tmp, which works too.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir(_APP, appauthor=False)) / "servers"


def known_servers(problems: list[str] | None = None) -> list[KnownServer]:
    """Every name that this machine knows, each once.

    Args:
        problems: Receives a sentence for each variable and each registry entry that cannot be used, and if
            running servers cannot be found.
    """
    problems = [] if problems is None else problems
    found: dict[str, KnownServer] = {}
    for server in (*_from_variables(problems), *_from_registry_file(problems), *running_servers(problems)):
        found.setdefault(server.name, server)
    return sorted(found.values(), key=lambda server: server.name)


def leave_note(name: str, base_url: str, folder: Path | None = None) -> Path:
    """Announce a server of this process to this machine, until `remove_note`.

    Args:
        name: Its name.
        base_url: Its address.
        folder: The folder of its environment, if it serves one.

    Raises:
        ConfigurationError: The folder for it cannot be used. The server can still be used by its address.
    """
    try:
        notes = notes_folder()
    except OSError as error:
        raise ConfigurationError(f"{_NO_NAME} {error}.") from error
    try:
        for missing in reversed([path for path in (notes, *notes.parents) if not path.exists()]):
            # The XDG Base Directory Specification wants a runtime folder that only its user can read.
            missing.mkdir(mode=0o700, exist_ok=True)
        if (unsafe := _unsafe_part(notes)) is not None:
            raise ConfigurationError(f"{_NO_NAME} {_why_unsafe(unsafe)}")
        notes = notes.resolve(strict=True)
        note = notes / f"{os.getpid()}-{canonical_name(name)}.json"
        # Written atomically, because others read the folder at any time.
        draft = note.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600, exist_ok=False)
        serves = "" if folder is None else str(folder)
        draft.write_text(
            json.dumps({"name": name, "base_url": base_url, "pid": os.getpid(), "folder": serves})
        )
        return draft.replace(note)
    except OSError as error:
        raise ConfigurationError(f"{_NO_NAME} {notes} cannot be used: {error}.") from error


def remove_note(note: Path) -> None:
    """Remove a note of this process."""
    with contextlib.suppress(OSError):
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
    try:
        path = registry_file()
    except ConfigurationError:
        return  # nothing can have been registered
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


def running_servers(problems: list[str] | None = None) -> Iterator[KnownServer]:
    """The servers of this user's running ``openenv serve`` commands, newest first; several may share a name.

    A client shows its key to a server that it finds here, so the notes of others do not count.

    Args:
        problems: Receives a sentence if the folder with the notes cannot be used.
    """
    problems = [] if problems is None else problems
    try:
        unresolved = notes_folder()
    except OSError:
        return  # then no server has a place for its note either
    try:
        unsafe = _unsafe_part(unresolved)
        folder = unresolved.resolve(strict=True)
        notes = sorted(folder.glob("*.json"), key=_written_at, reverse=True) if unsafe is None else []
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"Running servers cannot be found by name: {error}.")
        return
    if unsafe is not None:
        problems.append(f"Running servers are not found by name. {_why_unsafe(unsafe)}")
        return
    for path in notes:
        try:
            note = json.loads(_read_own(path))
            name, url, pid = canonical_name(note["name"]), str(note["base_url"]), int(note["pid"])
            source = Source("base_url", url)
            is_alive = is_own(pid)
        except OSError:
            continue  # its server has just stopped, or it is another's
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            remove_note(path)
            continue
        if is_alive:
            serves = str(note.get("folder", ""))
            yield KnownServer(name, source, f"openenv serve (process {pid})", serves)
        else:
            remove_note(path)


def _unsafe_part(folder: Path) -> Path | None:
    """The first of a folder and its parents that others can put files into, or replace; None if none.

    A link of another user may lead to a folder of this user, with files that are no notes.
    """
    if sys.platform == "win32":
        return None  # the folder is in the user's profile
    real = folder.resolve(strict=True)
    for part in (folder, *folder.parents, real, *real.parents):
        status = part.lstat()
        is_shared = (
            status.st_mode & _OTHERS_WRITE
            and not stat.S_ISLNK(status.st_mode)
            and not (part not in (folder, real) and status.st_mode & stat.S_ISVTX)
        )
        if status.st_uid not in (0, os.geteuid()) or is_shared:
            return part
    return None


def _why_unsafe(folder: Path) -> str:
    return (
        f"{folder} belongs to another user, or others may write to it: remove it, or set XDG_RUNTIME_DIR to "
        "a folder that only you can write to."
    )


def _read_own(note: Path) -> str:
    """Read a note that this user, or root, wrote and others cannot write to.

    Raises:
        OSError: It is not one.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(note, flags)) as file:
        status = os.fstat(file.fileno())
        is_ours = sys.platform == "win32" or (
            status.st_uid in (0, os.geteuid()) and not status.st_mode & _OTHERS_WRITE
        )
        if not (is_ours and stat.S_ISREG(status.st_mode)):
            raise PermissionError(f"{note} is not a file of this user alone")
        return file.read(_MOST_CHARACTERS)


def _written_at(note: Path) -> int:
    try:
        return note.stat().st_mtime_ns
    except OSError:
        return 0  # its server has just stopped
