"""The ``openenv`` command: runs a command, and turns what goes wrong into a message and an exit code."""

from __future__ import annotations

import sys

from openenv_cli.failures import report
from openenv_gym.errors import MissingExtraError


def main() -> None:
    """Runs the command line, and exits with its code."""
    try:
        try:
            from openenv_cli.commands import app
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"The openenv command (it needs {error.name})", "cli") from error
        app()
    except Exception as error:
        sys.exit(report(error))
