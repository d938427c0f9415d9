"""Which web pages may use the server.

A browser lets any page open a WebSocket to any server, or send it a POST, but it names the page in the
``Origin`` header (RFC 6454). Other programs send none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

ANY = "*"
_PORTS = {"http": 80, "https": 443}


def parse_origin(origin: str) -> tuple[str, str, int]:
    """Split an origin into scheme, host and port.

    Raises:
        ValueError: It is not an origin.
    """
    parts = urlsplit(origin)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ValueError(f"{origin!r} is not an origin; one looks like https://app.example.com")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def may_come_from(origins: Sequence[str], host: str, allowed: Collection[str]) -> bool:
    """Whether a request comes from no page, or from one that may use the server.

    Args:
        origins: The request's ``Origin`` headers.
        host: Its ``Host`` header; the server's own pages are always allowed.
        allowed: Further allowed origins; ``*`` is any.
    """
    if not origins or ANY in allowed:
        return True
    try:
        (scheme, name, port), *more = [parse_origin(origin) for origin in origins]
        own = urlsplit(f"//{host}")
        # Behind a proxy that terminates TLS the server does not know its own scheme, so assume the page's.
        is_own = (name, port) == (own.hostname, own.port or _PORTS[scheme])
        known = {parse_origin(origin) for origin in allowed}
    except ValueError:
        return False  # "null", say, which a sandboxed page sends
    return not more and (is_own or (scheme, name, port) in known)
