"""What the Hub says of a Space, and what it gives."""

from __future__ import annotations

import contextlib
import importlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from openenv_gym.errors import HubError, MissingExtraError, OpenEnvError
from openenv_gym.hub_names import space_host
from openenv_gym.providers.progress import tell

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_KNOCK_TIMEOUT_S = 10.0
# What `openenv push` writes, and what the servers of the guide listen on.
_DEFAULT_PORT = 8000
_NOT_SHOWN = (
    "there is no such Space, or it is private and not shown to this token. Check the spelling; for a "
    "private one put a token that may read it into HF_TOKEN, or type `hf auth login`"
)


class PassingHubError(HubError):
    """The Hub failed, or gave no answer, which may pass."""


@dataclass(frozen=True)
class SpaceOnHub:
    """A Space, as the Hub described it when it was asked.

    Attributes:
        repo_id: ``owner/name``.
        host: The address of its server, as the Hub says it.
        is_private: Whether its server asks for a token too.
        subdomain: What the Hub calls it in the names of its server and of its image.
        sha: Its last commit.
        port: The port on which its server listens inside its image.
        token: What the Hub is shown; None without a token. In no repr.
    """

    repo_id: str
    host: str
    is_private: bool
    subdomain: str
    sha: str
    port: int
    token: str | None = field(repr=False)

    @classmethod
    def ask(cls, repo_id: str, token: str | None = None) -> SpaceOnHub:
        """Asks the Hub.

        Raises:
            MissingExtraError: Without the hub extra.
            HubError: The Hub does not show it, fails, or cannot be reached.
        """
        try:
            import huggingface_hub
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"The Space {repo_id}", "hub") from error
        tell(f"Asking the Hub for the Space {repo_id}…")
        token = token or huggingface_hub.get_token()
        with _told(repo_id):
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
        """The address of its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/spaces/{self.repo_id}"

    def stage(self) -> str:
        """What it does now: ``RUNNING``, ``SLEEPING``, ``BUILDING``.

        Raises:
            HubError: The Hub does not say.
        """
        with _told(self.repo_id):
            stage = _api(self.token).get_space_runtime(self.repo_id).stage
        return str(getattr(stage, "value", stage))

    def knock(self) -> None:
        """Asks its server for a page, which wakes it; what comes of it, its stage says."""
        request = urllib.request.Request(self.host)
        if self.is_private and self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=_KNOCK_TIMEOUT_S):
            pass

    def download(self) -> Path:
        """Downloads its files, where this version of them is not here; returns their folder.

        Raises:
            HubError: They do not arrive.
        """
        tell(f"Downloading the Space {self.repo_id}…")
        owner, name = self.repo_id.split("/")
        cache = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False))
        folder = cache / "spaces" / owner / name / self.sha / name
        with _told(self.repo_id), _without_bars():
            _api(self.token).snapshot_download(
                self.repo_id, repo_type="space", revision=self.sha, local_dir=folder
            )
        return folder


def _api(token: str | None) -> HfApi:
    from huggingface_hub import HfApi, constants

    return HfApi(endpoint=constants.ENDPOINT, token=token or False)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """The Hub's client draws bars of its own, over what is shown already."""
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
def _told(repo_id: str) -> Iterator[None]:
    """Turns what the Hub's client raises into a `HubError`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    doing = f"Asking {constants.ENDPOINT} for the Space {repo_id}"
    try:
        yield
    except OpenEnvError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(
            f"{doing}: HF_HUB_OFFLINE keeps this machine off the Hub. Take that variable away."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise HubError(f"{doing}: {_NOT_SHOWN} ({status}).") from error
        if status == 429:
            raise PassingHubError(f"{doing}: these were too many requests. Wait some minutes.") from error
        raise (PassingHubError if status >= 500 else HubError)(
            f"{doing}: the Hub failed ({status}). Try again in some minutes; "
            "https://status.huggingface.co says how it is."
        ) from error
    except (OSError, LocalEntryNotFoundError, _client_error()) as error:
        raise PassingHubError(
            f"{doing}: no answer ({error}). Check the network (and HF_ENDPOINT, where it is set)."
        ) from error


def _client_error() -> type[Exception]:
    """What the client raises where no answer comes: by its version it speaks through requests or httpx."""
    from huggingface_hub.errors import HfHubHTTPError

    package = HfHubHTTPError.__mro__[1].__module__.partition(".")[0]
    library: Any = importlib.import_module(package)
    kind: type[Exception] = library.RequestException if package == "requests" else library.HTTPError
    return kind
