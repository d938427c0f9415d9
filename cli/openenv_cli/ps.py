"""``openenv ps``: the containers that were started here, and whose run is gone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openenv_gym.providers.engine import Started


def list_containers() -> None:
    """Shows the containers that Python programs started, also those that a crashed program left.

    Servers that were started as processes or on Ray are not among them: they end with their run.

    In a pipe, a line a container: its name, its image, what Docker says of it, its server's address, and the
    process that started it, with tabs between.

    Examples:
        openenv ps

        openenv stop --all
    """
    from openenv_cli.engine import ONLY_CONTAINERS, connected
    from openenv_cli.progress import status
    from openenv_gym.providers.engine import started_containers

    with status("Asking Docker…"), connected() as engine:
        containers = started_containers(engine)
    if not sys.stdout.isatty():
        for container in containers:
            print(
                "\t".join(
                    (container.name, container.image, container.status, container.base_url, _run(container))
                )
            )
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not containers:
        console.print(
            "No container runs that was started with from_docker_image, gym.make, a DockerProvider or "
            "openenv validate."
        )
        console.print(ONLY_CONTAINERS)
        return
    table = Table("name", "image", "status", "address", "started by", box=None, pad_edge=False)
    for container in containers:
        run = Text(_run(container), "bold yellow" if container.is_orphan else "")
        table.add_row(container.name, container.image, container.status, container.base_url, run)
    console.print(table)
    if any(container.is_orphan for container in containers):
        console.print("`openenv stop NAME…` removes what is left of a run that is gone.")


def _run(container: Started) -> str:
    gone = ", which is gone" if container.is_orphan else ""
    return f"process {container.pid} on {container.host}{gone}"
