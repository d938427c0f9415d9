"""``openenv fork``: copy somebody's Space into your own account."""

from __future__ import annotations

from typing import Annotated

import typer

from openenv_cli.hub.options import EnvVar, Hardware, Private, Secret
from openenv_gym.errors import HubError


def fork(
    space: Annotated[str, typer.Argument(help="The Space: OWNER/NAME, or the URL of its page.")],
    repo_id: Annotated[
        str | None,
        typer.Option(
            "--repo-id",
            "-r",
            metavar="[OWNER/]NAME",
            help="The new Space. Default: the same name in your account.",
        ),
    ] = None,
    private: Private = False,
    hardware: Hardware = None,
    env_var: EnvVar = None,
    secret: Secret = None,
) -> None:
    """Copy an environment's Space into your own account.

    Its variables are copied, its secrets are not. In a pipe, each line of the result is a name, a tab and a
    value.

    Examples:
        openenv fork openenv/echo_env

        openenv fork openenv/echo_env --repo-id my-org/my-echo --private

        openenv fork openenv/coding_env --set-secret API_KEY --hardware cpu-upgrade
    """
    from openenv_cli.hub.client import connect
    from openenv_cli.hub.options import read_variables_and_secrets
    from openenv_cli.hub.space import SpaceSettings, find_space, fork_space, print_space
    from openenv_cli.output import status
    from openenv_gym.providers.hub_spaces import space_id

    source = space_id(space)
    variables, secrets = read_variables_and_secrets(env_var or (), secret or ())
    hub = connect("openenv fork", secrets.values())
    target = space_id(hub.full_name(repo_id or source.partition("/")[2]))
    with status(f"Forking {source} to {target}…"):
        fork_space(hub, source, target, SpaceSettings(private, hardware, variables, secrets))
        forked = find_space(hub, target)
    if forked is None:
        raise HubError(
            f"The Hub reports that it created {target}, but does not find it.",
            advice=f"See {hub.page(target)}",
        )
    print_space(
        hub,
        target,
        headline=f"Forked {source}. The build takes a few minutes: {hub.page(target)}?logs=build",
        host=forked.host,
    )
