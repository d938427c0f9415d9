"""The settings of a Space: made as asked for, or changed where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openenv_cli.hub.client import Hub

if TYPE_CHECKING:
    from huggingface_hub.hf_api import SpaceInfo


@dataclass(frozen=True)
class Settings:
    """What is asked for; what is not stays as it is.

    Attributes:
        is_private: Only its owner sees it.
        hardware: What it runs on, in the Hub's words, such as ``t4-small``.
        variables: What its processes find in their environment, and everybody can read.
        secrets: What its processes find in their environment, and nobody can read.
    """

    is_private: bool = False
    hardware: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def find_space(hub: Hub, repo_id: str) -> SpaceInfo | None:
    """What the Hub says of a Space; None where there is none that the token may see.

    Raises:
        HubError: The Hub does not answer.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub.doing(f"Looking for the Space {repo_id}"):
        try:
            return hub.api.space_info(repo_id)
        except RepositoryNotFoundError:
            return None


def make_space(hub: Hub, repo_id: str, settings: Settings) -> SpaceInfo:
    """Makes a Space with its settings, in one request: all of it is there afterwards, or nothing.

    Raises:
        HubError: The Hub refuses, or does not answer.
    """
    with hub.doing(f"Making the Space {repo_id}"):
        hub.api.create_repo(
            repo_id,
            repo_type="space",
            space_sdk="docker",
            private=settings.is_private or None,
            space_hardware=settings.hardware,  # type: ignore[arg-type]  # the Hub knows more than the enum
            space_variables=as_list(settings.variables),
            space_secrets=as_list(settings.secrets),
        )
        return hub.api.space_info(repo_id)


def change_space(hub: Hub, space: SpaceInfo, settings: Settings) -> None:
    """Changes the settings of a Space that differ. Secrets cannot be read, so each that is given is set.

    Raises:
        HubError: The Hub refuses, or does not answer.
    """
    api, repo_id = hub.api, space.id
    if settings.is_private and not space.private:
        with hub.doing(f"Making {repo_id} private"):
            api.update_repo_settings(repo_id, private=True, repo_type="space")
    if settings.variables:
        with hub.doing(f"Reading the variables of {repo_id}"):
            current = {key: variable.value for key, variable in api.get_space_variables(repo_id).items()}
        for key, value in settings.variables.items():
            if current.get(key) != value:
                with hub.doing(f"Setting the variable {key} of {repo_id}"):
                    api.add_space_variable(repo_id, key, value)
    for key, value in settings.secrets.items():
        with hub.doing(f"Setting the secret {key} of {repo_id}"):
            api.add_space_secret(repo_id, key, value)
    if settings.hardware is not None:
        with hub.doing(f"Asking for {settings.hardware} for {repo_id}"):
            runtime = api.get_space_runtime(repo_id)
            if settings.hardware != (runtime.requested_hardware or runtime.hardware):
                api.request_space_hardware(repo_id, settings.hardware)  # type: ignore[arg-type]


def as_list(pairs: dict[str, str]) -> list[dict[str, str]] | None:
    """Variables or secrets, as the client takes them."""
    return [{"key": key, "value": value} for key, value in pairs.items()] or None
