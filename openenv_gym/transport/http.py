"""The few things that are asked over HTTP: schemas, metadata, health."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from openenv_gym.errors import (
    AccessRefusedError,
    DeadlineExceededError,
    EndpointError,
    EndpointUnreachableError,
    NotAnOpenEnvServerError,
    UnauthorizedError,
    UntrustedServerError,
)
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import bearer, v2

# Schemas are small. A server that sends more than this is not one of ours.
_MOST_BYTES = 64 * 2**20
# What a server says when it refuses is a sentence or two.
_MOST_WORDS = 2**16
_MOST_SHOWN = 500

# The JSON Schemas of actions and of observations.
Schemas = tuple[dict[str, Any], dict[str, Any]]


def get_json(endpoint: Endpoint, path: str, *, timeout_s: float) -> dict[str, Any]:
    """Asks for a JSON object with GET.

    Args:
        endpoint: The server.
        path: What to ask for, with a slash in front.
        timeout_s: The time for the whole of it, in seconds.

    Raises:
        EndpointUnreachableError: Nothing answers there.
        DeadlineExceededError: The answer took too long.
        NotAnOpenEnvServerError: The answer is not one that an OpenEnv server gives.
    """
    return _ask(endpoint, "GET", path, None, timeout_s).fields


def get_health(endpoint: Endpoint, *, timeout_s: float) -> tuple[dict[str, Any], int]:
    """How a server is (``GET /health``), and how many processes it has; its figures are of one of them.

    One that says that it is unhealthy (503) has an answer too. Raises what `get_json` does.
    """
    answer = _ask(endpoint, "GET", "/health", None, timeout_s, also=503)
    return answer.fields, v2.worker_of(answer.headers.get(v2.WORKER_HEADER))[1]


class Room(NamedTuple):
    """How many sessions all processes of a server have: those that are free, and all."""

    free: int
    most: int


def room_of(endpoint: Endpoint, *, timeout_s: float) -> Room | None:
    """The room for sessions on a server (``GET /health``); None where it does not say.

    One process answers, and is taken for each of them. Raises what `get_json` does.
    """
    health, processes = get_health(endpoint, timeout_s=timeout_s)
    if health.get("status") == "unhealthy":
        raise not_openenv(endpoint, "it answers 503 to GET /health")
    most, active = health.get("max_sessions"), health.get("active_sessions")
    if not isinstance(most, int) or not isinstance(active, int):
        return None
    return Room(max(most - active, 0) * processes, most * processes)


def first_observation(endpoint: Endpoint, *, timeout_s: float) -> dict[str, Any]:
    """The fields of an episode's first observation, asked for without a session (``POST /reset``).

    Raises:
        NotAnOpenEnvServerError: The server does not give one; and what `get_json` raises.
    """
    answer = _ask(endpoint, "POST", "/reset", b"{}", timeout_s).fields
    observation = answer.get("observation")
    if not isinstance(observation, dict):
        raise not_openenv(endpoint, "its answer to POST /reset has no observation")
    return observation


class _Answer(NamedTuple):
    """A JSON object, and the headers that came with it."""

    fields: dict[str, Any]
    headers: Message


def _ask(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes | None,
    timeout_s: float,
    *,
    also: int | None = None,
) -> _Answer:
    url, what = f"{endpoint}{path}", f"{method} {path}"
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    for name, value in endpoint.credentials.headers:
        # Where the server redirects to another one, that one is not shown them.
        request.add_unredirected_header(name, value)
    handlers = [urllib.request.HTTPSHandler(context=endpoint.credentials.tls)] if _has_tls(endpoint) else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
            text, answered = response.read(_MOST_BYTES), response.headers
            if response.length and len(text) < _MOST_BYTES:
                raise http.client.IncompleteRead(text, response.length)
        answer = json.loads(text)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(_MOST_WORDS)
        if error.code == also and (fields := _json_object(text)) is not None:
            return _Answer(fields, error.headers)
        if error.url != url:
            what += (
                f", redirected to {error.url}, which is shown no key and no headers: make that the base URL"
            )
        raise refused(endpoint, error.code, text, what) from error
    except TimeoutError as error:
        raise DeadlineExceededError(f"{url} did not answer within {timeout_s:g} s") from bare(error)
    except urllib.error.URLError as error:
        cause = bare(error.reason if isinstance(error.reason, OSError) else error)
        if isinstance(cause, TimeoutError):
            raise DeadlineExceededError(f"{url} did not answer within {timeout_s:g} s") from cause
        raise unreachable(endpoint, error.reason) from cause
    except http.client.IncompleteRead as error:
        raise unreachable(endpoint, f"the connection broke in the answer to {what}") from bare(error)
    except ValueError as error:
        raise not_openenv(endpoint, f"its answer to {what} is not JSON") from error
    except OSError as error:
        raise unreachable(endpoint, error) from bare(error)
    except Exception as error:  # http.client raises its own where the peer does not speak HTTP
        raise not_openenv(endpoint, f"its answer to {what} is not HTTP ({error})") from error
    if not isinstance(answer, dict):
        raise not_openenv(endpoint, f"its answer to {what} is not a JSON object")
    return _Answer(answer, answered)


def get_schemas(endpoint: Endpoint, *, timeout_s: float) -> Schemas:
    """The JSON Schemas of the server's action and of its observation.

    Raises:
        NotAnOpenEnvServerError: The server has none; and what `get_json` raises.
    """
    answer = get_json(endpoint, "/schema", timeout_s=timeout_s)
    action, observation = answer.get("action"), answer.get("observation")
    if not isinstance(action, dict) or not isinstance(observation, dict):
        raise not_openenv(endpoint, "its /schema has no action and observation")
    return action, observation


def refused(endpoint: Endpoint, status: int, body: bytes | None, what: str) -> EndpointError:
    """The error for a status other than success; ``body`` is what the server says."""
    if status == 401:
        shown = (
            "does not take the key that it was shown. Check"
            if endpoint.credentials.shows_key
            else "asks for a key. Pass"
        )
        return UnauthorizedError(f"{endpoint} {shown} api_key=, or set {bearer.VARIABLE}. ({what})")
    if status in (403, 429):
        return AccessRefusedError(f"{endpoint} answers {status} to {what}: {_message(body)}")
    if status == 404 and _is_space(endpoint) and not endpoint.credentials.shows_key:
        return AccessRefusedError(
            f"{endpoint} answers 404 to {what}: there is no such Space, or it is private. A private one is "
            "named by its id, which shows it the token of HF_TOKEN or `hf auth login`: "
            'gym.make("openenv/remote", space="OWNER/NAME"), or `openenv register NAME --space OWNER/NAME`.'
        )
    return not_openenv(endpoint, f"it answers {status} to {what}")


def _message(body: bytes | None) -> str:
    """What a server says, where it is JSON with a message; else the begin of it."""
    text = (body or b"").decode(errors="replace").strip()
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    message = answer.get("message") if isinstance(answer, dict) else text
    return str(message)[:_MOST_SHOWN] or "it does not say why"


def _json_object(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "status" in answer else None


def _is_space(endpoint: Endpoint) -> bool:
    return (urlsplit(endpoint.base_url).hostname or "").endswith(".hf.space")


def _has_tls(endpoint: Endpoint) -> bool:
    return endpoint.base_url.startswith("https:")


def tls_options(endpoint: Endpoint) -> dict[str, Any]:
    """How the WebSocket's certificate is checked, which is how that of HTTP is."""
    return {"context": endpoint.credentials.tls} if _has_tls(endpoint) else {}


def bare(error: Exception) -> Exception:
    """An error as another one's cause, without its way through the libraries, which is 60 lines of frames."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def unreachable(endpoint: Endpoint, reason: object) -> EndpointError:
    """The error for an endpoint where nothing answers, or nothing that can be trusted."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return UntrustedServerError(
            f"The certificate of {endpoint} is not trusted: {reason.verify_message}. If an authority of your "
            "own made it, pass its PEM file as ca_file=; if it is for another host name, use that name."
        )
    return EndpointUnreachableError(
        f"Nothing answers at {endpoint}: {reason}. Is the server running, and is the port right? "
        "`openenv list` shows the servers that are known, `openenv serve` starts one."
    )


def not_openenv(endpoint: Endpoint, finding: str) -> NotAnOpenEnvServerError:
    """The error for an endpoint that answers, but not as an OpenEnv server does."""
    return NotAnOpenEnvServerError(
        f"{endpoint} is not an OpenEnv server: {finding}. Check the URL; "
        "an OpenEnv server answers GET /schema with its action and observation."
    )
