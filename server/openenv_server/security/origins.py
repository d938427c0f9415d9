"""Which web pages may use the server.

A browser lets any page open a WebSocket to any server, and send it a POST, but it says which page it is: the
``Origin`` header (RFC 6454). Programs that are no browsers send none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

ANY = "*"
_PORTS = {"http": 80, "https": 443}


def parse_origin(origin: str) -> tuple[str, str, int]:
    """An origin's scheme, host and port.

    Raises:
        ValueError: It is not an origin.
    """
    parts = urlsplit(origin)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{origin!r} is not an origin; one looks like https://app.example.com")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def may_come_from(origins: Sequence[str], host: str, allowed: Collection[str]) -> bool:
    """Whether a request is of no page, or of one that may use the server.

    Args:
        origins: The request's ``Origin`` headers.
        host: Its ``Host`` header: the server's own pages may.
        allowed: The origins that may besides; ``*`` is any.
    """
    if not origins or ANY in allowed:
        return True
    try:
        (scheme, name, port), *more = [parse_origin(origin) for origin in origins]
        own = urlsplit(f"//{host}")
        # Behind a proxy that ends TLS the server does not know its own scheme, so the page's is taken for it.
        is_own = (name, port) == (own.hostname, own.port or _PORTS[scheme])
        known = {parse_origin(origin) for origin in allowed}
    except ValueError:
        return False  # "null", say, which is what a page in a sandbox has
    return not more and (is_own or (scheme, name, port) in known)
