"""Spaces on the Hugging Face Hub: their names, and what the Hub's API says about them."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from openenv_gym.errors import ConfigurationError, EndpointError, HubError, MissingExtraError, OpenEnvError
from openenv_gym.providers.progress import tell
from openenv_gym.transport.deadline import Deadline
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import exchange

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9])?"
_REPO_ID = re.compile(rf"{_PART}/{_PART}")
_PAGE = re.compile(r"https?://[^/]+/spaces/([^/]+/[^/?#]+)(?:[/?#].*)?")
_LONGEST_LABEL = 63  # RFC 1035, section 2.3.4
_WAKE_TIMEOUT_S = 10.0
# The port that `openenv push` writes, and that the guide's servers listen on.
_DEFAULT_PORT = 8000
_NOT_SHOWN = (
    "no such Space, or it is private and this token may not read it. Check the spelling; for a "
    "private Space, set HF_TOKEN to a token that may read it, or run `hf auth login`"
)


class TemporaryHubError(HubError):
    """The Hub failed or did not respond, which may pass."""


def trusts_remote_code() -> bool:
    """Whether the variable ``OPENENV_TRUST_REMOTE_CODE`` allows this process to run the code of Spaces."""
    return os.environ.get("OPENENV_TRUST_REMOTE_CODE", "").lower() in {"1", "true", "yes"}


def space_id(text: str) -> str:
    """A Space's id, from the id itself or from the URL of its page.

    Args:
        text: ``my-org/my-env``, or ``https://huggingface.co/spaces/my-org/my-env``.

    Raises:
        ConfigurationError: It is neither.
    """
    page = _PAGE.fullmatch(text)
    repo_id = page[1] if page else text
    if not _REPO_ID.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id or repo_id.endswith(".git"):
        raise ConfigurationError(
            f"{text!r} cannot be a Space: write OWNER/NAME, as in my-org/my-env, with letters, digits, '-', "
            "'_' and '.' (neither first nor last, no '--', no '..'), at most 96 in each part"
        )
    return repo_id


def space_host(repo_id: str) -> str:
    """The address of a Space's server.

    The Hub turns ``my-org/my_env`` into ``https://my-org-my-env.hf.space``: lower case, with one hyphen for
    each run of other characters.

    Args:
        repo_id: As for `space_id`.

    Raises:
        ConfigurationError: The name is malformed, or so long that the Hub shortens it in its own way.
    """
    repo_id = space_id(repo_id)
    label = re.sub(r"[^a-z0-9]+", "-", repo_id.lower())
    if len(label) > _LONGEST_LABEL:
        raise ConfigurationError(
            f"The Hub shortens the address of {repo_id}, which has more than {_LONGEST_LABEL} characters. "
            f'Copy it from "Embed this Space" in the menu of https://huggingface.co/spaces/{repo_id}'
        )
    return f"https://{label}.hf.space"


@dataclass(frozen=True)
class SpaceOnHub:
    """A Space, as the Hub described it at one moment.

    Attributes:
        repo_id: ``owner/name``.
        host: The address of its server, from the Hub.
        is_private: Whether its server requires a token too.
        subdomain: The Hub's name for it in the addresses of its server and its image.
        sha: Its last commit.
        port: The port that its server listens on inside its image.
        token: The token for the Hub; None without one. It is in no repr.
    """

    repo_id: str
    host: str
    is_private: bool
    subdomain: str
    sha: str
    port: int
    token: str | None = field(repr=False)

    @classmethod
    def fetch(cls, repo_id: str, token: str | None = None) -> SpaceOnHub:
        """Ask the Hub for a Space.

        Raises:
            MissingExtraError: Without the hub extra.
            HubError: The Hub does not show the Space, fails, or cannot be reached.
        """
        try:
            import huggingface_hub
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"The Space {repo_id}", "hub") from error
        tell(f"Asking the Hub for the Space {repo_id}…")
        token = token or huggingface_hub.get_token()
        with _hub_errors(repo_id):
            info = _api(token).space_info(repo_id)
        card: Any = info.card_data or {}
        return cls(
            repo_id,
            info.host or space_host(repo_id),
            bool(info.private),
            info.subdomain or space_host(repo_id).removeprefix("https://").partition(".")[0],
            str(info.sha),
            int(card.get("app_port") or _DEFAULT_PORT),
            token,
        )

    @property
    def page(self) -> str:
        """The URL of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/spaces/{self.repo_id}"

    def stage(self) -> str:
        """Its present stage, such as ``RUNNING``, ``SLEEPING`` or ``BUILDING``.

        Raises:
            HubError: The Hub fails or cannot be reached.
        """
        with _hub_errors(self.repo_id):
            stage = _api(self.token).get_space_runtime(self.repo_id).stage
        return str(getattr(stage, "value", stage))

    def wake(self, timeout_s: float = _WAKE_TIMEOUT_S) -> None:
        """Request a page from its server, which wakes it. Its stage tells whether that worked.

        Args:
            timeout_s: The time for that, in seconds; more than 10 are not used.
        """
        endpoint = Endpoint.parse(self.host, api_key=(self.is_private and self.token) or "")
        with contextlib.suppress(EndpointError):
            exchange(endpoint, "GET", "/", None, Deadline(min(timeout_s, _WAKE_TIMEOUT_S)), max_bytes=0)

    def download(self) -> Path:
        """Download its files, unless this version is in the cache; return their folder.

        Raises:
            HubError: The download fails.
        """
        tell(f"Downloading the Space {self.repo_id}…")
        owner, name = self.repo_id.split("/")
        cache = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False))
        folder = cache / "spaces" / owner / name / self.sha / name
        with _hub_errors(self.repo_id), _without_bars():
            _api(self.token).snapshot_download(
                self.repo_id, repo_type="space", revision=self.sha, local_dir=folder
            )
        return folder


def _api(token: str | None) -> HfApi:
    from huggingface_hub import HfApi, constants

    return HfApi(endpoint=constants.ENDPOINT, token=token or False)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Turn off the progress bars of the Hub's client, which would draw over ours."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """Translate the errors of the Hub's client into a `HubError`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    doing = f"Asking {constants.ENDPOINT} for the Space {repo_id}"
    try:
        yield
    except OpenEnvError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(f"{doing}: HF_HUB_OFFLINE is set. Unset that variable to use the Hub.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise HubError(f"{doing}: {_NOT_SHOWN} ({status}).") from error
        if status == 429:
            raise TemporaryHubError(f"{doing}: too many requests. Wait a few minutes.") from error
        raise (TemporaryHubError if status >= 500 else HubError)(
            f"{doing}: the Hub failed ({status}). Try again in a few minutes; "
            "https://status.huggingface.co has its status."
        ) from error
    except (OSError, LocalEntryNotFoundError, _client_error()) as error:
        raise TemporaryHubError(
            f"{doing}: no response ({error}). Check the network, and HF_ENDPOINT if it is set."
        ) from error


def _client_error() -> type[Exception]:
    """What the client raises without a response: depending on its version it uses requests or httpx."""
    from huggingface_hub.errors import HfHubHTTPError

    package = HfHubHTTPError.__mro__[1].__module__.partition(".")[0]
    library: Any = importlib.import_module(package)
    kind: type[Exception] = library.RequestException if package == "requests" else library.HTTPError
    return kind
