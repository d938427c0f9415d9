"""``openenv stop``: removes containers that were started here."""

from __future__ import annotations

from typing import Annotated

import typer


def stop(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Containers, as `openenv ps` shows them.")
    ] = None,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="All that `openenv ps` shows, those too whose run is alive.")
    ] = False,
) -> None:
    """Stops containers that Python programs started, and removes them; no others.

    With --all, those of runs that are alive end too, and their runs lose their sessions. Servers that were
    started as processes or on Ray end with their run by themselves.

    Prints the name of each that is gone. One that cannot be removed does not keep the others; the exit code
    is 1 then.

    Examples:
        openenv stop my-env-1f2e3d4c

        openenv stop --all
    """
    from openenv_cli.engine import connected
    from openenv_cli.messages import say
    from openenv_cli.progress import status
    from openenv_gym.errors import ConfigurationError
    from openenv_gym.providers.engine import each_removed, started_containers

    if bool(names) == all_of_them:
        raise ConfigurationError("Name containers, as `openenv ps` shows them, or say --all")
    with status("Asking Docker…") as update, connected() as engine:
        known = [container.name for container in started_containers(engine)]
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise ConfigurationError(
                f"No container {', '.join(unknown)} was started by openenv_gym; those are: "
                f"{', '.join(known) or 'none'}. `docker rm` is for others."
            )
        to_stop = list(dict.fromkeys(names or known))
        update("Stopping containers…")
        has_failed = False
        for name, failure in each_removed(engine, to_stop):
            if failure is None:
                print(name, flush=True)
            else:
                say("Error", f"{name} is not removed: {failure}")
                has_failed = True
    if has_failed:
        raise typer.Exit(1)
