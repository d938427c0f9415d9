"""The table of commands."""

from __future__ import annotations

import typer

from openenv_cli.bench import bench
from openenv_cli.demo import demo
from openenv_cli.listing import list_servers
from openenv_cli.serve import serve
from openenv_cli.spaces import show_spaces

app = typer.Typer(
    name="openenv",
    help="Serve environments, and train on any of them as a gymnasium.Env.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no way to the server, "
    "4 the server refused.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo)
app.command("serve")(serve)
app.command("bench")(bench)
app.command("list")(list_servers)
app.command("spaces")(show_spaces)
