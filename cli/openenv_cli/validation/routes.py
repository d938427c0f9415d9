"""Checks of a running server's HTTP routes, and of the schemas that it gives."""

from __future__ import annotations

from typing import Any

from openenv_cli.validation.check import Check, Finding, failed, passed, skipped, warning
from openenv_cli.validation.server import Server, cannot_be_made, health_of
from openenv_gym.errors import NotAnOpenEnvServerError
from openenv_gym.transport.http import get_json, get_schemas

_ROUTES = ("/health", "/metadata", "/schema")
_MOST_SHOWN = 200
_UPDATE = "Make the application with create_app, which has all routes, and update openenv."


def _health(server: Server) -> Finding:
    health = health_of(server)
    status = health.get("status")
    if status == "healthy":
        notes = [] if "max_sessions" in health else ["It does not say how many sessions there may be"]
        return passed(f"GET /health: {_excerpt(health)}", notes=notes)
    if status == "degraded":
        return warning(
            f"GET /health: {_excerpt(health)}", "See its reasons; it may have no free session now."
        )
    return failed(f'GET /health has "status": {status!r}, not "healthy"', _UPDATE)


def _metadata(server: Server) -> Finding:
    try:
        metadata = get_json(server.endpoint, "/metadata", timeout_s=server.timeout_s)
    except NotAnOpenEnvServerError:
        if cannot_be_made(server):
            # An instance is asked for its metadata. One failure is enough.
            return skipped("The environment cannot be made: see session.reset")
        raise
    if not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return failed(f"GET /metadata has no name: {_excerpt(metadata)}", "Give create_app an env_name.")
    if not metadata.get("description"):
        return warning(
            f"GET /metadata of {metadata['name']} has no description", "Give its class a docstring."
        )
    return passed(f"{metadata['name']}: {metadata['description']}")


def _openapi(server: Server) -> Finding:
    paths = get_json(server.endpoint, "/openapi.json", timeout_s=server.timeout_s).get("paths")
    paths = paths if isinstance(paths, dict) else {}
    missing = [route for route in _ROUTES if route not in paths]
    if missing:
        return failed(f"GET /openapi.json does not describe {', '.join(missing)}", _UPDATE)
    return passed(f"{len(paths)} paths are described")


def _schemas(server: Server) -> Finding:
    from jsonschema import Draft202012Validator, SchemaError

    mistakes = []
    for name, schema in zip(
        ("action", "observation"), get_schemas(server.endpoint, timeout_s=server.timeout_s), strict=True
    ):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            mistakes.append(f"the {name}'s schema at {error.json_path}: {error.message}")
    if mistakes:
        return failed(
            "; ".join(mistakes),
            "Look for json_schema_extra and Field(…) keywords in models.py that are no JSON Schema.",
        )
    return passed("Those of action and observation are JSON Schema, draft 2020-12")


def _spaces(server: Server) -> Finding:
    env = server.env()
    notes = [
        f"{kind} {finding.path}: {finding.inexact}"
        for kind, findings in env.schema_report.items()
        for finding in findings
        if finding.inexact
    ]
    _, observation = get_schemas(server.endpoint, timeout_s=server.timeout_s)
    if "truncated" not in observation.get("properties", {}):
        notes.append("The observation has no `truncated`: a learner cannot tell a time limit from an end")
    return passed(
        f"action_space = {_excerpt(env.action_space)}\nobservation_space = {_excerpt(env.observation_space)}",
        notes=notes,
    )


def _excerpt(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


_STARTED = ("server.start",)
ROUTE_CHECKS = (
    Check("routes.health", "GET /health says that it is well", _health, fix=_UPDATE, needs=_STARTED),
    Check(
        "routes.metadata",
        "GET /metadata says what it is",
        _metadata,
        fix="Look at the server's log; the metadata are those of the class, and create_app's env_name.",
        needs=_STARTED,
    ),
    Check("schemas.valid", "Its schemas are JSON Schema", _schemas, fix=_UPDATE, needs=_STARTED),
    # FastAPI cannot describe an API whose schemas are none.
    Check(
        "routes.openapi",
        "GET /openapi.json describes the API",
        _openapi,
        fix=_UPDATE,
        needs=("schemas.valid",),
    ),
    Check(
        "schemas.spaces",
        "Its schemas become Gymnasium spaces",
        _spaces,
        fix="`openenv spaces` shows each field; give the one that is named a type that a space can hold.",
        needs=("schemas.valid",),
    ),
)
