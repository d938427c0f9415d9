"""A Space, copied by the Hub itself."""

from __future__ import annotations

from functools import partial
from typing import Any

from openenv_cli.hub.client import Hub
from openenv_cli.hub.failures import may_pass
from openenv_cli.hub.settings import Settings, as_list, find_space
from openenv_gym.errors import HubError


def fork_space(hub: Hub, source: str, target: str, settings: Settings) -> None:
    """Has the Hub copy a Space. It is asked once: a copy whose answer is lost may be there all the same.

    Raises:
        HubError: There is no such Space, it holds no environment, or the Hub refuses or does not answer.
    """
    space = find_space(hub, source)
    if space is None:
        raise HubError(
            f"There is no Space {source} at {hub.api.endpoint}, or the token may not see it. "
            "Check the spelling; a private one needs a token of its owner."
        )
    if space.sdk != "docker":
        raise HubError(
            f"{source} is a Space of the kind {space.sdk}, and OpenEnv environments are of the kind docker: "
            f"no environment would answer in a copy of it. Look at {hub.page(source)}"
        )
    # In older releases it is duplicate_space, and its words for the settings have no prefix.
    api: Any = hub.api
    is_older = not hasattr(api, "duplicate_repo")
    prefix = "" if is_older else "space_"
    duplicate = api.duplicate_space if is_older else partial(api.duplicate_repo, repo_type="space")
    options = {
        "hardware": settings.hardware,
        "variables": as_list(settings.variables),
        "secrets": as_list(settings.secrets),
    }
    try:
        with hub.doing(f"Forking {source} to {target}"):
            duplicate(
                source,
                target,
                private=settings.is_private or None,
                **{f"{prefix}{name}": value for name, value in options.items()},
            )
    except HubError as error:
        if error.__cause__ is not None and may_pass(error.__cause__):
            raise HubError(f"{error} First look whether it is there: {hub.page(target)}") from error.__cause__
        raise
