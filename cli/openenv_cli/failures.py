"""From an exception to what a person sees, and to the exit code."""

from __future__ import annotations

import os
import sys
import traceback

from openenv_gym.errors import ConfigurationError, EndpointError, OpenEnvError, RemoteError

INTERRUPTED = 130

# The first that fits counts.
_EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ConfigurationError, 2),
    (EndpointError, 3),
    (RemoteError, 4),
    (OpenEnvError, 1),
)


def report(error: BaseException) -> int:
    """Prints what went wrong to standard error; returns the exit code.

    ``OPENENV_DEBUG=1`` shows the traceback too.
    """
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if os.environ.get("OPENENV_DEBUG"):
        traceback.print_exception(error)
    for kind, code in _EXIT_CODES:
        if isinstance(error, kind):
            print(f"Error: {error}", file=sys.stderr)
            return code
    if not isinstance(error, OSError):
        raise error
    print(f"Error: {error}", file=sys.stderr)
    return 1
