"""``openenv register``: add or remove a name in the user's registry file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import filelock
import tomlkit
import typer

from openenv_cli.output import one_line, say, status
from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.manifest import canonical_name
from openenv_gym.naming.known import read_environments, registry_file
from openenv_gym.providers.sources import SOURCES, Source

_TABLE = "environments"
_LOCK_TIMEOUT_S = 10.0


def with_source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turn a command's ``**sources`` into one option for each entry of `SOURCES`."""
    options = [
        Parameter(
            kind.keyword,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None, typer.Option(f"--{kind.option}", metavar=kind.metavar, help=kind.summary)
            ],
        )
        for kind in SOURCES.values()
    ]
    own = list(signature(command, eval_str=True).parameters.values())
    positional = [parameter for parameter in own if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
    keyword_only = [parameter for parameter in own if parameter.kind is Parameter.KEYWORD_ONLY]
    command.__signature__ = Signature([*positional, *options, *keyword_only])  # type: ignore[attr-defined]
    return command


@with_source_options
def register(
    name: Annotated[str, typer.Argument(help='As in gym.make("openenv/NAME").')],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing entry.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the name instead.")] = False,
    **sources: str | None,
) -> None:
    """Register a name for an environment, for gym.make, in your registry file.

    Examples:
        openenv register my-env --url http://localhost:8000

        openenv register my-env --path ./my_env

        openenv register my-env --space my-org/my-env --force

        openenv register my-env --remove
    """
    if remove:
        if force or any(value is not None for value in sources.values()):
            raise ConfigurationError(
                "--remove takes no other option.", advice=f"Run: openenv register {name} --remove"
            )
        file = remove_environment(name)
        print(f"Removed {one_line(canonical_name(name))}\n  from {file}")
        return
    if sum(value is not None for value in sources.values()) != 1:
        raise ConfigurationError(
            f"Pass exactly one of {', '.join(f'--{kind.option}' for kind in SOURCES.values())}.",
            advice=f"For example: openenv register {name} --url http://localhost:8000",
        )
    source = _checked(Source.of(sources, f"openenv register {name}").absolute())
    file = add_environment(name, source, force=force)
    canonical = canonical_name(name)
    print(f'gym.make("openenv/{canonical}")\n  {source.kind} {one_line(source.value)}\n  in {file}')
    variable = f"OPENENV_{canonical.replace('-', '_').upper()}_URL"
    if os.environ.get(variable):
        say("Warning", f"{variable} is set and takes precedence over the file.")


def _checked(source: Source) -> Source:
    """A source whose value is valid; a base URL is normalized."""
    if source.is_address:
        from openenv_gym.transport.endpoint import Endpoint

        return Source(source.kind, Endpoint.parse(source.value).base_url)
    if source.kind == "path":
        from openenv_server.manifest import read_manifest

        read_manifest(Path(source.value))
    return source


def add_environment(name: str, source: Source, *, force: bool = False) -> Path:
    """Add an environment to the user's registry file. Comments and other entries are kept.

    Args:
        name: The environment's name; ``my-env`` and ``my_env`` are the same.
        source: Where its server comes from.
        force: Replace an existing entry of this name.

    Returns:
        The file.

    Raises:
        ConfigurationError: The name is taken or invalid, or the file is not a registry file. The file is
            unchanged.
        OpenEnvError: Another process locked the file for too long.
    """
    canonical = canonical_name(name)
    if canonical == "remote":
        raise ConfigurationError('The name "remote" is reserved.', advice="Choose another name.")
    with _environments() as (path, environments):
        for taken in _spellings(environments, canonical):
            held = Source.of(environments[taken], f"{path}, [environments.{taken}]") if not force else None
            if held == source:
                return path
            if held is not None:
                raise ConfigurationError(
                    f"The name {taken} is taken by the {held.kind} {held.value} in {path}.",
                    advice=f"Replace it with --force, or remove it: openenv register {taken} --remove",
                )
            del environments[taken]
        environments[canonical] = source.keywords
    return path


def remove_environment(name: str) -> Path:
    """Remove an environment from the user's registry file and return the file.

    Raises:
        ConfigurationError: The name is not in the file, or the file is not a registry file.
        OpenEnvError: Another process locked the file for too long.
    """
    with _environments() as (path, environments):
        taken = list(_spellings(environments, canonical_name(name)))
        if not taken:
            names = ", ".join(environments) or "none"
            raise ConfigurationError(f"{name} is not in {path}. Its names: {names}.")
        for spelling in taken:
            del environments[spelling]
    return path


def _spellings(environments: MutableMapping[str, Any], canonical: str) -> Iterator[str]:
    yield from [name for name in environments if name.replace("_", "-") == canonical]


@contextmanager
def _environments() -> Iterator[tuple[Path, MutableMapping[str, Any]]]:
    """Yield the file and its table of environments; changes to the table are written at the end."""
    # Resolved, so that a symbolic link to the file stays one.
    path = registry_file().resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        read_environments(path)
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        if _TABLE not in document:
            document.add(_TABLE, tomlkit.table(is_super_table=True))
        before = tomlkit.dumps(document)
        yield path, document[_TABLE]  # type: ignore[misc]  # read_environments has checked that it is a table
        if (after := tomlkit.dumps(document).lstrip("\n")) != before:
            _replace(path, after)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file against other writers. Readers need no lock because it is replaced atomically."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        try:
            with status(f"Waiting for another change of {path}…"):
                lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except filelock.Timeout as error:
            raise OpenEnvError(
                f"Another openenv register has locked {path} for {_LOCK_TIMEOUT_S:g} s.",
                advice="Try again when it has finished.",
            ) from error
    try:
        yield
    finally:
        lock.release()


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically, because others may read it at any time."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    number, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(number)
        os.chmod(draft, mode)  # noqa: PTH101 - mkstemp returns a string
        os.replace(draft, path)  # noqa: PTH105 - same
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
