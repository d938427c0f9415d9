"""Checks of a server: start, HTTP routes, schemas, capacity, and stop."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from openenv_cli.validation.check import Check, CheckResult, counted, failed, passed, skipped, warning
from openenv_cli.validation.episodes import SEED
from openenv_cli.validation.server import CAPACITY_TIMEOUT_S, Server, start_failure
from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    NotAnOpenEnvServerError,
    OpenEnvError,
    RemoteError,
)
from openenv_gym.transport.http import get_json, get_schemas
from openenv_gym.wire.codes import ErrorCode

# `docker stop` kills after ten seconds.
_SLOW_STOP_S = 5.0
_ROUTES = ("/health", "/metadata", "/schema")
_MAX_SHOWN = 200
_UPDATE = "Make the application with create_app, which has all routes, and update openenv."
# How many sessions to open at once; one more if the server's limit is not above that.
MAX_SESSIONS = 4
_POLL_S = 0.05


def _start(server: Server) -> CheckResult:
    start = time.monotonic()
    try:
        server.start()
    except (ConfigurationError, DeadlineExceededError) as error:
        server.new_log()  # the error has it
        return start_failure(error, f"openenv serve {server.folder}", folder=Path(str(server.folder)))
    return passed(f"At {server.base_url}: ready after {time.monotonic() - start:.1f} s")


def stop_result(took_s: float) -> CheckResult:
    """The result for a server that exited this many seconds after SIGTERM."""
    if took_s > _SLOW_STOP_S:
        return warning(
            f"It took {took_s:.1f} s to exit after SIGTERM; `docker stop` kills after 10 s",
            "Look for threads that outlive the environment's close(), and end them there.",
        )
    return passed(f"It exited {took_s:.1f} s after SIGTERM")


def _stop(server: Server) -> CheckResult:
    return stop_result(server.stop())


def _health(server: Server) -> CheckResult:
    health = server.health()
    status = health.get("status")
    if status == "healthy":
        notes = [] if "max_sessions" in health else ["It does not report how many sessions it allows"]
        return passed(f"GET /health: {_excerpt(health)}", notes=notes)
    if status == "degraded":
        return warning(f"GET /health: {_excerpt(health)}", "See its reasons. It may have no free session.")
    return failed(f'GET /health has "status": {status!r}, not "healthy"', _UPDATE)


def _metadata(server: Server) -> CheckResult:
    try:
        metadata = get_json(server.endpoint, "/metadata", timeout_s=server.timeout_s)
    except NotAnOpenEnvServerError:
        if _factory_fails(server):
            # The server makes an environment to read its metadata. One failure is enough.
            return skipped("The environment cannot be created: see session.reset")
        raise
    if not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return failed(f"GET /metadata has no name: {_excerpt(metadata)}", "Pass env_name to create_app.")
    server.name = metadata["name"]
    if not metadata.get("description"):
        return warning(f"GET /metadata of {server.name} has no description", "Give its class a docstring.")
    return passed(f"{server.name}: {metadata['description']}")


def _factory_fails(server: Server) -> bool:
    with closing(server.client()) as client:
        try:
            client.reset()
        except RemoteError as error:
            return error.code == ErrorCode.FACTORY_ERROR
        except OpenEnvError:
            return False
    return False


def _openapi(server: Server) -> CheckResult:
    paths = get_json(server.endpoint, "/openapi.json", timeout_s=server.timeout_s).get("paths")
    paths = paths if isinstance(paths, dict) else {}
    missing = [route for route in _ROUTES if route not in paths]
    if missing:
        return failed(f"GET /openapi.json does not describe {', '.join(missing)}", _UPDATE)
    return passed(f"It describes {len(paths)} paths")


def _schemas(server: Server) -> CheckResult:
    from jsonschema import Draft202012Validator, SchemaError

    mistakes = []
    for name, schema in zip(
        ("action", "observation"), get_schemas(server.endpoint, timeout_s=server.timeout_s), strict=True
    ):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            mistakes.append(f"the {name} schema at {error.json_path}: {error.message}")
    if mistakes:
        return failed(
            "; ".join(mistakes),
            "Look for json_schema_extra and Field(…) keywords in models.py that are not JSON Schema.",
        )
    return passed("The schemas of action and observation are JSON Schema, draft 2020-12")


def _spaces(server: Server) -> CheckResult:
    env = server.env()
    notes = [
        f"{kind} {field.path}: {field.inexact}"
        for kind, fields in env.schema_report.items()
        for field in fields
        if field.inexact
    ]
    _, observation = get_schemas(server.endpoint, timeout_s=server.timeout_s)
    if "truncated" not in observation.get("properties", {}):
        notes.append("The observation has no `truncated`: a time limit looks like a terminal state")
    return passed(
        f"action_space = {_excerpt(env.action_space)}\nobservation_space = {_excerpt(env.observation_space)}",
        notes=notes,
    )


def _excerpt(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _capacity(server: Server) -> CheckResult:
    promised = _free_sessions(server)
    wanted = MAX_SESSIONS if promised is None else min(promised, MAX_SESSIONS)
    with ExitStack() as stack:
        opened, refusal = _open(server, stack, wanted)
        server.sessions_at_once = opened
        if refusal is not None and not isinstance(refusal, CapacityError):
            return failed(
                f"With {counted(opened, 'session')} open, session {opened + 1} fails: {refusal}",
                "Give each instance its own files, ports and devices, or set "
                "SUPPORTS_CONCURRENT_SESSIONS = False in the class.",
            )
        if refusal is not None and promised is not None:
            return failed(
                f"GET /health reports {promised} free sessions, but session {opened + 1} is refused: "
                f"{refusal}",
                "Check who else uses the server, and max_concurrent_envs in create_app.",
            )
        if refusal is not None:
            return passed(f"{counted(opened, 'session')} at once; one more is refused")
        if promised is None or promised > MAX_SESSIONS:
            more = "" if promised is None else f", of {promised} free ones"
            return passed(f"{counted(opened, 'session')} at once{more}; the limit was not tried")
        _, refusal = _open(server, stack, 1, waits=False)
    if refusal is None:
        return failed(
            f"GET /health reports {promised} free sessions, but one more can be opened",
            "Make the application with create_app, which enforces its limit.",
        )
    if not isinstance(refusal, CapacityError):
        return failed(
            f"The session above the limit of {promised} is refused with {refusal.code}, not CAPACITY_REACHED",
            "Make the application with create_app, whose refusal lets clients retry.",
        )
    return passed(f"{counted(opened, 'session')} at once, as GET /health reports; one more is refused")


def _free_sessions(server: Server) -> int | None:
    """How many sessions the server reports as free; None if it does not, as with published servers."""
    health = server.health()
    limit, active = health.get("max_sessions"), health.get("active_sessions")
    return max(limit - active, 0) if isinstance(limit, int) and isinstance(active, int) else None


def _open(
    server: Server, stack: ExitStack, count: int, *, waits: bool = True
) -> tuple[int, RemoteError | None]:
    """Open sessions until the count is reached or one is refused.

    Args:
        server: The server.
        stack: Closes the sessions.
        count: The number of sessions.
        waits: Whether the first one retries while the server is full, as another may just have closed.

    Returns:
        The number of sessions opened, and the refusal.
    """
    for opened in range(count):
        env = stack.enter_context(closing(server.env()))
        if opened or not waits:
            env.capacity_timeout_s = 0.0
        try:
            env.reset(seed=SEED)
        except RemoteError as error:
            return opened, error
    return count, None


def _close(server: Server) -> CheckResult:
    before = server.health().get("active_sessions")
    with closing(server.env()) as env:
        env.reset(seed=SEED)
    with closing(server.env()) as env:
        env.reset(seed=SEED)  # retries while the server is full, and then raises CapacityError
    if not isinstance(before, int):
        return passed(
            "After a session closed, the next one opened; the server does not report how many are open"
        )
    deadline = time.monotonic() + CAPACITY_TIMEOUT_S
    while (now := server.health().get("active_sessions")) and int(now) > before:
        if time.monotonic() > deadline:
            return failed(
                f"{before} sessions were open before; {CAPACITY_TIMEOUT_S:g} s after closing two more, "
                f"{now} are",
                "Make the environment's close() return: a session is free when it has.",
            )
        time.sleep(_POLL_S)
    return passed(f"{now} sessions are open, as before")


START_CHECKS = (Check("server.start", "`openenv serve` starts it", _start, needs=("app.defined",)),)
STOP_CHECKS = (Check("server.stop", "It stops on SIGTERM", _stop, needs=("server.start", "session.step")),)

_STARTED = ("server.start",)
ROUTE_CHECKS = (
    Check("routes.health", "GET /health reports a healthy server", _health, fix=_UPDATE, needs=_STARTED),
    Check(
        "routes.metadata",
        "GET /metadata describes the environment",
        _metadata,
        fix="See the server's log. The metadata come from the class, and from env_name in create_app.",
        needs=_STARTED,
    ),
    Check("schemas.valid", "Its schemas are valid JSON Schema", _schemas, fix=_UPDATE, needs=_STARTED),
    # FastAPI cannot describe an API with invalid schemas.
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
        fix="`openenv spaces` shows each field. Change the named field to a type that a space can hold.",
        needs=("schemas.valid",),
    ),
)
CAPACITY_CHECKS = (
    Check(
        "session.capacity",
        "It allows as many sessions at once as it reports",
        _capacity,
        fix="Try it with two sessions, and see the server's log.",
        needs=("routes.health", "session.step"),
    ),
    Check(
        "session.close",
        "A closed session becomes free again",
        _close,
        fix="Make the environment's close() return without raising.",
        needs=("session.capacity",),
    ),
)
