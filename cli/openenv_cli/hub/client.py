"""The way to the Hub: the client, and the token that it shows."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openenv_cli.hub.failures import told
from openenv_gym.errors import HubError, MissingExtraError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, repr=False)
class Hub:
    """The Hub, and who speaks to it.

    Attributes:
        api: The client; it shows the token.
        user: Whose token it is.
        secrets: What no output may have, the token among it.
    """

    api: HfApi
    user: str
    secrets: frozenset[str]

    def doing(self, what: str) -> AbstractContextManager[None]:
        """Says of what goes wrong in the block what was done there: a `HubError`."""
        return told(what, self.api.endpoint, self.secrets)

    def full_name(self, name: str) -> str:
        """A repository's id: a name without an owner is the user's own."""
        return name if "/" in name else f"{self.user}/{name}"

    def page(self, repo_id: str) -> str:
        """The address of a Space's page."""
        return f"{self.api.endpoint}/spaces/{repo_id}"


def connect(feature: str, secrets: Collection[str] = ()) -> Hub:
    """Logs in to the Hub: with the token that is here, else by asking for one where this is a terminal.

    Args:
        feature: What asks for it, as the user typed it.
        secrets: What no output may have.

    Raises:
        MissingExtraError: Without the hub extra.
        HubError: There is no token, or the Hub does not accept it.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, "hub") from error
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    token = huggingface_hub.get_token() or _logged_in(ENDPOINT)
    # Its log shows requests with their bodies where HF_DEBUG is set, and the secrets of a Space in them.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    hidden = frozenset({token, *secrets})
    api = huggingface_hub.HfApi(endpoint=ENDPOINT, token=token)
    with told("Asking whose token this is", ENDPOINT, hidden):
        user = str(api.whoami()["name"])
    return Hub(api, user, hidden)


def _logged_in(endpoint: str) -> str:
    import huggingface_hub

    if sys.stdin.isatty() and sys.stderr.isatty():
        with told("Logging in", endpoint):
            huggingface_hub.login()
        token = huggingface_hub.get_token()
        if token:
            return token
    raise HubError(
        f"There is no token for {endpoint} here. Put one that may write into the variable HF_TOKEN, or type "
        "`hf auth login` once; https://huggingface.co/settings/tokens makes them."
    )
