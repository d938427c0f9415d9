"""From an exception to what a person sees, and to the exit code."""

from __future__ import annotations

import os
import traceback

from openenv_cli.messages import say
from openenv_gym.errors import (
    AccessRefusedError,
    ConfigurationError,
    EndpointError,
    OpenEnvError,
    RemoteError,
)

_OUR_OWN_FAULT = 3

# The first that fits counts. What is not in the table is our own fault.
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigurationError, 2),
    (AccessRefusedError, 5),  # there is a way, and the server refuses who comes on it
    (EndpointError, 4),
    (RemoteError, 5),
    (OpenEnvError, 1),
    (OSError, 1),
)


def report(error: Exception) -> int:
    """Prints what went wrong to standard error; returns the exit code.

    What openenv did not foresee is shown with its traceback, as is everything where ``OPENENV_DEBUG=1``.
    """
    code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), _OUR_OWN_FAULT)
    if code == _OUR_OWN_FAULT or os.environ.get("OPENENV_DEBUG"):
        traceback.print_exception(error)
    if code == _OUR_OWN_FAULT:
        say("Error", "this is a fault of openenv itself. Please report it, with the lines above.")
    else:
        say("Error", str(error))
    return code
