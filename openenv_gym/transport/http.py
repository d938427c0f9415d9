"""The few things that are asked over HTTP: schemas, metadata, health."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from openenv_gym.errors import DeadlineExceededError, EndpointUnreachableError, NotAnOpenEnvServerError
from openenv_gym.transport.endpoint import Endpoint

# Schemas are small. A server that sends more than this is not one of ours.
_MOST_BYTES = 64 * 2**20


def get_json(endpoint: Endpoint, path: str, *, timeout_s: float) -> dict[str, Any]:
    """Asks for a JSON object.

    Args:
        endpoint: The server.
        path: What to ask for, with a slash in front.
        timeout_s: The time for the whole of it, in seconds.

    Raises:
        EndpointUnreachableError: Nothing answers there.
        DeadlineExceededError: The answer took too long.
        NotAnOpenEnvServerError: The answer is not one that an OpenEnv server gives.
    """
    url = f"{endpoint}{path}"
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            body = response.read(_MOST_BYTES)
        answer = json.loads(body)
    except urllib.error.HTTPError as error:
        raise not_openenv(endpoint, f"it answers {error.code} {error.reason} to GET {path}") from error
    except TimeoutError as error:
        raise DeadlineExceededError(f"{url} did not answer within {timeout_s:g} s") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise DeadlineExceededError(f"{url} did not answer within {timeout_s:g} s") from error
        raise unreachable(endpoint, error.reason) from error
    except ValueError as error:
        raise not_openenv(endpoint, f"its answer to GET {path} is not JSON") from error
    except OSError as error:
        raise unreachable(endpoint, error) from error
    except Exception as error:  # http.client raises its own where the peer does not speak HTTP
        raise not_openenv(endpoint, f"its answer to GET {path} is not HTTP ({error})") from error
    if not isinstance(answer, dict):
        raise not_openenv(endpoint, f"its answer to GET {path} is not a JSON object")
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
