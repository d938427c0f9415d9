"""What the errors of an environment say more, where its servers were started for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from openenv_gym.errors import EndpointError, OpenEnvError, RemoteEnvironmentError, ServerEndedError
from openenv_gym.providers.provider import Provider
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

_LOG_LINES = 30
_LOG_TIMEOUT_S = 1.0
_LOG_POLL_S = 0.01
# A connection breaks a moment before its server is seen to have ended.
_END_TIMEOUT_S = 1.0
_END_POLL_S = 0.05


def add_log(provider: Provider, error: RemoteEnvironmentError) -> None:
    """Adds the end of the server's log to an error, as a note: its traceback, which nobody else has.

    Waits up to 1 s for it, where the server is one that was started here.
    """
    named = next((base_url for base_url in provider.endpoints if _is_in(base_url, error)), None)
    read = provider.logs if named is None else partial(provider.log_of, named)
    log, begin = read(), ""
    if provider.has_log:
        begin = "The server's log ends with:\n"
        # It was written before the answer was sent, and is read by another thread.
        error_id, deadline = str(error.details.get("error_id", "")), time.monotonic() + _LOG_TIMEOUT_S
        while error_id not in log and time.monotonic() < deadline:
            time.sleep(_LOG_POLL_S)
            log = read()
    if log.strip():
        error.add_note(begin + "\n".join(log.splitlines()[-_LOG_LINES:]))


def server_ended(provider: Provider, error: EndpointError) -> ServerEndedError | None:
    """What to raise instead of an error, where a server that it names has ended; None where none has.

    Waits up to 1 s for the end of a server that answers no more. Where one that ends is started anew, the
    error gets a note that says so.
    """
    if not (named := [base_url for base_url in provider.endpoints if _is_in(base_url, error)]):
        return None
    deadline = time.monotonic() + (0.0 if provider.starts_anew else _END_TIMEOUT_S)
    while True:
        ended = provider.ended()
        for base_url in named:
            if base_url in ended:
                return _error(provider, base_url, ended)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or all(_answers(base_url, left_s) for base_url in named):
            break
        time.sleep(_END_POLL_S)
    if provider.starts_anew:
        error.add_note(
            f"The server at {named[0]} was started for this environment. If it has ended, it is started anew "
            "at another address, which a reset waits for with capacity_timeout_s="
        )
    return None


def _error(provider: Provider, base_url: str, ended: Mapping[str, str]) -> ServerEndedError:
    count, left = len(provider.endpoints), len(provider.endpoints) - len(ended)
    if left:
        others = f"the {left} that are left" if left > 1 else "the one that is left"
        next_step = f"it is not started anew, and `reset` gives its slots to {others} of {count}"
    else:
        none = f"none of the {count} is left; " if count > 1 else ""
        next_step = f"{none}close this environment and make it anew"
    return ServerEndedError(
        f"The server at {base_url}, which was started for this environment, has ended: {next_step}. "
        f"{ended[base_url]}"
    )


def _is_in(base_url: str, error: OpenEnvError) -> bool:
    """Whether an error is of a server: each names the one that it is of."""
    _, found, after = str(error).partition(base_url)
    return bool(found) and not after[:1].isdigit()


def _answers(base_url: str, timeout_s: float) -> bool:
    try:
        get_json(Endpoint.parse(base_url), "/health", timeout_s=timeout_s)
    except EndpointError:
        return False
    return True
