"""``openenv list``: the known names, and which of their servers respond; published Spaces."""

from __future__ import annotations

import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    from openenv_gym.naming.known import KnownServer

_MAX_SPACES = 100


def list_servers(
    query: Annotated[
        str | None, typer.Argument(help="With --hub: text in the names of the Spaces to find.")
    ] = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="List the environments that are published on the Hub instead.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each server.")] = 2.0,
) -> None:
    """List names for gym.make("openenv/NAME"), or Spaces.

    Each name on this machine is shown with its server's status.

    If several servers share a name, the name refers to the first one listed; the others run on this machine.

    In a pipe, each name is one line: id, kind of source, source, status, and where the name is defined,
    separated by tabs.

    With --hub, list the Spaces with the tag openenv, those with the most likes first. In a pipe, each is one
    line: OWNER/NAME, its server's address, its stage, its likes, and its description.

    Examples:
        openenv list

        openenv list --timeout 10

        openenv list --hub chess
    """
    if hub:
        _list_spaces(query)
        return
    if query is not None:
        raise ConfigurationError(
            f"A search for {query!r} needs --hub.", advice=f"Run: openenv list --hub {shlex.quote(query)}"
        )
    from openenv_cli.output import one_line, status
    from openenv_cli.targets import known_here
    from openenv_gym.naming.known import registry_file
    from openenv_gym.transport.credentials import Credentials

    Credentials.of()  # reports an invalid key once, not for each server
    servers = _with_other_servers(known_here())
    if not servers:
        print(
            "No environments are known here. Start one with `openenv serve`, or name one that runs elsewhere "
            f"with `openenv register`, in {registry_file()}.",
            file=sys.stdout if sys.stdout.isatty() else sys.stderr,
        )
        return
    with status("Asking…"), ThreadPoolExecutor(max_workers=16) as pool:
        answers = list(pool.map(lambda server: _status(server, timeout), servers))
    if not sys.stdout.isatty():
        for server, answer in zip(servers, answers, strict=True):
            source = server.source
            fields = (f"openenv/{server.name}", source.kind, source.value, answer, server.known_from)
            print(*map(one_line, fields), sep="\t")
        return
    from rich.text import Text

    from openenv_cli.console import Console

    console = Console(highlight=False)
    width = max(len(server.name) for server in servers)
    for server, answer in zip(servers, answers, strict=True):
        console.print(Text.assemble((f"openenv/{server.name:<{width}}", "bold"), f"  {answer}"))
        console.print(Text(f"    {server.source.value}", no_wrap=True, overflow="ignore"), crop=False)
        console.print(Text(f"    {server.source.kind}, known from {server.known_from}", "dim"))


def _list_spaces(query: str | None) -> None:
    """Print the published environments whose names match a query."""
    from openenv_cli.hub.search import TAG, search_spaces
    from openenv_cli.output import note, one_line, status

    with status("Searching the Hub…"):
        found = search_spaces(query, _MAX_SPACES + 1)
    if not found:
        named = f" whose name has {query!r}" if query else ""
        note(f"No Space with the tag {TAG}{named} was found.")
    if len(found) > _MAX_SPACES:
        note(f"These are the {_MAX_SPACES} with the most likes. Find others with: openenv list --hub QUERY")
    if not sys.stdout.isatty():
        for space in found[:_MAX_SPACES]:
            fields = (space.id, space.host, space.stage, space.likes, space.description)
            print(*map(one_line, fields), sep="\t")
        return
    from rich.text import Text

    from openenv_cli.console import Console

    console = Console(highlight=False)
    for space in found[:_MAX_SPACES]:
        likes = f"{space.likes} like{'s' * (space.likes != 1)}"
        console.print(Text.assemble((space.id, "bold"), f"  {', '.join(filter(None, (space.stage, likes)))}"))
        if space.description:
            console.print(Text(f"    {space.description}", "dim"))
    if found:
        console.print(f'\nUse one: gym.make("openenv/remote", space="{found[0].id}")', markup=False)


def _with_other_servers(known: list[KnownServer]) -> list[KnownServer]:
    """The known names, each followed by the other servers of that name on this machine."""
    from openenv_gym.naming.known import running_servers

    by_name = {server.name: server.source for server in known}
    others = [
        replace(server, known_from=f"{server.known_from}; the name refers to the one above")
        for server in running_servers()
        if server.source != by_name.get(server.name, server.source)
    ]
    return sorted([*known, *others], key=lambda server: server.name)


def _status(server: KnownServer, timeout_s: float) -> str:
    """A server's status in a few words."""
    from openenv_gym.errors import OpenEnvError, UnauthorizedError
    from openenv_gym.providers.sources import SOURCES
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import get_health, get_schemas

    source = server.source
    if source.kind == "path":
        if not Path(source.value).is_dir():
            return "folder not found"
        if not (Path(source.value) / "openenv.yaml").exists():
            return "no openenv.yaml"
    if not source.is_address:
        return SOURCES[source.kind].status
    begin = time.perf_counter()
    try:
        endpoint = Endpoint.parse(source.value)
        health, processes = get_health(endpoint, timeout_s=timeout_s)
        took_ms = (time.perf_counter() - begin) * 1000
        get_schemas(endpoint, timeout_s=timeout_s)  # unlike /health, this needs the key
    except UnauthorizedError:
        return "rejects the key" if endpoint.credentials.shows_key else "needs a key"
    except OpenEnvError as error:
        return f"no answer ({type(error).__name__.removesuffix('Error')})"
    sessions = ""
    if "max_sessions" in health:
        sessions = f", {health.get('active_sessions')} of {health['max_sessions']} sessions"
        sessions += f" in one of {processes} processes" if processes > 1 else ""
    return f"{health.get('status', 'responds')}, {took_ms:.0f} ms{sessions}"
