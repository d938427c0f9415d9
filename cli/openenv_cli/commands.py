"""The table of commands."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True)
class Command:
    """A command and the function that runs it.

    Attributes:
        name: The word after ``openenv``.
        module: The module in this package.
        function: The function in it. Its docstring is the command's help.
        help: The first line of that docstring, for the overview.
    """

    name: str
    module: str
    function: str
    help: str


# The commands by their heading in the overview.
PANELS = {
    "Build": (
        Command("init", "init", "init", "Create a new environment from a template."),
        Command("build", "build", "build", "Build an environment's image with Docker."),
        Command(
            "validate", "validate", "validate", "Check an environment's files, running server and image."
        ),
        Command("push", "push", "push", "Publish an environment to a Space or to an image registry."),
        Command("fork", "fork", "fork", "Copy an environment's Space into your own account."),
    ),
    "Run": (
        Command("serve", "serve", "serve", "Serve an environment until Ctrl-C or SIGTERM."),
        Command("play", "play", "play", "Play an environment by hand in the terminal."),
        Command("bench", "bench", "bench", "Measure a server's latency and throughput."),
        Command("demo", "demo", "demo", "Show equality, resuming, speed and training in half a minute."),
        Command("ps", "containers", "list_containers", "List the containers that Python programs started."),
        Command("stop", "containers", "stop", "Stop and remove containers that Python programs started."),
    ),
    "Find": (
        Command("list", "listing", "list_servers", 'List names for gym.make("openenv/NAME"), or Spaces.'),
        Command("info", "info", "info", "Show an environment's description, status and spaces."),
        Command("spaces", "spaces", "show_spaces", "Show the space of each field in a server's schemas."),
        Command("register", "register", "register", "Register a name for an environment, for gym.make."),
    ),
}
COMMANDS = tuple(command for commands in PANELS.values() for command in commands)


# Commands of the published package that this one does not have, and what to use instead.
ABSENT = {
    "import": "Make an environment with `openenv init`, and move the code into its class; for a Gymnasium "
    "environment: openenv init NAME --gym ID",
    "collect": 'Collect episodes with a loop over gym.make("openenv/remote", base_url=URL), as in README.md. '
    "`openenv play` plays one by hand.",
    "discover": "Search the Hub with `openenv list --hub QUERY`, and look at a Space with `openenv info`.",
    "catalog": "List the Spaces on the Hub with `openenv list --hub`, and the names known here with "
    "`openenv list`.",
    "harbor": "Run Harbor's tasks with the published package: pip install 'openenv[harbor]', in a separate "
    "virtual environment.",
    "skills": "Give an assistant the output of `openenv --help` and of `openenv COMMAND --help`, which has "
    "examples.",
}


class _Group(TyperGroup):
    """The commands. An error becomes a message and an exit code, whoever calls them."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except Exception as error:
            from openenv_cli.errors import report

            sys.exit(report(error))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in ABSENT and not ctx.resilient_parsing:
            from openenv_gym.errors import ConfigurationError

            raise ConfigurationError(f"openenv-gym has no command {args[0]}.", advice=ABSENT[args[0]])
        return super().resolve_command(ctx, args)


def make_app(words: Sequence[str] | None = None) -> typer.Typer:
    """Build the command line.

    Args:
        words: The arguments after ``openenv``. Only the command that they name is imported, which keeps
            the overview fast. None imports all of them.
    """
    app = typer.Typer(
        name="openenv",
        cls=_Group,
        help="Build environments, serve them, and train on any of them as a gymnasium.Env. "
        "`openenv demo` shows how.",
        epilog="Exit codes: 0 success, 1 failure, 2 wrong usage or not an environment, 3 a bug in openenv, "
        "4 server unreachable, 5 refused by the server, 130 Ctrl-C.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_openenv)
    named = next((word for word in words or () if not word.startswith("-")), None)
    for panel, commands in PANELS.items():
        for command in commands:
            if words is None or command.name == named:
                function, epilog = load(command)
                help_text = _reflowed(inspect.getdoc(function) or "")
                register = app.command(command.name, help=help_text, epilog=epilog, rich_help_panel=panel)
                register(function)
            else:
                register = app.command(command.name, help=command.help, rich_help_panel=panel)
                register(_not_imported)
    return app


def load(command: Command) -> tuple[Callable[..., Any], str | None]:
    """Import a command's function and its module's ``EPILOG``, the help text below its options."""
    module = importlib.import_module(f"openenv_cli.{command.module}")
    return getattr(module, command.function), getattr(module, "EPILOG", None)


def _reflowed(documentation: str) -> str:
    """A docstring with each paragraph on one line, to fit any width. Indented paragraphs are kept."""
    paragraphs = documentation.split("\n\n")
    return "\n\n".join(text if "\n " in text else text.replace("\n", " ") for text in paragraphs)


def _not_imported() -> None:
    """A placeholder for a command in the overview."""


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
