"""The table of commands."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True)
class Command:
    """A command, and where it is written.

    Attributes:
        name: What is typed after ``openenv``.
        module: The module in this package.
        function: The function in it; its first line of documentation is the command's help.
        help: The same line, for the overview.
    """

    name: str
    module: str
    function: str
    help: str


# The headings of the overview, and what stands under them.
PANELS = {
    "Make environments": (
        Command("init", "init", "init", "Makes a new environment from a template."),
        Command("serve", "serve", "serve", "Serves an environment until Ctrl-C or SIGTERM."),
        Command("build", "build", "build", "Builds an environment's image with Docker."),
        Command(
            "validate",
            "validate",
            "validate",
            "Checks an environment: its files, its running server, and its image.",
        ),
        Command(
            "push", "push", "push", "Publishes an environment: in a Space, or as an image in a registry."
        ),
        Command("fork", "fork", "fork", "Copies an environment's Space into your own account."),
    ),
    "Use environments": (
        Command("register", "register", "register", "Gives an environment a name for gym.make."),
        Command("list", "listing", "list_servers", 'Shows the names that gym.make("openenv/NAME") knows.'),
        Command("info", "info", "info", "Shows what an environment is, and its spaces."),
        Command("play", "play", "play", "Drives an environment by hand, in the terminal."),
        Command("ps", "ps", "list_containers", "Shows the containers that Python programs started."),
        Command("stop", "stop", "stop", "Stops containers that Python programs started, and removes them."),
        Command("spaces", "spaces", "show_spaces", "Shows which space each field of the schemas became."),
        Command("bench", "bench", "bench", "Measures a server's latency and throughput."),
        Command(
            "demo", "demo", "demo", "Serves an environment, compares it with the local one, and trains on it."
        ),
    ),
}
COMMANDS = tuple(command for commands in PANELS.values() for command in commands)


def make_app(words: list[str]) -> typer.Typer:
    """The command line.

    Args:
        words: What follows ``openenv``. The command that they name is imported, and no other: so the
            overview comes at once.
    """
    app = typer.Typer(
        name="openenv",
        help="Make environments, serve them, and train on any of them as a gymnasium.Env.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or not an environment, 3 a fault of openenv "
        "itself, 4 no way to the server, 5 the server refused, 130 Ctrl-C.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_openenv)
    named = next((word for word in words if not word.startswith("-")), None)
    for panel, commands in PANELS.items():
        for command in commands:
            if command.name == named:
                function, epilog = load(command)
                help_text = _reflowed(inspect.getdoc(function) or "")
                register = app.command(command.name, help=help_text, epilog=epilog, rich_help_panel=panel)
                register(function)
            else:
                register = app.command(command.name, help=command.help, rich_help_panel=panel)
                register(_not_imported)
    return app


def load(command: Command) -> tuple[Callable[..., Any], str | None]:
    """Imports a command's function, and what its module has as ``EPILOG``, to stand below its options."""
    module = importlib.import_module(f"openenv_cli.{command.module}")
    return getattr(module, command.function), getattr(module, "EPILOG", None)


def _reflowed(documentation: str) -> str:
    """A docstring whose paragraphs are a line each, for any width; what is indented stays as it is."""
    paragraphs = documentation.split("\n\n")
    return "\n\n".join(text if "\n " in text else text.replace("\n", " ") for text in paragraphs)


def _not_imported() -> None:
    """Stands in the overview for a command."""


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(f"openenv-gym {version('openenv-gym')}")
        raise typer.Exit


def _openenv(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
