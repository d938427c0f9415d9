"""``openenv info``: a server's description, status, access and spaces."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from openenv_gym.transport.endpoint import Endpoint

_MAX_VALUE_LENGTH = 200


def info(
    target: Annotated[str, typer.Argument(metavar="NAME|URL", help="A name, a URL, or a folder.")] = ".",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each response.")] = 10.0,
) -> None:
    """Show an environment's description, status and spaces, whether it is full, and whether it needs a key.

    In a pipe, each fact is one line: its name, a tab and its value.

    Examples:
        openenv info http://localhost:8000

        openenv info my-env

        openenv info my-env --json | jq .action_schema
    """
    from openenv_cli.output import json_text, one_line, status, without_controls
    from openenv_cli.targets import launched

    with launched(target) as server:
        endpoint = server.endpoint
        with status(f"Asking {endpoint}…"):
            known = ask(endpoint, timeout, key="your Hub token" if server.headers else "$OPENENV_API_KEY")
    if as_json:
        print(json_text(json.dumps(known, indent=2, ensure_ascii=False)))
        return
    rows = [(name.replace("_", " "), _in_words(name, value)) for name, value in known.items()]
    if not sys.stdout.isatty():
        for name, words in rows:
            print(f"{one_line(name)}\t{' '.join(without_controls(words).plain.split())}")
        return
    from rich.table import Table

    from openenv_cli.console import Console

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in rows:
        table.add_row(name, without_controls(words))
    Console(highlight=False).print(table)


def ask(endpoint: Endpoint, timeout_s: float, *, key: str) -> dict[str, Any]:
    """Collect everything that a server reveals without starting an episode.

    Args:
        endpoint: The server.
        timeout_s: The timeout of each request, in seconds.
        key: A description of the key that is sent, if one is sent.

    Returns:
        Name, description, version, health, access, protocol, tools, the two spaces, the render modes, and
        the three schemas. None for each fact that the server does not report.

    Raises:
        EndpointError: The server does not respond, or refuses.
        SchemaError: Its schemas cannot become spaces.
    """
    from openenv_gym.env_spaces import read_env_spaces
    from openenv_gym.errors import EndpointError, NotAnOpenEnvServerError
    from openenv_gym.transport.blocking import BlockingTransport, run
    from openenv_gym.transport.http import get_health, get_json, get_schemas

    schemas = get_json(endpoint, "/schema", timeout_s=timeout_s)
    env_spaces = read_env_spaces(
        endpoint,
        get_schemas(endpoint, timeout_s=timeout_s),
        reset_timeout_s=timeout_s,
        unwrap=True,
        omit_defaults=False,
        infer_shapes=False,
        action_space=None,
        observation_space=None,
        render_mode=None,
    )
    health: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    processes = 1
    # Not every server has these routes, and a server in trouble may fail to answer them.
    with suppress(NotAnOpenEnvServerError):
        health, processes = get_health(endpoint, timeout_s=timeout_s)
    with suppress(NotAnOpenEnvServerError):
        metadata = get_json(endpoint, "/metadata", timeout_s=timeout_s)
    try:
        connection = run(BlockingTransport().connect(endpoint, timeout_s=timeout_s))
        protocol = 2 if connection.is_v2 else 1
        connection.hang_up()
    except EndpointError:
        protocol = None
    sessions = None
    if "max_sessions" in health:
        sessions = {
            "active": health.get("active_sessions"),
            "capacity": health["max_sessions"],
            "processes": processes,  # the other two numbers are those of one process
        }
    return {
        "name": metadata.get("name"),
        "description": metadata.get("description"),
        "version": metadata.get("version"),
        "server": endpoint.base_url,
        "health": health.get("status"),
        "health_reasons": health.get("reasons"),
        "sessions": sessions,
        "key": _key(endpoint, timeout_s, key),
        "protocol": protocol,
        "tools": {tool.name: tool.description for tool in env_spaces.tools} or None,
        "action_space": str(env_spaces.action.space),
        "observation_space": str(env_spaces.observation.space),
        "render_modes": env_spaces.render_modes,
        "action_schema": schemas["action"],
        "observation_schema": schemas["observation"],
        "state_schema": schemas.get("state"),
    }


def _key(endpoint: Endpoint, timeout_s: float, key: str) -> str:
    """Whether the server, which accepted this key, needs one."""
    from openenv_gym.errors import AccessRefusedError, NotAnOpenEnvServerError
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import get_schemas

    if not endpoint.credentials.shows_key:
        return "not needed"
    try:
        get_schemas(Endpoint.parse(endpoint.base_url, api_key=""), timeout_s=timeout_s)
    except (AccessRefusedError, NotAnOpenEnvServerError):  # without a token, a private Space responds 404
        return f"needed; {key} is accepted"
    return "not needed"


def _in_words(name: str, value: Any) -> str:
    """A fact, short enough to read."""
    if name == "tools":
        return ", ".join(value or ()) or "none"
    if value is None:
        return "not reported"
    if name == "sessions":
        processes = value["processes"]
        where = f" in one of {processes} processes" if processes > 1 else ""
        return f"{value['active']} of {value['capacity']}{where}"
    if name == "health_reasons":
        return "; ".join(map(str, value)) or "none"
    if name == "render_modes":
        return ", ".join(value) or "none"
    if name.endswith("_schema"):
        return ", ".join(_field(field, value) for field in value.get("properties", {})) or "no fields"
    text = str(value).strip()
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"


def _field(name: str, schema: dict[str, Any]) -> str:
    """A field's name and type, marked with ``?`` if it is optional."""
    declared = schema["properties"][name].get("type")
    kind = f": {declared}" if isinstance(declared, str) else ""
    return f"{name}{'' if name in schema.get('required', []) else '?'}{kind}"
