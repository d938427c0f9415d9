"""An HTTP protocol for uvicorn that keeps no connection for ever.

uvicorn waits without end for a request's head and for clients that do not read, takes heads of any size, and
accepts until the process has no descriptor left.

uvicorn has no public API for this. ``tests/server/test_socket_takeover.py`` names every internal that this
module relies on, and ``pyproject.toml`` has an upper bound on uvicorn's version.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Callable, Collection
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from openenv_gym.wire.codes import ErrorCode
from openenv_server.operations.descriptors import descriptors
from openenv_server.security.origins import ANY

log = logging.getLogger("openenv_server")

# The most bytes of a request's head; websockets takes fewer.
MOST_HEAD_BYTES = 2**16
# How long a connection that is refused may take to send its request, so that its client reads the response.
_REFUSED_S = 1.0
_TOO_MANY = "This server has too few file descriptors left for more connections (ulimit -n)"


class ConnectionTable:
    """The HTTP connections of one server, by the address of their clients. Those of WebSockets are not here.

    Args:
        request_timeout_s: Seconds that a request's head may take to arrive.
        most_per_address: The most connections of one address.
        proxies: The addresses and networks of trusted proxies, which are not limited; ``*`` is all.

    Attributes:
        on_refused: Called with the status when an address has too many connections.
    """

    def __init__(
        self, request_timeout_s: float, most_per_address: int, proxies: Collection[str] = ()
    ) -> None:
        self.request_timeout_s = request_timeout_s
        self.most_per_address = most_per_address
        self.on_refused: Callable[[int], None] = lambda status: None
        self._trusts_all = ANY in proxies
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies if proxy != ANY]
        # Dicts instead of sets, because their order is that of insertion.
        self._open: dict[str, dict[LimitedProtocol, None]] = {}
        self._waiting: dict[str, dict[LimitedProtocol, None]] = {}

    def add(self, connection: LimitedProtocol) -> bool:
        """Add a connection; return False if its address has too many."""
        open_ = self._open.setdefault(connection.address, {})
        open_[connection] = None
        return len(open_) <= self.most_per_address or self._is_proxy(connection.address)

    def remove(self, connection: LimitedProtocol) -> None:
        """Remove a connection. Safe to call again."""
        self.stop_waiting(connection)
        _discard(self._open, connection)

    def wait(self, connection: LimitedProtocol) -> None:
        """Note that a connection has no request in progress."""
        self.stop_waiting(connection)
        self._waiting.setdefault(connection.address, {})[connection] = None

    def stop_waiting(self, connection: LimitedProtocol) -> None:
        """Note that a connection has a request in progress. Safe to call again."""
        _discard(self._waiting, connection)

    def make_room(self, count: int) -> bool:
        """Close connections that wait for a request; return False if there are not as many.

        Those of the address with the most waiting ones are closed first, and of them the one that has waited
        longest.
        """
        for _ in range(count):
            most = max(self._waiting.values(), key=len, default=None)
            if most is None:
                return False
            next(iter(most)).give_way()
        return True

    async def check_descriptors(self) -> None:
        """Close waiting connections while too many descriptors are open, also by others than connections."""
        self.make_room(descriptors.excess())

    def _is_proxy(self, address: str) -> bool:
        if self._trusts_all:
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


class LimitedProtocol(HttpToolsProtocol):
    """For ``uvicorn.Config(http=…)``, as ``functools.partial(LimitedProtocol, table)``.

    Each connection waits for a request, has one in progress, or becomes a WebSocket and leaves this class.

    Attributes:
        address: The address of the client, or of a proxy; "" if it has none.
    """

    def __init__(self, table: ConnectionTable, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.address: str = ""
        self._table = table
        self._refusal: tuple[int, str] | None = None
        self._unparsed = 0  # bytes since something was complete
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        has_place = self._table.add(self)
        if not has_place and self.address:
            self._table.on_refused(429)
            self._refuse_next(
                429,
                f"{self.address} has {self._table.most_per_address} connections open, the maximum per "
                "address. Close some, or raise MAX_SOCKETS_PER_ADDRESS on the server",
            )
            return
        if descriptors.opened() and not self._table.make_room(1):
            self._refuse_next(503, _TOO_MANY)
            return
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        self._table.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            self._respond(*self._refusal)
            return
        self._unparsed += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self._unparsed > MOST_HEAD_BYTES:
            self._respond(431, f"The head of a request exceeds the limit of {MOST_HEAD_BYTES:,} bytes")
        elif self._is_waiting and self._head_timer is None:
            self._begin_to_wait()

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._expect_reading()
        if self._is_waiting and not self.transport.is_closing():
            self._table.wait(self)

    def handle_websocket_upgrade(self) -> None:
        self._stop_timers()
        self._table.remove(self)
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_expecting()

    def give_way(self) -> None:
        """Close this connection, which waits, for another one; its client gets a response if it had none."""
        if self.cycle is None:
            self._respond(503, _TOO_MANY)
        else:
            self._table.stop_waiting(self)
            self.transport.close()

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _begin_to_wait(self) -> None:
        self._table.wait(self)
        self._head_timer = self.loop.call_later(self._table.request_timeout_s, self._head_is_late)

    def _stop_waiting(self) -> None:
        self._table.stop_waiting(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        log.info("%s sent no request within %g s", self.address, self._table.request_timeout_s)
        if self._unparsed:
            message = (
                f"The head of a request took more than {self._table.request_timeout_s:g} s (REQUEST_TIMEOUT)"
            )
            self._respond(408, message)
        else:  # a browser opens connections before it needs them
            self.transport.close()

    def _expect_reading(self) -> None:
        self._stop_expecting()
        self._write_timer = self.loop.call_later(
            self._table.request_timeout_s, self._reading_is_late, self.cycle
        )

    def _stop_expecting(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _reading_is_late(self, cycle: Any) -> None:
        if self.cycle is cycle and self.transport.get_write_buffer_size():
            log.info("%s does not read a response", self.address)
            self.transport.abort()

    def _stop_timers(self) -> None:
        self._stop_waiting()
        self._stop_expecting()

    def _refuse_next(self, status: int, message: str) -> None:
        """Refuse the next request, or close the connection in a moment.

        Not now: a client that sends to a closed connection does not get the response.
        """
        self._refusal = (status, message)
        self._head_timer = self.loop.call_later(_REFUSED_S, self.transport.close)

    def _respond(self, status: int, message: str) -> None:
        """Send an error, and close the connection; break off a response in progress."""
        self._stop_waiting()
        if not self._is_waiting:
            self.transport.abort()
            return
        code = ErrorCode.CAPACITY_REACHED if status in (429, 503) else ErrorCode.VALIDATION_ERROR
        body = json.dumps({"message": message, "code": code.value}).encode()
        lines = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        lines += [b"content-type: application/json\r\n", b"content-length: %d\r\n" % len(body)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"connection: close\r\n\r\n", body]))
        self.transport.close()


def _discard(table: dict[str, dict[LimitedProtocol, None]], connection: LimitedProtocol) -> None:
    """Remove a connection from the entry of its address, and the entry if it is empty."""
    entry = table.get(connection.address, {})
    if connection in entry:
        del entry[connection]
        if not entry:
            del table[connection.address]
