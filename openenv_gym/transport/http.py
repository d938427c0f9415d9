"""The few things that are asked over HTTP: schemas, metadata, health."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from openenv_gym.errors import DeadlineExceededError, EndpointUnreachableError, NotAnOpenEnvServerError
from openenv_gym.transport.endpoint import Endpoint

# Schemas are small. A server that sends more than this is not one of ours.
_MOST_BYTES = 64 * 2**20


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
    return _ask(endpoint, "GET", path, None, timeout_s)


def first_observation(endpoint: Endpoint, *, timeout_s: float) -> dict[str, Any]:
    """The fields of an episode's first observation, asked for without a session (``POST /reset``).

    Raises:
        NotAnOpenEnvServerError: The server does not give one; and what `get_json` raises.
    """
    answer = _ask(endpoint, "POST", "/reset", b"{}", timeout_s)
    observation = answer.get("observation")
    if not isinstance(observation, dict):
        raise not_openenv(endpoint, "its answer to POST /reset has no observation")
    return observation


def _ask(endpoint: Endpoint, method: str, path: str, body: bytes | None, timeout_s: float) -> dict[str, Any]:
    url, what = f"{endpoint}{path}", f"{method} {path}"
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            text = response.read(_MOST_BYTES)
            if response.length and len(text) < _MOST_BYTES:
                raise http.client.IncompleteRead(text, response.length)
        answer = json.loads(text)
    except urllib.error.HTTPError as error:
        raise not_openenv(endpoint, f"it answers {error.code} {error.reason} to {what}") from error
    except TimeoutError as error:
        raise DeadlineExceededError(f"{url} did not answer within {timeout_s:g} s") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise DeadlineExceededError(f"{url} did not answer within {timeout_s:g} s") from error
        raise unreachable(endpoint, error.reason) from error
    except http.client.IncompleteRead as error:
        raise unreachable(endpoint, f"the connection broke in the answer to {what}") from error
    except ValueError as error:
        raise not_openenv(endpoint, f"its answer to {what} is not JSON") from error
    except OSError as error:
        raise unreachable(endpoint, error) from error
    except Exception as error:  # http.client raises its own where the peer does not speak HTTP
        raise not_openenv(endpoint, f"its answer to {what} is not HTTP ({error})") from error
    if not isinstance(answer, dict):
        raise not_openenv(endpoint, f"its answer to {what} is not a JSON object")
    return answer


def get_schemas(endpoint: Endpoint, *, timeout_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON Schemas of the server's action and of its observation.

    Raises:
        NotAnOpenEnvServerError: The server has none; and what `get_json` raises.
    """
    answer = get_json(endpoint, "/schema", timeout_s=timeout_s)
    action, observation = answer.get("action"), answer.get("observation")
    if not isinstance(action, dict) or not isinstance(observation, dict):
        raise not_openenv(endpoint, "its /schema has no action and observation")
    return action, observation


def unreachable(endpoint: Endpoint, reason: object) -> EndpointUnreachableError:
    """The error for an endpoint where nothing answers."""
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
