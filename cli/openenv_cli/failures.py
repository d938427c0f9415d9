"""From an exception to what a person sees, and to the exit code."""

from __future__ import annotations

import errno
import os
import tempfile
import traceback

from openenv_cli.messages import in_words, say
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


# What to do about what the operating system refuses.
_NO_ROOM = "Make room there. Copies are made in {temporary}; the variable TMPDIR has them made elsewhere."
_NOT_ALLOWED = "Choose another place, or have its owner change who may."
_ADVICE = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
}


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
        say("Error", _in_words(error))
    return code


def _in_words(error: Exception) -> str:
    advice = _ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None
    if advice is None:
        return in_words(error)
    return f"{error}. {advice.format(temporary=tempfile.gettempdir())}"
