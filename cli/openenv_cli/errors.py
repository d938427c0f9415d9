"""The one table from an exception to an exit code and to what the user sees."""

from __future__ import annotations

import errno
import os
import tempfile
import traceback

from openenv_cli.output import say, with_notes
from openenv_gym.errors import (
    AccessRefusedError,
    ConfigurationError,
    EndpointError,
    OpenEnvError,
    RemoteError,
)

_BUG = 3

# The first match counts. Anything else is a bug in openenv.
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (ConfigurationError, 2),
    (AccessRefusedError, 5),  # the server is reachable, and refuses this client
    (EndpointError, 4),
    (RemoteError, 5),
    (OpenEnvError, 1),
    (OSError, 1),
)

_DISK_FULL = "Free some space there. Copies are made in {temporary}; set TMPDIR to make them elsewhere."
_NO_PERMISSION = "Choose another location, or ask its owner for permission."
_ADVICE_BY_ERRNO = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: _NO_PERMISSION,
}


def report(error: Exception) -> int:
    """Print an error to standard error and return the exit code.

    A bug in openenv is shown with its traceback, as is every error if ``OPENENV_DEBUG=1``.
    """
    code = next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), _BUG)
    if code == _BUG or os.environ.get("OPENENV_DEBUG"):
        traceback.print_exception(error)
    if code == _BUG:
        say("Error", "this is a bug in openenv. Please report it with the lines above.")
    else:
        say("Error", _message(error), error.help_url if isinstance(error, OpenEnvError) else None)
    return code


def _message(error: Exception) -> str:
    advice = _ADVICE_BY_ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None
    if advice is None:
        return with_notes(error)
    return f"{error}. {advice.format(temporary=tempfile.gettempdir())}"
