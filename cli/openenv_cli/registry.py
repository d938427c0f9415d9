"""Changes of the user's registry file: whole or not at all, one process after another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import tomlkit

from openenv_cli.progress import status
from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.known import canonical_name, read_environments, registry_file
from openenv_gym.sources import Source

_TABLE = "environments"
_LOCK_TIMEOUT_S = 10.0


def add_environment(name: str, source: Source, *, force: bool = False) -> Path:
    """Adds an environment to the user's registry file; comments and other entries stay as they are.

    Args:
        name: Its name; ``my-env`` and ``my_env`` are one.
        source: Where it comes from.
        force: Replace one of this name.

    Returns:
        The file.

    Raises:
        ConfigurationError: The name is taken or cannot be one, or the file is not one. The file is
            as it was.
        OpenEnvError: Another process kept the file to itself for too long.
    """
    canonical = canonical_name(name)
    if canonical == "remote":
        raise ConfigurationError('The name "remote" stands for any server; choose another')
    with _environments() as (path, environments):
        for taken in _spellings(environments, canonical):
            held = Source.of(environments[taken], f"{path}, [environments.{taken}]") if not force else None
            if held == source:
                return path
            if held is not None:
                raise ConfigurationError(
                    f"The name {taken} is taken: it is the {held.kind} {held.value} in {path}. Replace that "
                    f"with --force, or free the name: openenv register {taken} --remove"
                )
            del environments[taken]
        environments[canonical] = source.keywords
    return path


def remove_environment(name: str) -> Path:
    """Removes an environment from the user's registry file; returns the file.

    Raises:
        ConfigurationError: There is none of this name, or the file is not a registry file.
        OpenEnvError: Another process kept the file to itself for too long.
    """
    with _environments() as (path, environments):
        taken = list(_spellings(environments, canonical_name(name)))
        if not taken:
            names = ", ".join(environments) or "none"
            raise ConfigurationError(f"There is no {name} in {path}. It has: {names}")
        for spelling in taken:
            del environments[spelling]
    return path


def _spellings(environments: MutableMapping[str, Any], canonical: str) -> Iterator[str]:
    yield from [name for name in environments if name.replace("_", "-") == canonical]


@contextmanager
def _environments() -> Iterator[tuple[Path, MutableMapping[str, Any]]]:
    """The file, and its table of environments to change; what was changed is written at the end."""
    # Where the file is a link, as some keep theirs elsewhere, the link stays one.
    path = registry_file().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        read_environments(path)
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        if _TABLE not in document:
            document.add(_TABLE, tomlkit.table(is_super_table=True))
        before = tomlkit.dumps(document)
        yield path, document[_TABLE]  # type: ignore[misc]  # a table, as read_environments has found
        if (after := tomlkit.dumps(document).lstrip("\n")) != before:
            _replace(path, after)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other changes of the file out. Readers need no lock, as it is replaced whole."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        try:
            with status(f"Waiting for another change of {path}…"):
                lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except filelock.Timeout as error:
            raise OpenEnvError(
                f"Another openenv register has had {path} to itself for {_LOCK_TIMEOUT_S:g} s. Try again "
                "when it has ended"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all: others read it at any time."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    number, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(number)
        os.chmod(draft, mode)  # noqa: PTH101 - mkstemp gives a name
        os.replace(draft, path)  # noqa: PTH105 - the same
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
