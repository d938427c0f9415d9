"""From an exception to what a person sees, and to the exit code."""

from __future__ import annotations

import os
import sys
import traceback

from openenv_gym.errors import ConfigurationError, EndpointError, OpenEnvError, RemoteError

# The first that fits counts. What is not in the table is our own fault, and shows its traceback.
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigurationError, 2),
    (EndpointError, 3),
    (RemoteError, 4),
    (OpenEnvError, 1),
    (OSError, 1),
)


def report(error: Exception) -> int:
    """Prints what went wrong to standard error; returns the exit code.

    ``OPENENV_DEBUG=1`` shows the traceback too.

    Raises:
        Exception: The error itself, where the table does not have it.
    """
    code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), None)
    if code is None:
        raise error
    if os.environ.get("OPENENV_DEBUG"):
        traceback.print_exception(error)
    print(f"Error: {error}", file=sys.stderr)
    return code
