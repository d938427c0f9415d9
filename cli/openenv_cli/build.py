"""``openenv build``: build an environment's image with Docker."""

from __future__ import annotations

import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from openenv_cli.output import status
from openenv_gym.errors import ConfigurationError

_MEGABYTE = 1_000_000


def build(
    path: Annotated[
        Path | None, typer.Argument(help="A folder with openenv.yaml. Default: the current folder.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", "-t", help="The image's name. Default: openenv-NAME")
    ] = None,
    build_arg: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A value for an ARG of the Dockerfile.")
    ] = None,
    dockerfile: Annotated[
        Path | None,
        typer.Option("--dockerfile", "-f", help="Default: server/Dockerfile or Dockerfile in the folder."),
    ] = None,
    context: Annotated[
        Path | None,
        typer.Option(
            "--context", "-c", help="The build context, used as it is. Default: a copy of the folder."
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build without the cache.")] = False,
    base: Annotated[
        bool, typer.Option("--base", help="Build only openenv-base, the base image of environments.")
    ] = False,
) -> None:
    """Build an environment's image with Docker.

    The image is built from a copy of the folder, without the files that .gitignore and .dockerignore
    exclude. Dependencies at a path outside the folder, as in a repository of environments, are added to the
    copy as wheels. If the Dockerfile starts from openenv-base and that is missing, it is built first. The
    image has OCI labels with its title, and what pyproject.toml says: description, version and source.

    In a pipe, the output is one line, the image's name; Docker's output goes to standard error.

    Examples:
        openenv build

        openenv build ./my_env -t my-env:1.0 --no-cache

        openenv build --build-arg BASE_IMAGE=python:3.12-slim

        openenv build -f Dockerfile.gpu -c ..

        openenv build --base --build-arg PYTHON_IMAGE=python:3.13-slim
    """
    from openenv_cli.docker.environment import BASE_IMAGE, build_base, default_tag

    start = time.monotonic()
    build_args = dict(_build_arg(pair) for pair in build_arg or [])
    if base:
        if path or dockerfile or context:
            raise ConfigurationError("--base does not accept a folder, --dockerfile or --context.")
        tag = tag or BASE_IMAGE
        build_base(tag, build_args, no_cache)
        _print_result(tag, time.monotonic() - start, ["`openenv build` in an environment's folder uses it."])
        return

    from openenv_server.manifest import read_manifest

    folder = (path or Path()).resolve()
    manifest = read_manifest(folder)
    tag = tag or default_tag(manifest.name)
    _build_from(folder, context, dockerfile, tag, manifest.name, build_args, no_cache)
    _print_result(
        tag,
        time.monotonic() - start,
        [
            "Start it, and connect to it after import openenv_gym:",
            f"docker run --rm -p 8000:{manifest.port} {tag}",
            'gym.make("openenv/remote", base_url="http://localhost:8000")',
        ],
    )


def _build_from(
    folder: Path,
    context: Path | None,
    dockerfile: Path | None,
    tag: str,
    name: str,
    build_args: dict[str, str],
    no_cache: bool,
) -> None:
    from openenv_cli.bundle import bundled
    from openenv_cli.docker.client import find_builder
    from openenv_cli.docker.environment import build_environment, find_dockerfile
    from openenv_cli.files import IgnoreRules

    for given, option in ((dockerfile, "--dockerfile"), (context, "--context")):
        if given is not None and not given.exists():
            raise ConfigurationError(f"{option} {given} does not exist.")
    dockerfile = (dockerfile or find_dockerfile(folder)).resolve()
    find_builder()  # fails before the copy is made, which may take a while
    if context is not None:
        build_environment(
            context.resolve(), dockerfile, tag, name=name, build_args=build_args, no_cache=no_cache
        )
        return
    with ExitStack() as stack:
        with status("Copying the folder…"):
            bundle = stack.enter_context(bundled(folder))
        build_environment(
            bundle,
            dockerfile,
            tag,
            name=name,
            build_args=build_args,
            no_cache=no_cache,
            rules=IgnoreRules(folder),
        )


def _build_arg(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not re.fullmatch(r"\w+", name):
        raise ConfigurationError(
            f"--build-arg {pair} is not of the form KEY=VALUE.",
            advice="For example: BASE_IMAGE=python:3.12-slim",
        )
    return name, value


def _print_result(tag: str, took_s: float, next_lines: list[str]) -> None:
    """Print the image, its size and what to do next; in a pipe only its name."""
    if not sys.stdout.isatty():
        print(tag)
        return
    from rich.markup import escape

    from openenv_cli.console import Console
    from openenv_cli.docker.images import image_size

    console = Console(highlight=False)
    console.print(
        f"\n[bold]{escape(tag)}[/bold]   {image_size(tag) / _MEGABYTE:.0f} MB, in {took_s:.0f} s\n",
        markup=True,
    )
    for line in next_lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)
