"""The key that a server may ask for, in the header ``Authorization: Bearer KEY`` (RFC 6750)."""

from __future__ import annotations

import re

VARIABLE = "OPENENV_API_KEY"

_KEY = re.compile(r"[!-~]+")


def is_key(text: str) -> bool:
    """Whether a text can be a key: printable ASCII without spaces, so that it cannot begin another header."""
    return _KEY.fullmatch(text) is not None


def authorization(key: str) -> str:
    """The value of the ``Authorization`` header."""
    return f"Bearer {key}"
