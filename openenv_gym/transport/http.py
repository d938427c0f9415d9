"""The few requests that go over HTTP: schemas, metadata, health."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from email.message import Message
from typing import Any, NamedTuple

from openenv_gym.errors import DeadlineExceededError
from openenv_gym.spaces.schema import union_of_models
from openenv_gym.spaces.tools import takes_tool_calls, with_tools
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.error_mapping import bare, is_timeout, not_openenv, refused, unreachable
from openenv_gym.transport.routes import Route, route_to
from openenv_gym.wire import v2

# Schemas are small. A server that sends more than this is not one of ours.
_MAX_BYTES = 64 * 2**20
# A refusal has a sentence or two.
_MAX_REFUSAL_BYTES = 2**16

# The JSON Schemas of actions and of observations.
Schemas = tuple[dict[str, Any], dict[str, Any]]


def get_json(endpoint: Endpoint, path: str, *, timeout_s: float) -> dict[str, Any]:
    """GET a JSON object.

    Args:
        endpoint: The server.
        path: The path, with a slash in front.
        timeout_s: The time for the whole request, in seconds.

    Raises:
        EndpointUnreachableError: Nothing answers there.
        UntrustedServerError: The server's certificate is not trusted.
        AccessRefusedError: The server refuses the request.
        DeadlineExceededError: The response took too long.
        NotAnOpenEnvServerError: The response is not one that an OpenEnv server gives.
    """
    return _request(endpoint, "GET", path, None, timeout_s).fields


def get_schemas(endpoint: Endpoint, *, timeout_s: float) -> Schemas:
    """GET the JSON Schemas of the server's action and of its observation.

    If the observation after a reset is of another model than that after a step, the schema is of either. If
    an action is the call of a tool, the server's tools are in both schemas.

    Raises:
        NotAnOpenEnvServerError: It has none; and the errors of `get_json`.
    """
    response = get_json(endpoint, "/schema", timeout_s=timeout_s)
    action, observation = response.get("action"), response.get("observation")
    if not isinstance(action, dict) or not isinstance(observation, dict):
        raise not_openenv(endpoint, "its /schema has no action and observation", "GET /schema")
    first = response.get("reset_observation")
    if isinstance(first, dict) and first.get("properties") != observation.get("properties"):
        observation = union_of_models(observation, first)
    if takes_tool_calls(action) and (tools := get_tools(endpoint, timeout_s=timeout_s)):
        return with_tools(action, tools), with_tools(observation, tools)
    return action, observation


def get_tools(endpoint: Endpoint, *, timeout_s: float) -> list[dict[str, Any]]:
    """Ask for the tools of a server's environment (``tools/list`` of the Model Context Protocol).

    Raises:
        NotAnOpenEnvServerError: The response has none; and the errors of `get_json`.
    """
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).encode()
    response = _request(endpoint, "POST", "/mcp", request, timeout_s).fields
    result = response.get("result")
    tools = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        finding = f"its actions call tools, but it does not list them ({response.get('error')})"
        raise not_openenv(endpoint, finding, "POST /mcp")
    return tools


def get_health(endpoint: Endpoint, *, timeout_s: float) -> tuple[dict[str, Any], int]:
    """GET a server's health, and how many processes it has. The figures are those of one process.

    An unhealthy server (503) has a response too. Raises the errors of `get_json`.
    """
    response = _request(endpoint, "GET", "/health", None, timeout_s, accepts_503=True)
    return response.fields, v2.worker_of(response.headers.get(v2.WORKER_HEADER))[1]


class Capacity(NamedTuple):
    """The sessions of all processes of a server.

    Attributes:
        free: How many more can be opened.
        total: How many can be open at a time.
    """

    free: int
    total: int


def get_capacity(endpoint: Endpoint, *, timeout_s: float) -> Capacity | None:
    """GET the capacity of a server from its health; None if it does not say.

    One process responds, and is taken as typical of the others. Raises the errors of `get_json`.
    """
    health, processes = get_health(endpoint, timeout_s=timeout_s)
    if health.get("status") == "unhealthy":
        raise not_openenv(endpoint, "it answers 503 to GET /health", "GET /health")
    total, active = health.get("max_sessions"), health.get("active_sessions")
    if not isinstance(total, int) or not isinstance(active, int):
        return None
    return Capacity(max(total - active, 0) * processes, total * processes)


def first_observation(endpoint: Endpoint, *, timeout_s: float) -> dict[str, Any]:
    """The fields of an episode's first observation, without a session (``POST /reset``).

    Raises:
        NotAnOpenEnvServerError: The response has none; and the errors of `get_json`.
    """
    observation = _request(endpoint, "POST", "/reset", b"{}", timeout_s).fields.get("observation")
    if not isinstance(observation, dict):
        raise not_openenv(endpoint, "its answer to POST /reset has no observation", "POST /reset")
    return observation


class _Response(NamedTuple):
    """A JSON object, and the headers that came with it."""

    fields: dict[str, Any]
    headers: Message


def _request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes | None,
    timeout_s: float,
    *,
    accepts_503: bool = False,
) -> _Response:
    url, operation = f"{endpoint}{path}", f"{method} {path}"
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    for name, value in endpoint.credentials.headers:
        # If the server redirects to another one, that one does not get them.
        request.add_unredirected_header(name, value)
    try:
        with _opener(route_to(endpoint)).open(request, timeout=timeout_s) as response:
            text, answered = response.read(_MAX_BYTES), response.headers
            if response.length and len(text) < _MAX_BYTES:
                raise http.client.IncompleteRead(text, response.length)
        fields = json.loads(text)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(_MAX_REFUSAL_BYTES)
        if accepts_503 and error.code == 503 and (fields := _health_in(text)) is not None:
            return _Response(fields, error.headers)
        if error.url != url:
            operation += (
                f", redirected to {error.url}, which gets no key and no headers: make that the base URL"
            )
        raise refused(endpoint, error.code, text, operation) from error
    except urllib.error.URLError as error:
        cause = bare(error.reason if isinstance(error.reason, OSError) else error)
        if is_timeout(cause):
            raise _late(endpoint, operation, timeout_s) from cause
        raise unreachable(endpoint, error.reason, operation) from cause
    except TimeoutError as error:
        raise _late(endpoint, operation, timeout_s) from bare(error)
    except http.client.IncompleteRead as error:
        reason = f"the connection broke in the answer to {operation}"
        raise unreachable(endpoint, reason, operation) from bare(error)
    except ValueError as error:
        raise not_openenv(endpoint, f"its answer to {operation} is not JSON", operation) from error
    except OSError as error:
        raise unreachable(endpoint, error, operation) from bare(error)
    except Exception as error:  # http.client's own errors, if the peer does not speak HTTP
        finding = f"its answer to {operation} is not HTTP ({error})"
        raise not_openenv(endpoint, finding, operation) from error
    if not isinstance(fields, dict):
        raise not_openenv(endpoint, f"its answer to {operation} is not a JSON object", operation)
    return _Response(fields, answered)


def _opener(route: Route) -> urllib.request.OpenerDirector:
    proxies = {} if route.proxy is None else dict.fromkeys(("http", "https"), route.proxy.url)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler(proxies)]
    if route.tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=route.tls))
    return urllib.request.build_opener(*handlers)


def _late(endpoint: Endpoint, operation: str, timeout_s: float) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"{endpoint} did not answer {operation} within {timeout_s:g} s.",
        endpoint=endpoint.base_url,
        operation=operation,
    )


def _health_in(text: bytes) -> dict[str, Any] | None:
    """The health in a response with status 503, which a gateway may have sent as well."""
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and "status" in fields else None
