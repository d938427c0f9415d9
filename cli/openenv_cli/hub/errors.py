"""The one table from an exception of the Hub's client to a `HubError`."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from openenv_gym.errors import HubError, OpenEnvError

_REDACTED = "***"


class _Explanation(NamedTuple):
    """What happened, and what to do next."""

    happened: str
    advice: str


_INVALID = _Explanation("the Hub rejects the request as invalid", "Fix what it names, and try again.")
_BY_STATUS = {
    400: _INVALID,
    401: _Explanation(
        "the Hub does not accept the token",
        "Create one with write access at https://huggingface.co/settings/tokens, and set HF_TOKEN or run "
        "`hf auth login`.",
    ),
    402: _Explanation(
        "the Hub requires a payment method",
        "Omit --hardware to use the free hardware, or add a payment method at "
        "https://huggingface.co/settings/billing.",
    ),
    403: _Explanation(
        "the token lacks permission",
        "Use one with write access, from a member of that organization: see "
        "https://huggingface.co/settings/tokens. Or push to an account of your own with --repo-id.",
    ),
    404: _Explanation(
        "not found, or not visible to this token",
        "Check the spelling, and the token's account with `hf auth whoami`.",
    ),
    409: _Explanation(
        "the name is taken, or the Space is being changed",
        "Choose another name with --repo-id, or try again in a minute.",
    ),
    412: _Explanation("the Space was changed at the same time", "Try again when the other change is done."),
    413: _Explanation("it is too large for the Hub", "Exclude large files with --exclude or .gitignore."),
    422: _INVALID,
    429: _Explanation("too many requests", "Try again in a few minutes."),
}
_SERVER_ERROR = _Explanation(
    "the Hub failed",
    "Try again in a few minutes; see https://status.huggingface.co. Files already uploaded are not sent "
    "again.",
)
_NO_CONNECTION = _Explanation(
    "the connection to the Hub failed",
    "Check the network, and HF_ENDPOINT if it is set, and try again. Files already uploaded are not sent "
    "again.",
)
_OFFLINE = _Explanation("HF_HUB_OFFLINE disables access to the Hub", "Unset it: unset HF_HUB_OFFLINE")
_INVALID_NAME = _Explanation("this is not a Space's name", "Write OWNER/NAME, such as my-org/my-env.")


@contextmanager
def explained(operation: str, endpoint: str, secrets: Collection[str] = ()) -> Iterator[None]:
    """Turn an exception of the Hub's client into a `HubError` that says what to do next.

    Args:
        operation: What the block does, as in ``Uploading to my-org/my-env``.
        endpoint: The Hub's address.
        secrets: Texts to remove from the error and from its causes.

    Raises:
        HubError: The Hub refuses, fails, or is unreachable.
    """
    try:
        yield
    except OpenEnvError:
        raise
    except Exception as error:
        found = _explain(error)
        if found is None:
            raise
        for cause in _chain(error):
            cause.args = tuple(redacted(str(part), secrets) for part in cause.args)
        explanation, detail = found
        detail = f" ({redacted(detail, secrets)})" if detail else ""
        raise HubError(
            f"{operation} at {endpoint}: {explanation.happened}{detail}.",
            advice=explanation.advice,
            endpoint=endpoint,
            operation=operation,
        ) from error


def redacted(text: str, secrets: Collection[str]) -> str:
    """The text without the secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, _REDACTED)
    return text


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    status = _status(error)
    if status is None:
        return _is_without_response(error)
    return status >= 500 or status in (409, 412)


def _explain(error: Exception) -> tuple[_Explanation, str] | None:
    """The explanation and the Hub's own words; None if the error does not come from the Hub."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    status = _status(error)
    if status is not None:
        return _BY_STATUS.get(status, _SERVER_ERROR), f"{status}{_server_message(error)}"
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in _chain(error)):
        return _OFFLINE, ""
    if _is_without_response(error):
        root = list(_chain(error))[-1]
        return _NO_CONNECTION, str(root) or type(root).__name__
    if isinstance(error, HFValidationError):
        return _INVALID_NAME, str(error)
    if isinstance(error, ValueError):
        return _INVALID, " ".join(str(error).split())
    if isinstance(error, RuntimeError):  # the only exception of the storage for large files
        return _SERVER_ERROR, str(error)
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status of the Hub's response; None without a response."""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return int(response.status_code)
    return None


def _server_message(error: BaseException) -> str:
    for cause in _chain(error):
        message = getattr(cause, "server_message", None)
        if message:
            return f": {' '.join(str(message).split()).rstrip('.')}"
    return ""


def _is_without_response(error: BaseException) -> bool:
    kinds = (_client_error(), ConnectionError, TimeoutError)
    return any(isinstance(cause, kinds) for cause in _chain(error))


def _client_error() -> type[Exception]:
    """The exception for a missing response: the Hub's client uses requests or httpx, by its version."""
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
