"""Which names the server may be called by.

A web page can make its own host name resolve to 127.0.0.1 (DNS rebinding). The browser then takes a server on
this machine for the page's own, and lets the page read everything. Only the ``Host`` header shows the page's
name. Numeric hosts and ``localhost`` are safe, because no page can make those point elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Iterable, Sequence

from openenv_server.security.origins import ANY

# Names that no page can rebind: they are reserved, or their DNS belongs to others. The last two are how
# containers call a server of their machine, and Spaces are below hf.space.
_SAFE = ("localhost", "*.localhost", "*.hf.space", "host.docker.internal", "host.containers.internal")
_HOST = re.compile(r"(\[[^\[\]]*\]|[^\s:/?#@\[\]]+?)\.?(?::\d*)?")
_NAME = re.compile(r"((?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?")
# Browsers read a host as an IPv4 address if its last label is a number, even one such as 0x7f.
_NUMERIC = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")


def parse_host(host: str) -> str:
    """The name in a ``Host`` header, in lower case, without the port and the dot at the end.

    Raises:
        ValueError: It is not a host.
    """
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        raise ValueError(f"{host!r} is not a host; one looks like env.example.com")
    return found[1]


def check_allowed_host(host: str) -> str:
    """Return an entry of ``ALLOWED_HOSTS`` in lower case, without the dot at the end.

    Raises:
        ValueError: It is not ``*``, a name, an address, or a name that begins with ``*.``.
    """
    entry = host.lower()
    if name := _NAME.fullmatch(entry):
        return name[1]
    if entry == ANY or _is_numeric(f"[{entry}]"):
        return entry
    raise ValueError(f"{host!r} is not a host name; one looks like env.example.com or *.example.com, no port")


class HostCheck:
    """Decides by the ``Host`` header whether a request may come in.

    Args:
        allowed: Further names, from `check_allowed_host`; ``*`` is any, ``*.example.com`` all below
            ``example.com``.
        is_strict: Whether to check requests to all addresses of this machine, not only to loopback ones.
    """

    def __init__(self, allowed: Iterable[str], *, is_strict: bool) -> None:
        self._allowed = frozenset({*allowed, *_SAFE, socket.gethostname().lower()})
        self._is_strict = is_strict

    def allows(self, hosts: Sequence[str], address: str) -> bool:
        """Whether a request may come in.

        Args:
            hosts: Its ``Host`` headers. Browsers always send one; a program without any may come in.
            address: The address of this machine that it was sent to.
        """
        if not self._is_strict and not is_loopback(address):
            return True
        try:
            return all(_matches(parse_host(host), self._allowed) for host in hosts)
        except ValueError:
            return False


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False  # a path of a Unix socket, or a test client's name
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _matches(name: str, allowed: Collection[str]) -> bool:
    parents = (name[at:] for at, letter in enumerate(name) if letter == "." and at)
    return (
        ANY in allowed
        or _is_numeric(name)
        or name in allowed
        or any(f"*{tail}" in allowed for tail in parents)
    )


def _is_numeric(name: str) -> bool:
    if not name.startswith("["):
        return _NUMERIC.fullmatch(name) is not None
    try:
        ipaddress.IPv6Address(name[1:-1])
    except ValueError:
        return False
    return True
