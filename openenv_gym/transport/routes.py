"""The route to an endpoint: directly or through a proxy, with or without TLS, for HTTP and for WebSockets."""

from __future__ import annotations

import base64
import ipaddress
import re
import ssl
import urllib.request
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from openenv_gym.errors import ConfigurationError
from openenv_gym.transport.endpoint import Endpoint

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK_NAMES = ("localhost", "ip6-localhost", "ip6-loopback")

# Entries of NO_PROXY.
_IN_BRACKETS = re.compile(r"\[(.+)\](?::([0-9]+))?")
_WITH_PORT = re.compile(r"([^:]+):([0-9]+)")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(NamedTuple):
    """An HTTP proxy.

    Attributes:
        scheme: The scheme of its URL; "http" if it has none.
        host: The host to connect to.
        port: Its port.
        authorization: The value of the ``Proxy-Authorization`` header; "" without a user in the URL.
    """

    scheme: str
    host: str
    port: int
    authorization: str

    def __str__(self) -> str:
        return f"{self.scheme}://{bracketed(self.host)}:{self.port}"


class Route(NamedTuple):
    """The way to an endpoint.

    Attributes:
        host: The endpoint's host.
        port: Its port.
        host_header: Both, as the Host header has them.
        path: The path that all of its requests begin with; "" if there is none.
        tls: How to check its certificate; None without TLS.
        proxy: The proxy to go through; None to connect directly.
    """

    host: str
    port: int
    host_header: str
    path: str
    tls: ssl.SSLContext | None
    proxy: Proxy | None

    @property
    def first_hop(self) -> tuple[str, int]:
        """The host and the port to open a socket to."""
        return (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)


def route_to(endpoint: Endpoint) -> Route:
    """Decide how to reach an endpoint, for HTTP and for WebSockets alike.

    Proxies come from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, or from the system's
    settings. This machine, and servers that were started for an environment, are always reached directly.

    Raises:
        ConfigurationError: The proxy is not an HTTP proxy.
    """
    parts = urlsplit(endpoint.base_url)
    host = parts.hostname or ""
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Route(
        host,
        port,
        parts.netloc,
        parts.path,
        endpoint.credentials.tls if parts.scheme == "https" else None,
        None if endpoint.is_direct else _proxy_for(parts.scheme, host, port),
    )


def bracketed(host: str) -> str:
    """A host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    if _is_this_machine(host) or _is_excluded(host, port):
        return None
    proxies = urllib.request.getproxies()
    url = proxies.get(scheme) or proxies.get("all") or ""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname:
        return None
    authorization = ""
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
    if parts.scheme.startswith("socks"):
        raise ConfigurationError(
            f"The proxy for {host} is {parts.scheme}://{parts.hostname}, and SOCKS is not supported.",
            advice=f"Set {scheme}_proxy to an HTTP proxy, or add {host} to no_proxy to connect directly.",
        )
    return Proxy(parts.scheme, parts.hostname, parts.port or 80, authorization)


def is_on_this_machine(base_url: str) -> bool:
    """Whether the host of a base URL is this machine, by its name or address alone."""
    return _is_this_machine(urlsplit(base_url).hostname or "")


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    name = host.removesuffix(".")
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def _is_excluded(host: str, port: int) -> bool:
    """Whether ``NO_PROXY`` excludes a host, or the system's settings if no variable is set.

    ``urllib.request.proxy_bypass`` knows neither networks nor IPv6 addresses, and ports only in part.
    """
    variables = urllib.request.getproxies_environment()
    if not variables:
        return bool(urllib.request.proxy_bypass(host))
    entries = re.split(r"[,\s]+", variables.get("no", "").lower())
    return any(_matches(entry.rpartition("://")[2], host, port) for entry in entries)


def _matches(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` means a host.

    It may be ``*``, a domain (which includes its subdomains, with or without ``.`` or ``*.`` in front), an
    address, or a network such as ``10.0.0.0/8``. Domains and addresses may have a port.
    """
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            return False
    if match := _IN_BRACKETS.fullmatch(entry) or _WITH_PORT.fullmatch(entry):
        entry, only_port = match.groups()
        if only_port is not None and int(only_port) != port:
            return False
    if address is not None:
        return _address(entry) == address
    domain = entry.removeprefix("*").removeprefix(".").removesuffix(".")
    host = host.removesuffix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _address(host: str) -> _Address | None:
    """An IP address, perhaps with a zone; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
