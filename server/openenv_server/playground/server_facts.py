"""What the page says about a server, from its HTTP routes."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from openenv_gym.errors import EndpointError, SchemaError
from openenv_gym.schema_keywords import SERVER_RENDERS_KEYWORD
from openenv_gym.spaces import compile_action, compile_observation
from openenv_gym.spaces.codecs import Codec
from openenv_gym.spaces.tools import takes_tool_calls
from openenv_gym.spaces.tree import lines
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_health, get_json, get_schemas, get_tools

# For each request, in seconds.
TIMEOUT_S = 10.0


class ServerFacts(NamedTuple):
    """What does not change while a server runs.

    Attributes:
        name: The environment's name.
        description: What it is.
        readme: Its README, in Markdown.
        schemas: Its JSON Schemas, by name.
        tools: The tools that its actions call, each with ``name``, ``description`` and ``input_schema``.
        spaces: Its spaces, as ``openenv spaces`` shows them.
        action_codec: Samples actions and encodes them; None if the schema has no space.
        renders: Whether the server renders its environments.
    """

    name: str
    description: str
    readme: str
    schemas: dict[str, Any]
    tools: list[dict[str, Any]]
    spaces: str
    action_codec: Codec | None
    renders: bool

    def sample(self) -> dict[str, Any] | None:
        """Return the fields of a random action; None if the schema has no space."""
        if self.action_codec is None:
            return None
        fields: dict[str, Any] = self.action_codec.encode(self.action_codec.space.sample())
        return fields


async def read_facts(endpoint: Endpoint) -> ServerFacts:
    """Read the facts about a server.

    Raises:
        EndpointError: The server cannot be reached, or it refuses the key.
        SchemaError: Its schemas are not schemas.
    """
    return await asyncio.to_thread(_read_facts, endpoint)


async def read_health(endpoint: Endpoint) -> dict[str, Any]:
    """Read a server's health. Raises the errors of `get_health`."""
    fields, _ = await asyncio.to_thread(get_health, endpoint, timeout_s=TIMEOUT_S)
    return fields


def _read_facts(endpoint: Endpoint) -> ServerFacts:
    action, observation = get_schemas(endpoint, timeout_s=TIMEOUT_S)
    try:
        metadata = get_json(endpoint, "/metadata", timeout_s=TIMEOUT_S)
    except EndpointError:  # not every server has a description
        metadata = {}
    schemas = get_json(endpoint, "/schema", timeout_s=TIMEOUT_S)
    spaces, codec = [], None
    for name, schema in {"action": action, "observation": observation}.items():
        try:
            compiled = (compile_action if name == "action" else compile_observation)(schema, unwrap=False)
        except SchemaError as error:
            spaces.append(f"{name}: {error}")
            continue
        codec = compiled.codec if name == "action" else codec
        spaces.append(f"{name} {lines(compiled)}")
    return ServerFacts(
        name=str(metadata.get("name") or "environment"),
        description=str(metadata.get("description") or ""),
        readme=str(metadata.get("readme_content") or ""),
        schemas=schemas,
        tools=get_tools(endpoint, timeout_s=TIMEOUT_S) if takes_tool_calls(schemas["action"]) else [],
        spaces="\n\n".join(spaces),
        action_codec=codec,
        renders=isinstance(observation.get(SERVER_RENDERS_KEYWORD), str),
    )
