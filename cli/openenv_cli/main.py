"""The ``openenv`` command: run a command, and turn an exception into a message and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from types import FrameType

_INTERRUPTED = 130
# Sent by `kill` and by a closing terminal. By default they end a process before it can clean up.
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main() -> None:
    """Run the command line and exit with its code."""
    # The commands that look up names report an unreadable registry themselves; the others do not need it.
    warnings.filterwarnings("ignore", module="openenv_gym$")
    # The imports are in here because Ctrl-C may arrive during them.
    try:
        _clean_up_on_signals()
        try:
            _run()
        except Exception as error:
            from openenv_cli.errors import report

            sys.exit(report(error))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _run() -> None:
    try:
        from openenv_cli.commands import make_app

        # A shell that completes a command needs the options of all of them.
        completes = any(re.fullmatch(r"_OPENENV\w*_COMPLETE", name) for name in os.environ)
        app = make_app(None if completes else sys.argv[1:])
    except ModuleNotFoundError as error:
        from openenv_gym.errors import MissingExtraError

        raise MissingExtraError(f"The openenv command (it needs {error.name})", "cli") from error
    app()


def _clean_up_on_signals() -> None:
    """Make the signals that end this process run its clean-up first, as Ctrl-C does."""
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` makes a command ignore SIGHUP
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    sys.exit(128 + number)
