"""The ``openenv`` command: runs a command, and turns what goes wrong into a message and an exit code."""

from __future__ import annotations

import signal
import sys
import warnings
from types import FrameType

_INTERRUPTED = 130
# Sent by `kill` and by a terminal that closes. By default they end a process before it can clean up.
_ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main() -> None:
    """Runs the command line, and exits with its code."""
    # The commands that look names up say themselves what of them cannot be read; the others do not use them.
    warnings.filterwarnings("ignore", module="openenv_gym$")
    # Imported in here, because Ctrl-C may come while they are.
    try:
        _clean_up_at_signals()
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


def _clean_up_at_signals() -> None:
    """Has the signals that end this process run what cleans up first, as Ctrl-C does."""
    for number in _ENDINGS:
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has a command ignore one
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    for ending in _ENDINGS:
        signal.signal(ending, signal.SIG_IGN)  # another one must not stop the cleaning up
    sys.exit(128 + number)
