"""The key that a request has to show."""

from __future__ import annotations

import hmac
from collections.abc import Sequence


def shows_key(authorizations: Sequence[bytes], key: bytes) -> bool:
    """Whether a request's ``Authorization`` headers are one, with the key as its bearer token."""
    if len(authorizations) != 1:
        return False
    scheme, _, token = authorizations[0].partition(b" ")
    # In constant time, so that nobody learns a key byte by byte from how long a refusal takes.
    return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), key)
