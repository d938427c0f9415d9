"""From what goes wrong on the Hub to what a person is told."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from openenv_gym.errors import HubError, OpenEnvError

_HIDDEN = "***"

# The status of the Hub's answer, what it means, and what to do next.
_BY_STATUS: dict[int, tuple[str, str]] = {
    400: ("the Hub takes it for wrong", "Mend what it names, and try again."),
    401: (
        "the Hub does not accept the token",
        "Make one that may write at https://huggingface.co/settings/tokens, and put it into HF_TOKEN "
        "or type `hf auth login`.",
    ),
    402: (
        "the Hub wants to be paid for this",
        "Leave --hardware out for the free one, or add a way to pay at "
        "https://huggingface.co/settings/billing.",
    ),
    403: (
        "the token may not do this",
        "It has to be one that may write, of a member of that organization: look at "
        "https://huggingface.co/settings/tokens, or name a place of your own with --repo-id.",
    ),
    404: (
        "the Hub has it not, or does not show it to this token",
        "Check the spelling, and whether the token may see it: `hf auth whoami` says whose it is.",
    ),
    409: (
        "there is one of this name already, or it is being changed just now",
        "Choose another name with --repo-id, or try again in a minute.",
    ),
    412: ("somebody else changes the Space at the same time", "Try again when they are done."),
    413: ("it is too large for the Hub", "Leave large files out with --exclude, or in .gitignore."),
    422: ("the Hub takes it for wrong", "Mend what it names, and try again."),
    429: ("these were too many requests", "Wait some minutes, and try again."),
}
_ITS_OWN_FAULT = (
    "the Hub failed",
    "Try again in some minutes; https://status.huggingface.co says how it is. "
    "What has arrived is not sent again.",
)
_NO_ANSWER = (
    "the connection to the Hub broke, or there is none",
    "Check the network (and HF_ENDPOINT, where it is set), and try again. "
    "What has arrived is not sent again.",
)
_OFFLINE = (
    "HF_HUB_OFFLINE keeps this machine off the Hub",
    "Take that variable away: unset HF_HUB_OFFLINE",
)


@contextmanager
def told(doing: str, endpoint: str, secrets: Collection[str] = ()) -> Iterator[None]:
    """Turns what the Hub's client raises into a `HubError` that says what to do next.

    Args:
        doing: What is done in the block, as in ``uploading to my-org/my-env``.
        endpoint: The Hub's address.
        secrets: What no message may have, neither the new one nor that of its cause.

    Raises:
        HubError: The Hub refuses, fails, or cannot be reached.
    """
    try:
        yield
    except OpenEnvError:
        raise
    except Exception as error:
        explanation = _explained(error)
        if explanation is None:
            raise
        for cause in _chain(error):
            cause.args = tuple(hidden(str(part), secrets) for part in cause.args)
        happened, next_step, detail = explanation
        said = f" ({hidden(detail, secrets)})" if detail else ""
        raise HubError(f"{doing} at {endpoint}: {happened}{said}. {next_step}") from error


def hidden(text: str, secrets: Collection[str]) -> str:
    """The text without the secrets in it."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, _HIDDEN)
    return text


def status_of(error: BaseException) -> int | None:
    """The status with which the Hub refused; None where it was something else."""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return int(response.status_code)
    return None


def may_pass(error: BaseException) -> bool:
    """Whether the same request may be answered well in a moment."""
    status = status_of(error)
    if status is None:
        return _is_without_answer(error)
    return status >= 500 or status in (409, 412)


def _explained(error: Exception) -> tuple[str, str, str] | None:
    """What happened, what to do next, and the Hub's own words; None where this has nothing to do with it."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    status = status_of(error)
    if status is not None:
        happened, next_step = _BY_STATUS.get(status, _ITS_OWN_FAULT)
        return happened, next_step, f"{status}{_words_of_the_hub(error)}"
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in _chain(error)):
        return (*_OFFLINE, "")
    if _is_without_answer(error):
        last = list(_chain(error))[-1]
        return (*_NO_ANSWER, str(last) or type(last).__name__)
    if isinstance(error, HFValidationError):
        return "this is no name for a Space", "Write OWNER/NAME, as in my-org/my-env.", str(error)
    if isinstance(error, ValueError):
        return *_BY_STATUS[400], " ".join(str(error).split())
    if isinstance(error, RuntimeError):  # the storage of large files raises no other
        return *_ITS_OWN_FAULT, str(error)
    return None


def _words_of_the_hub(error: BaseException) -> str:
    for cause in _chain(error):
        words = getattr(cause, "server_message", None)
        if words:
            return f": {' '.join(str(words).split()).rstrip('.')}"
    return ""


def _is_without_answer(error: BaseException) -> bool:
    kinds = (_client_error(), ConnectionError, TimeoutError)
    return any(isinstance(cause, kinds) for cause in _chain(error))


def _client_error() -> type[Exception]:
    """What the client raises where no answer comes: by its version it speaks through requests or httpx."""
    from huggingface_hub.errors import HfHubHTTPError

    package = HfHubHTTPError.__mro__[1].__module__.partition(".")[0]
    library: Any = importlib.import_module(package)
    kind: type[Exception] = library.RequestException if package == "requests" else library.HTTPError
    return kind


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
