"""``openenv ps`` and ``openenv stop``: the containers that Python programs started."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from openenv_cli.output import say, status

if TYPE_CHECKING:
    import docker

    from openenv_gym.providers.engine import Started

_ONLY_CONTAINERS = (
    "`openenv ps` and `openenv stop` handle containers only. Servers in processes or on Ray end with the "
    "program that started them."
)


def list_containers() -> None:
    """List the containers that Python programs started, including those left by a crash.

    Servers in processes or on Ray are not listed: they end with the program that started them.

    In a pipe, each container is one line: name, image, Docker's status, server address and the process that
    started it, separated by tabs.

    Examples:
        openenv ps

        openenv stop --all
    """
    from openenv_gym.providers.engine import started_containers

    with status("Asking Docker…"), _engine() as engine:
        containers = started_containers(engine)
    if not sys.stdout.isatty():
        for container in containers:
            print(
                "\t".join(
                    (container.name, container.image, container.status, container.base_url, _owner(container))
                )
            )
        return
    from rich.table import Table
    from rich.text import Text

    from openenv_cli.console import Console

    console = Console(highlight=False)
    if not containers:
        console.print(
            "No containers: nothing started by from_docker_image, gym.make, a DockerProvider or "
            "openenv validate is running."
        )
        console.print(_ONLY_CONTAINERS)
        return
    table = Table("name", "image", "status", "address", "started by", box=None, pad_edge=False)
    for container in containers:
        owner = Text(_owner(container), "bold yellow" if container.is_orphan else "")
        table.add_row(container.name, container.image, container.status, container.base_url, owner)
    console.print(table)
    if any(container.is_orphan for container in containers):
        console.print("`openenv stop NAME…` removes containers whose process is gone.")


def stop(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Containers as listed by `openenv ps`.")
    ] = None,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="All that `openenv ps` lists, even if their program still runs.")
    ] = False,
) -> None:
    """Stop and remove containers that Python programs started. No other container is touched.

    --all also removes the containers of running programs, which then lose their sessions. Servers in
    processes or on Ray end with the program that started them.

    Prints the name of each removed container. If one cannot be removed, the rest still are, and the exit
    code is 1.

    Examples:
        openenv stop my-env-1f2e3d4c

        openenv stop --all
    """
    from openenv_gym.errors import ConfigurationError
    from openenv_gym.providers.engine import each_removed, started_containers

    if bool(names) == all_of_them:
        raise ConfigurationError("Pass either names of containers, as listed by `openenv ps`, or --all.")
    with status("Asking Docker…") as update, _engine() as engine:
        known = [container.name for container in started_containers(engine)]
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise ConfigurationError(
                f"openenv_gym did not start a container named {', '.join(unknown)}. It started: "
                f"{', '.join(known) or 'none'}.",
                advice="Remove others with `docker rm`.",
            )
        update("Stopping containers…")
        has_failed = False
        for name, failure in each_removed(engine, list(dict.fromkeys(names or known))):
            if failure is None:
                print(name, flush=True)
            else:
                say("Error", f"{name} was not removed: {failure}")
                has_failed = True
    if has_failed:
        raise typer.Exit(1)


@contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    """The Docker engine.

    Raises:
        ConfigurationError: No engine answers, or the docker extra is missing. A note says which servers
            these commands do not concern.
    """
    from openenv_gym.errors import ConfigurationError
    from openenv_gym.providers.engine import connect

    try:
        engine = connect()
    except ConfigurationError as error:
        error.add_note(_ONLY_CONTAINERS)
        raise
    with closing(engine):
        yield engine


def _owner(container: Started) -> str:
    gone = ", which is gone" if container.is_orphan else ""
    return f"process {container.pid} on {container.host}{gone}"
