"""What is shown of a Space when it is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from openenv_cli.hub.client import Hub
from openenv_gym.errors import ConfigurationError
from openenv_gym.hub_names import space_host


def note(sentence: str) -> None:
    """Tells something beside the result, on standard error."""
    print(sentence, file=sys.stderr)


@contextmanager
def waiting(sentence: str) -> Iterator[None]:
    """Shows on a terminal that something goes on; nothing in a pipe."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    with console.status(escape(sentence)) if console.is_terminal else nullcontext():
        yield


def show_space(hub: Hub, repo_id: str, *, headline: str, host: str | None, **details: str | None) -> None:
    """Shows where a Space is and how to use it: a line of name, tab and value for each in a pipe.

    Args:
        hub: The Hub.
        repo_id: The Space.
        headline: What was done, for people.
        host: The address of its server, where the Hub says it.
        details: Further lines.
    """
    if not host:
        try:
            host = space_host(repo_id)
        except ConfigurationError as error:
            note(str(error))
    lines = {"space": hub.page(repo_id), "host": host, **details}
    if host:
        lines["use"] = f'gym.make("openenv/remote", base_url="{host}")'
    shown = {name: value for name, value in lines.items() if value}
    if not sys.stdout.isatty():
        for name, value in shown.items():
            print(f"{name}\t{value}", flush=True)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"\n{headline}", style="bold", highlight=False, markup=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in shown.items():
        table.add_row(name.replace("_", " "), value)
    console.print(table)
