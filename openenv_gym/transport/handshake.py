"""The opening of a WebSocket, over a proxy's tunnel if need be, written once for both kinds of socket."""

from __future__ import annotations

from typing import Protocol

from openenv_gym.tracing import find_tracer
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.error_mapping import HANDSHAKE, OUR_SERVER, HungUpError, ProxyRefusedError, refused
from openenv_gym.transport.routes import Route, bracketed
from openenv_gym.wire import handshake, v2

CHUNK_SIZE = 1 << 12


class Stream(Protocol):
    """Bytes to and from a peer."""

    async def send(self, data: bytes) -> None:
        """Send all of the data."""

    async def receive(self) -> bytes:
        """The next bytes, `CHUNK_SIZE` at most; none if the peer closed the connection."""


async def open_tunnel(stream: Stream, route: Route) -> None:
    """Have the proxy connect to the endpoint.

    Raises:
        ProxyRefusedError: It refuses.
        BadHandshakeError: It does not speak HTTP.
        OSError: The connection broke.
    """
    if route.proxy is None:
        return
    target = f"{bracketed(route.host)}:{route.port}"
    await stream.send(handshake.connect_request(target, route.proxy.authorization))
    response, _ = await _response(stream, is_tunnel=True)
    if not 200 <= response.status < 300:
        raise ProxyRefusedError(route.proxy, response.status)


async def open_websocket(
    stream: Stream, endpoint: Endpoint, route: Route, *, offers_v2: bool
) -> tuple[dict[str, str], bytes]:
    """Do the handshake at ``/ws``.

    No Origin is sent, because only a web page has one, and redirects are not followed, because the other
    server would get the key.

    Returns:
        The headers of the response, and the bytes that came after it.

    Raises:
        EndpointError: The server refuses.
        BadHandshakeError: The response does not open a WebSocket.
        OSError: The connection broke.
    """
    key = handshake.new_key()
    offer = [("Sec-WebSocket-Protocol", v2.SUBPROTOCOL)] if offers_v2 else []
    tracer = find_tracer()
    if tracer is not None and (traceparent := tracer.current()) is not None:
        offer.append(("traceparent", traceparent))  # the messages of version 1 have no place for it
    headers = (*offer, *endpoint.headers_for("/ws"))
    await stream.send(handshake.upgrade_request(route.host_header, f"{route.path}/ws", key, headers))
    response, rest = await _response(stream)
    endpoint.cookies.update("/ws", response.headers.get("set-cookie", "").splitlines())
    if response.status != handshake.SWITCHING_PROTOCOLS:
        raise refused(endpoint, response.status, response.headers, response.body, HANDSHAKE)
    handshake.check_upgrade(response, key)
    return response.headers, rest


def has_gateway(route: Route, headers: dict[str, str]) -> bool:
    """Whether something stands between this machine and the server: a proxy, or what names itself.

    Args:
        route: The way to the endpoint.
        headers: The headers of the handshake's response.
    """
    return route.proxy is not None or headers.get("server", OUR_SERVER) != OUR_SERVER


async def _response(stream: Stream, *, is_tunnel: bool = False) -> tuple[handshake.Response, bytes]:
    parser = handshake.ResponseParser(is_tunnel=is_tunnel)
    has_data = False
    while True:
        data = await stream.receive()
        if (parsed := parser.feed(data)) is not None:
            return parsed
        if not data:
            raise ConnectionResetError("the connection broke in the handshake") if has_data else HungUpError
        has_data = True
