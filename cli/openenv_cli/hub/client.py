"""The connection to the Hub: its client, and the token."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openenv_cli.hub.errors import explained
from openenv_gym.errors import HubError, MissingExtraError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, repr=False)
class Hub:
    """The Hub, with a user logged in.

    Attributes:
        api: The client; it sends the token.
        user: The token's owner.
        secrets: Texts that no output may contain, including the token.
    """

    api: HfApi
    user: str
    secrets: frozenset[str]

    def doing(self, operation: str) -> AbstractContextManager[None]:
        """Turn an exception in the block into a `HubError` that names the operation."""
        return explained(operation, self.api.endpoint, self.secrets)

    def full_name(self, name: str) -> str:
        """A repository's id. A name without an owner belongs to the user."""
        return name if "/" in name else f"{self.user}/{name}"

    def page(self, repo_id: str) -> str:
        """The URL of a Space's page."""
        return f"{self.api.endpoint}/spaces/{repo_id}"


def connect(feature: str, secrets: Collection[str] = ()) -> Hub:
    """Log in to the Hub with the saved token; without one, ask for it if this is a terminal.

    Args:
        feature: The command that needs the Hub.
        secrets: Texts that no output may contain.

    Raises:
        MissingExtraError: The hub extra is not installed.
        HubError: No token, or the Hub does not accept it.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, "hub") from error
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    token = huggingface_hub.get_token() or _log_in(ENDPOINT)
    # With HF_DEBUG its log shows the bodies of requests, and in them the secrets of a Space.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    hidden = frozenset({token, *secrets})
    api = huggingface_hub.HfApi(endpoint=ENDPOINT, token=token)
    with explained("Checking the token", ENDPOINT, hidden):
        user = str(api.whoami()["name"])
    return Hub(api, user, hidden)


def _log_in(endpoint: str) -> str:
    import huggingface_hub

    if sys.stdin.isatty() and sys.stderr.isatty():
        with explained("Logging in", endpoint):
            huggingface_hub.login()
        token = huggingface_hub.get_token()
        if token:
            return token
    raise HubError(
        f"No token for {endpoint}.",
        advice="Set HF_TOKEN to one with write access, or run `hf auth login`; create one at "
        "https://huggingface.co/settings/tokens.",
        endpoint=endpoint,
    )
