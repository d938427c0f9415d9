"""The ``openenv`` command: runs a command, and turns what goes wrong into a message and an exit code."""

from __future__ import annotations

import sys
import warnings

_INTERRUPTED = 130


def main() -> None:
    """Runs the command line, and exits with its code."""
    # The commands that look names up say themselves what of them cannot be read; the others do not use them.
    warnings.filterwarnings("ignore", module="openenv_gym$")
    # Imported in here, because Ctrl-C may come while they are.
    try:
        try:
            _run()
        except Exception as error:
            from openenv_cli.failures import report

            sys.exit(report(error))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run() -> None:
    try:
        from openenv_cli.commands import make_app

        app = make_app(sys.argv[1:])
    except ModuleNotFoundError as error:
        from openenv_gym.errors import MissingExtraError

        raise MissingExtraError(f"The openenv command (it needs {error.name})", "cli") from error
    app()
