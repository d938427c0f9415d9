"""``openenv register``: a name for an environment, in the user's registry file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openenv_gym.sources import Source


def register(
    name: Annotated[str, typer.Argument(help='As in gym.make("openenv/NAME").')],
    url: Annotated[str | None, typer.Option(help="A server's address.")] = None,
    path: Annotated[
        Path | None, typer.Option(help="An environment's folder; each gym.make serves it anew.")
    ] = None,
    gym: Annotated[str | None, typer.Option(metavar="ID", help="A Gymnasium environment.")] = None,
    app: Annotated[
        str | None, typer.Option(metavar="MODULE:ATTRIBUTE", help="An application, by its import path.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="A container image.")] = None,
    space: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="A Space of the Hugging Face Hub.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what has this name.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the name instead.")] = False,
) -> None:
    """Gives an environment a name for gym.make, in your registry file.

    Examples:
        openenv register my-env --url http://localhost:8000

        openenv register my-env --path ./my_env

        openenv register my-env --space my-org/my-env --force

        openenv register my-env --remove
    """
    from openenv_cli.messages import say
    from openenv_cli.registry import add_environment, remove_environment
    from openenv_gym.errors import ConfigurationError
    from openenv_gym.known import canonical_name
    from openenv_gym.sources import Source

    given = {"base_url": url, "path": path, "gym": gym, "app": app, "image": image, "space": space}
    if remove:
        if force or any(value is not None for value in given.values()):
            raise ConfigurationError(f"--remove goes alone: openenv register {name} --remove")
        file = remove_environment(name)
        print(f"{canonical_name(name)} is no longer\n  in {file}")
        return
    if sum(value is not None for value in given.values()) != 1:
        raise ConfigurationError(
            "Name one source: --url, --path, --gym, --app, --image or --space, as in "
            f"openenv register {name} --url http://localhost:8000"
        )
    source = _checked(Source.of(given, f"openenv register {name}").absolute())
    file = add_environment(name, source, force=force)
    canonical = canonical_name(name)
    print(f'gym.make("openenv/{canonical}")\n  {source.kind} {source.value}\n  in {file}')
    variable = f"OPENENV_{canonical.replace('-', '_').upper()}_URL"
    if os.environ.get(variable):
        say("Warning", f"{variable} is set, and goes before the file")


def _checked(source: Source) -> Source:
    """The source, where it can be one; a base URL as it is shown elsewhere."""
    from openenv_gym.sources import Source

    if source.kind == "base_url":
        from openenv_gym.transport.endpoint import Endpoint

        return Source("base_url", Endpoint.parse(source.value).base_url)
    if source.kind == "path":
        from openenv_server.manifest import read_manifest

        read_manifest(Path(source.value))
    return source
