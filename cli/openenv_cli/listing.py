"""``openenv list``: the names that are known here, and which of them answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openenv_gym.known import KnownServer


def list_servers(
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 2.0,
) -> None:
    """Shows the names that gym.make("openenv/NAME") knows on this machine, and what answers.

    Examples:
        openenv list

        openenv list --timeout 10
    """
    from rich.console import Console
    from rich.table import Table

    from openenv_gym.known import known_servers, registry_file

    console = Console()
    servers = known_servers()
    if not servers:
        console.print(
            "No environment is known here. `openenv serve` starts one; OPENENV_MY_ENV_URL or "
            f"{registry_file()} names one that runs elsewhere.",
            soft_wrap=True,
        )
        return
    with ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(lambda server: _ask(server, timeout), servers))
    if not console.is_terminal:
        for server, answer in zip(servers, answers, strict=True):
            print(f"openenv/{server.name}\t{server.base_url}\t{answer}\t{server.source}")
        return
    table = Table(box=None, pad_edge=False)
    for column, is_to_be_copied in (
        ("name", True),
        ("server", True),
        ("answer", False),
        ("known from", False),
    ):
        table.add_column(column, no_wrap=is_to_be_copied, overflow="fold")
    for server, answer in zip(servers, answers, strict=True):
        table.add_row(f"openenv/{server.name}", server.base_url, answer, server.source)
    console.print(table)


def _ask(server: KnownServer, timeout_s: float) -> str:
    """What a server says of its health, in a few words."""
    from openenv_gym.errors import OpenEnvError
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import get_json

    begin = time.perf_counter()
    try:
        health = get_json(Endpoint.parse(server.base_url), "/health", timeout_s=timeout_s)
    except OpenEnvError as error:
        return f"no answer ({type(error).__name__.removesuffix('Error')})"
    took_ms = (time.perf_counter() - begin) * 1000
    sessions = ""
    if "max_sessions" in health:
        sessions = f", {health.get('active_sessions')} of {health['max_sessions']} sessions"
    return f"{health.get('status', 'answers')}, {took_ms:.0f} ms{sessions}"
