"""The API key of a server, in ``Authorization: Bearer KEY`` (RFC 6750) or alone in another header."""

from __future__ import annotations

import re

VARIABLE = "OPENENV_API_KEY"
FILE_VARIABLE = "OPENENV_API_KEY_FILE"
METRICS_VARIABLE = "OPENENV_METRICS_KEY"
# Those whose values must not reach the processes of an environment.
SECRETS = (VARIABLE, FILE_VARIABLE, METRICS_VARIABLE)
# The name of the other header; it is no secret.
HEADER_VARIABLE = "OPENENV_API_KEY_HEADER"

A_KEY = "A key has printable ASCII characters and no spaces; several are one a line"

_SCHEME = "Bearer"
_KEY = re.compile(r"[!-~]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token of RFC 9110


def is_key(text: str) -> bool:
    """Return whether a text can be a key: printable ASCII without spaces, so not two headers."""
    return _KEY.fullmatch(text) is not None


def keys_in(text: str) -> list[str]:
    """Return the lines of a text that are not blank. They may not be keys."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def is_header(text: str) -> bool:
    """Return whether a text can be the name of a header."""
    return _HEADER.fullmatch(text) is not None


def authorization(key: str) -> str:
    """Return the value of the ``Authorization`` header."""
    return f"{_SCHEME} {key}"


def key_in(authorization: str) -> str | None:
    """Return the key in the value of an ``Authorization`` header; None if it has none."""
    scheme, _, key = authorization.partition(" ")
    return key if scheme.lower() == _SCHEME.lower() and is_key(key) else None
