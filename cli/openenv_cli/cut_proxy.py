"""A TCP proxy in front of a server that can cut its connections, to show that nothing is lost."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

_CHUNK = 1 << 16


class CutProxy:
    """Forward connections to a server until `cut` breaks them; new connections are forwarded again.

    Args:
        base_url: The server.

    Attributes:
        base_url: The address of the proxy.

    Example:
        >>> with CutProxy(server.base_url) as proxy:
        ...     env = gymnasium.make("openenv/remote", base_url=proxy.base_url)
    """

    def __init__(self, base_url: str) -> None:
        server = urlsplit(base_url)
        assert server.hostname is not None
        assert server.port is not None
        self._server = (server.hostname, server.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: set[socket.socket] = set()

    def cut(self) -> int:
        """Break all connections on both sides; return how many."""
        ends = tuple(self._open)
        for end in ends:
            _shut_down(end)
        return len(ends) // 2

    def __enter__(self) -> CutProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _shut_down(self._listening)  # wakes the thread that accepts
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:  # the client sees what it would see without a proxy
                client.close()
                continue
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with source, suppress(OSError):  # the connection was cut
            while data := source.recv(_CHUNK):
                sink.sendall(data)
        self._open.discard(source)
        _shut_down(sink)


def _shut_down(end: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        end.shutdown(socket.SHUT_RDWR)
