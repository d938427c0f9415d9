"""Prints the options of each command of the installed `openenv`, as JSON; runs in the peer's environment."""

import json
from typing import Any

import typer.main


def options(command: Any) -> list[str]:
    names = [name for each in command.params for name in (*each.opts, *each.secondary_opts)]
    return sorted({name for name in names if name.startswith("-")})


def main() -> None:
    from openenv.cli.__main__ import app

    group: Any = typer.main.get_command(app)
    found = {name: options(command) for name, command in group.commands.items()}
    print(json.dumps({"": options(group), **found}))


if __name__ == "__main__":
    main()
