"""The few requests that go over HTTP: schemas, metadata, health."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from email.message import Message
from typing import Any, NamedTuple

from openenv_gym.spaces.schema import union_of_models
from openenv_gym.spaces.tools import takes_tool_calls, with_tools
from openenv_gym.transport.blocking import OpeningStream, with_cookies
from openenv_gym.transport.deadline import Deadline
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.error_mapping import (
    HungUpError,
    bare,
    connect_error,
    not_openenv,
    refused,
    unreachable,
)
from openenv_gym.transport.routes import route_to
from openenv_gym.wire import v2
from openenv_gym.wire.handshake import BadHandshakeError
from openenv_gym.wire.mcp import TOOLS_REQUEST, listed_tools
from openenv_gym.wire.values import MOST_IN_ANSWER, check_json

# Observations may be large; schemas and lists of tools are not. Only other servers send more than this.
_MAX_BYTES = 64 * 2**20
_MAX_SCHEMA_BYTES = 16 * 2**20
# A refusal has a sentence or two.
_MAX_REFUSAL_BYTES = 2**16
_READ_AT_ONCE = 2**16

# The JSON Schemas of actions and of observations.
Schemas = tuple[dict[str, Any], dict[str, Any]]


def get_json(
    endpoint: Endpoint, path: str, *, timeout_s: float, max_bytes: int = _MAX_BYTES
) -> dict[str, Any]:
    """GET a JSON object.

    Args:
        endpoint: The server.
        path: The path, with a slash in front.
        timeout_s: The time for the whole request, in seconds.
        max_bytes: The size of the largest response that is read.

    Raises:
        EndpointUnreachableError: Nothing answers there.
        UntrustedServerError: The server's certificate is not trusted.
        AccessRefusedError: The server refuses the request.
        DeadlineExceededError: The response took too long.
        NotAnOpenEnvServerError: The response is not one that an OpenEnv server gives.
    """
    return _request(endpoint, "GET", path, None, Deadline(timeout_s), max_bytes=max_bytes).fields


def get_schemas(endpoint: Endpoint, *, timeout_s: float) -> Schemas:
    """GET the JSON Schemas of the server's action and of its observation.

    If the observation after a reset is of another model than that after a step, the schema is of either. If
    an action is the call of a tool, the server's tools are in both schemas.

    Args:
        endpoint: The server.
        timeout_s: The time for all requests, in seconds.

    Raises:
        NotAnOpenEnvServerError: It has none; and the errors of `get_json`.
        SchemaError: They are not schemas, or too large.
    """
    deadline = Deadline(timeout_s)
    response = _request(endpoint, "GET", "/schema", None, deadline, max_bytes=_MAX_SCHEMA_BYTES).fields
    action, observation = response.get("action"), response.get("observation")
    if not isinstance(action, dict) or not isinstance(observation, dict):
        raise not_openenv(endpoint, "its /schema has no action and observation", "GET /schema")
    first = response.get("reset_observation")
    if isinstance(first, dict) and first.get("properties") != observation.get("properties"):
        observation = union_of_models(observation, first)
    if takes_tool_calls(action) and (tools := _tools(endpoint, deadline)):
        return with_tools(action, tools), with_tools(observation, tools)
    return action, observation


def get_tools(endpoint: Endpoint, *, timeout_s: float) -> list[dict[str, Any]]:
    """Ask for the tools of a server's environment (``tools/list`` of the Model Context Protocol).

    Raises:
        NotAnOpenEnvServerError: The response has none; and the errors of `get_json`.
    """
    return _tools(endpoint, Deadline(timeout_s))


def _tools(endpoint: Endpoint, deadline: Deadline) -> list[dict[str, Any]]:
    request = json.dumps(TOOLS_REQUEST).encode()
    response = _request(endpoint, "POST", "/mcp", request, deadline, max_bytes=_MAX_SCHEMA_BYTES).fields
    tools = listed_tools(response)
    if tools is None:
        finding = f"its actions call tools, but it does not list them ({response.get('error')})"
        raise not_openenv(endpoint, finding, "POST /mcp")
    return tools


def get_health(endpoint: Endpoint, *, timeout_s: float) -> tuple[dict[str, Any], int]:
    """GET a server's health, and how many processes it has. The figures are those of one process.

    An unhealthy server (503) has a response too. Raises the errors of `get_json`.
    """
    response = _request(endpoint, "GET", "/health", None, Deadline(timeout_s), accepts_503=True)
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
    observation = _request(endpoint, "POST", "/reset", b"{}", Deadline(timeout_s)).fields.get("observation")
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
    deadline: Deadline,
    *,
    accepts_503: bool = False,
    max_bytes: int = _MAX_BYTES,
) -> _Response:
    operation = f"{method} {path}"

    def request() -> _Response:
        status, headers, text = exchange(endpoint, method, path, body, deadline, max_bytes + 1)
        if accepts_503 and status == 503 and (fields := _health_in(text)) is not None:
            return _Response(fields, headers)
        if not 200 <= status < 300:
            raise refused(
                endpoint, status, {name.lower(): value for name, value in headers.items()}, text, operation
            )
        if len(text) > max_bytes:
            raise not_openenv(
                endpoint, f"its answer to {operation} has more than {max_bytes:,} bytes", operation
            )
        try:
            check_json(text, MOST_IN_ANSWER)
        except ValueError as error:
            raise not_openenv(
                endpoint, f"its answer to {operation} is too large: {error}", operation
            ) from error
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise not_openenv(endpoint, f"its answer to {operation} is not JSON", operation) from error
        if not isinstance(fields, dict):
            raise not_openenv(endpoint, f"its answer to {operation} is not a JSON object", operation)
        return _Response(fields, headers)

    return with_cookies(endpoint, path, request)


def exchange(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes | None,
    deadline: Deadline,
    max_bytes: int = _MAX_BYTES,
) -> tuple[int, Message, bytes]:
    """Send a request; return the status, the headers and the body of the response, cut to ``max_bytes``.

    Raises:
        EndpointError: As `get_json`, but a refusal is returned.
    """
    operation = f"{method} {path}"
    route = route_to(endpoint)
    connection = http.client.HTTPConnection(route.host, route.port)
    headers = {"Host": route.host_header, "Accept": "application/json", "Connection": "close"}
    headers.update(endpoint.headers_for(path))
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        stream = OpeningStream(route, deadline)
        with closing(stream.raw):
            connection.sock = stream
            connection.request(method, f"{route.path}{path}", body, headers)
            with connection.getresponse() as response:
                text = _body(response, max_bytes if response.status < 300 else _MAX_REFUSAL_BYTES)
                if response.status < 300 and response.length and len(text) < max_bytes:
                    raise http.client.IncompleteRead(text, response.length)
    except http.client.RemoteDisconnected as error:
        raise connect_error(endpoint, HungUpError(), operation, deadline.timeout_s) from bare(error)
    except http.client.BadStatusLine as error:
        bad = BadHandshakeError(
            f"its answer to {operation} is not HTTP", str(error.args[0]).encode("latin-1")
        )
        raise connect_error(endpoint, bad, operation, deadline.timeout_s) from error
    except http.client.IncompleteRead as error:
        reason = f"the connection broke in the answer to {operation}"
        raise unreachable(endpoint, reason, operation) from bare(error)
    except http.client.HTTPException as error:
        finding = f"its answer to {operation} is not HTTP ({error})"
        raise not_openenv(endpoint, finding, operation) from error
    except (OSError, ValueError) as error:
        raise connect_error(endpoint, error, operation, deadline.timeout_s) from bare(error)
    endpoint.cookies.update(path, response.headers.get_all("Set-Cookie") or ())
    return response.status, response.headers, text


def _body(response: http.client.HTTPResponse, most: int) -> bytes:
    """The body, up to so many bytes. It is read in parts, since each of its chunks may be a single byte."""
    body = bytearray()
    while len(body) < most and (part := response.read(min(most - len(body), _READ_AT_ONCE))):
        body += part
    return bytes(body)


def _health_in(text: bytes) -> dict[str, Any] | None:
    """The health in a response with status 503, which a gateway may have sent as well."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and "status" in fields else None
