"""The API key of a server, in the header ``Authorization: Bearer KEY`` (RFC 6750)."""

from __future__ import annotations

import re

VARIABLE = "OPENENV_API_KEY"

_SCHEME = "Bearer"
_KEY = re.compile(r"[!-~]+")


def is_key(text: str) -> bool:
    """Return whether a text can be a key: printable ASCII without spaces, so not two headers."""
    return _KEY.fullmatch(text) is not None


def authorization(key: str) -> str:
    """Return the value of the ``Authorization`` header."""
    return f"{_SCHEME} {key}"


def key_in(authorization: str) -> str | None:
    """Return the key in the value of an ``Authorization`` header; None if it has none."""
    scheme, _, key = authorization.partition(" ")
    return key if scheme.lower() == _SCHEME.lower() and is_key(key) else None
