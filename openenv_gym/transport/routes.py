"""The route to an endpoint: directly or through a proxy, with or without TLS."""

from __future__ import annotations

import base64
import ipaddress
import ssl
import urllib.request
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from openenv_gym.transport.endpoint import Endpoint

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """An HTTP proxy.

    Attributes:
        url: As the environment variable or the system has it.
        host: The host to connect to.
        port: Its port.
        authorization: The value of the ``Proxy-Authorization`` header; "" without a user in the URL.
    """

    url: str
    host: str
    port: int
    authorization: str


class Route(NamedTuple):
    """The way to an endpoint.

    Attributes:
        host: The endpoint's host.
        port: Its port.
        host_header: Both, as the Host header has them.
        websocket_path: The path of its WebSocket.
        tls: How to check its certificate; None without TLS.
        proxy: The proxy to go through; None to connect directly.
    """

    host: str
    port: int
    host_header: str
    websocket_path: str
    tls: ssl.SSLContext | None
    proxy: Proxy | None

    @property
    def first_hop(self) -> tuple[str, int]:
        """The host and the port to open a socket to."""
        return (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)


def route_to(endpoint: Endpoint) -> Route:
    """Decide how to reach an endpoint, for HTTP and for WebSockets.

    Proxies come from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, or from the system's settings. The
    loopback interface is always reached directly.
    """
    parts = urlsplit(endpoint.base_url)
    host = parts.hostname or ""
    return Route(
        host,
        parts.port or _DEFAULT_PORTS[parts.scheme],
        parts.netloc,
        f"{parts.path}/ws",
        endpoint.credentials.tls if parts.scheme == "https" else None,
        _proxy_for(parts.scheme, host),
    )


def _proxy_for(scheme: str, host: str) -> Proxy | None:
    if _is_loopback(host) or urllib.request.proxy_bypass(host) or _is_in_excluded_network(host):
        return None
    url = urllib.request.getproxies().get(scheme, "")
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname:
        return None
    authorization = ""
    if parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
    return Proxy(url, parts.hostname, parts.port or 80, authorization)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or host.endswith(".localhost") if address is None else address.is_loopback


def _is_in_excluded_network(host: str) -> bool:
    """Whether ``NO_PROXY`` has a network, 10.0.0.0/8, that an address is in."""
    address = _address(host)
    if address is None:
        return False
    for entry in urllib.request.getproxies().get("no", "").split(","):
        try:
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue  # a host, or nothing that can be understood
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
