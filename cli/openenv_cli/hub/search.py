"""Find published environments: the Spaces with the tag that ``openenv push`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from openenv_cli.hub.errors import explained
from openenv_cli.output import without_controls
from openenv_gym.errors import ConfigurationError, MissingExtraError
from openenv_gym.providers.hub_spaces import space_host

if TYPE_CHECKING:
    from huggingface_hub.hf_api import SpaceInfo

TAG = "openenv"


@dataclass(frozen=True)
class PublishedSpace:
    """An environment's Space.

    Attributes:
        id: ``owner/name``.
        host: The address of its server; "" if it cannot be derived.
        stage: In lower case, such as ``running`` or ``sleeping``; "" if the Hub does not report it.
        likes: How many users like it.
        description: The title and the short description of its card.
    """

    id: str
    host: str
    stage: str
    likes: int
    description: str


def search_spaces(query: str | None, limit: int) -> list[PublishedSpace]:
    """Search the Hub for environments, those with the most likes first. No token is needed.

    Args:
        query: Text in the names to find; None for all.
        limit: The most results.

    Raises:
        MissingExtraError: The hub extra is not installed.
        HubError: The Hub refuses, fails, or is unreachable.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingExtraError("openenv list --hub", "hub") from error
    from huggingface_hub.constants import ENDPOINT

    token = huggingface_hub.get_token()
    api = huggingface_hub.HfApi(endpoint=ENDPOINT, token=token or False)
    with explained("Searching for environments", ENDPOINT, {token} if token else ()):
        # This request is not retried; list_spaces retries for half a minute if the Hub is unreachable.
        first = huggingface_hub.get_session().get(
            f"{ENDPOINT}/api/spaces", params={"filter": TAG, "limit": 1}, timeout=10
        )
        huggingface_hub.hf_raise_for_status(first)
        found = api.list_spaces(
            filter=TAG,
            search=query,
            sort="likes",
            expand=["cardData", "likes", "runtime", "sdk", "subdomain"],
        )
        # Demos and pages about environments have the tag too, but no server.
        servers = (space for space in found if space.sdk == "docker")
        return [_described(space) for space in islice(servers, limit)]


def _described(space: SpaceInfo) -> PublishedSpace:
    card: Any = space.card_data or {}
    texts = (card.get("title"), card.get("short_description"))
    stage = getattr(space.runtime, "stage", None) or ""
    return PublishedSpace(
        space.id,
        _host(space),
        str(getattr(stage, "value", stage)).lower().replace("_", " "),
        space.likes or 0,
        ": ".join(" ".join(without_controls(str(text)).plain.split()) for text in texts if text),
    )


def _host(space: SpaceInfo) -> str:
    if space.subdomain:
        return f"https://{space.subdomain}.hf.space"
    try:
        return space_host(space.id)
    except ConfigurationError:
        return ""
