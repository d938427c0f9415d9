"""``openenv list``: the names that are known here, and which of them answer."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openenv_gym.known import KnownServer


def list_servers(
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 2.0,
) -> None:
    """Shows the names that gym.make("openenv/NAME") knows on this machine, and what answers.

    Of several sources of one name, the first is what it means; the others are servers that run here.

    In a pipe, a line a name: its id, the kind of its source, the source, what answers, and where the name is
    known from, with tabs between.

    Examples:
        openenv list

        openenv list --timeout 10
    """
    from openenv_cli.progress import status
    from openenv_cli.targets import known_here
    from openenv_gym.known import registry_file
    from openenv_gym.transport.credentials import Credentials

    Credentials.of()  # a key that cannot be one is said once, and not of each server
    servers = _with_others_that_run(known_here())
    if not servers:
        print(
            "No environment is known here. `openenv serve` starts one, and `openenv register` names one that "
            f"runs elsewhere, in {registry_file()}.",
            file=sys.stdout if sys.stdout.isatty() else sys.stderr,
        )
        return
    with status("Asking…"), ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(lambda server: _ask(server, timeout), servers))
    if not sys.stdout.isatty():
        for server, answer in zip(servers, answers, strict=True):
            source = server.source
            print(f"openenv/{server.name}\t{source.kind}\t{source.value}\t{answer}\t{server.known_from}")
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = max(len(server.name) for server in servers)
    for server, answer in zip(servers, answers, strict=True):
        console.print(Text.assemble((f"openenv/{server.name:<{width}}", "bold"), f"  {answer}"))
        console.print(Text(f"    {server.source.value}", no_wrap=True, overflow="ignore"), crop=False)
        console.print(Text(f"    {server.source.kind}, known from {server.known_from}", "dim"))


def _with_others_that_run(known: list[KnownServer]) -> list[KnownServer]:
    """What each name means, and behind it the servers of this machine that have the name too."""
    from openenv_gym.known import running_servers

    means = {server.name: server.source for server in known}
    others = [
        replace(server, known_from=f"{server.known_from}; the name means the one above")
        for server in running_servers()
        if server.source != means.get(server.name, server.source)
    ]
    return sorted([*known, *others], key=lambda server: server.name)


def _ask(server: KnownServer, timeout_s: float) -> str:
    """What there is to say of an environment's server, in a few words."""
    from openenv_gym.errors import OpenEnvError, UnauthorizedError
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import get_health, get_schemas

    source = server.source
    if source.kind == "path":
        if not Path(source.value).is_dir():
            return "no folder there"
        is_there = (Path(source.value) / "openenv.yaml").exists()
        return "served when it is made" if is_there else "no openenv.yaml there"
    if source.kind in ("gym", "app"):
        return "served when it is made"
    if source.kind == "image":
        return "run when it is made"
    if source.kind == "space":
        return "on the Hub, not asked"
    begin = time.perf_counter()
    try:
        endpoint = Endpoint.parse(source.value)
        health, processes = get_health(endpoint, timeout_s=timeout_s)
        took_ms = (time.perf_counter() - begin) * 1000
        get_schemas(endpoint, timeout_s=timeout_s)  # health is told to everybody
    except UnauthorizedError:
        return "refuses the key" if endpoint.credentials.shows_key else "asks for a key"
    except OpenEnvError as error:
        return f"no answer ({type(error).__name__.removesuffix('Error')})"
    sessions = ""
    if "max_sessions" in health:
        sessions = f", {health.get('active_sessions')} of {health['max_sessions']} sessions"
        sessions += f" in one of {processes} processes" if processes > 1 else ""
    return f"{health.get('status', 'answers')}, {took_ms:.0f} ms{sessions}"
