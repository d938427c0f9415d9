"""A TCP proxy in front of a server, which does to connections what networks do to them."""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from openenv_gym.wire.unix_offer import PROOF_SIZE, TICKET_SIZE, WITH_MEMORY, UnixOffer

Kind = Literal["cut", "half_close", "stall", "split", "delay"]
Direction = Literal["up", "down"]  # to the server, to the client

_CHUNK = 1 << 16
_LARGEST_PIECE = 16
_THROTTLED_PIECE = 1 << 14
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time at all


class FaultProxy:
    """Forwards to a server, with faults at random places of either direction.

    - "cut": the connection is closed on both sides, with a FIN or with an RST.
    - "half_close": one direction ends with a FIN and drops further data; the other continues.
    - "stall": nothing is forwarded on the connection, either way, for `stall_s`.
    - "split": what has come is written in pieces of a few bytes.
    - "delay": what has come waits for up to `delay_s`.

    Each direction of each connection has its own dice, so that a seed gives the same faults at the same
    bytes whatever the threads do.

    Args:
        base_url: The server.
        faults: For each kind, how many bytes there are between two of them, on average.
        max_faults: How many there are at most of each kind.
        seed: Of the dice.
        stall_s: In seconds.
        delay_s: In seconds.
        bytes_per_s: What each direction of a connection forwards in a second, at most.

    Attributes:
        base_url: The proxy's own address.
        counts: How many faults there were of each kind, and under "connections" and "bytes" what was
            forwarded.

    Example:
        >>> with FaultProxy(base_url, faults={"cut": 10_000}, seed=7) as proxy:
        ...     env = RemoteEnv(proxy.base_url)
    """

    def __init__(
        self,
        base_url: str,
        *,
        faults: Mapping[Kind, float],
        max_faults: int | None = None,
        seed: int = 0,
        stall_s: float = 0.2,
        delay_s: float = 0.002,
        bytes_per_s: float = math.inf,
    ) -> None:
        self.lead_to(base_url)
        self.faults = dict(faults)
        self.max_faults = max_faults
        self.seed, self.stall_s, self.delay_s = seed, stall_s, delay_s
        self.bytes_per_s = bytes_per_s
        self.counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.may_forward = {"up": threading.Event(), "down": threading.Event()}
        self.resume()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._is_closed = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._links: list[_Link] = []

    def pause(self, direction: Direction | None = None) -> None:
        """Forwards nothing more in one direction or in both, on new connections neither."""
        for name in ("up", "down") if direction is None else (direction,):
            self.may_forward[name].clear()

    def resume(self) -> None:
        """Forwards again, starting with what has come meanwhile."""
        for may_forward in self.may_forward.values():
            may_forward.set()

    def lead_to(self, base_url: str) -> None:
        """Forwards new connections to another server, as if that were started at the old one's address."""
        server = urlsplit(base_url)
        self._server = (server.hostname, server.port)

    def cut(self) -> None:
        """Closes all connections on both sides."""
        for link in list(self._links):
            link.close()

    def count(self, what: str, number: int = 1) -> None:
        """Adds to `counts`."""
        with self._counting:
            self.counts[what] += number

    def claim(self, kind: Kind) -> bool:
        """Counts a fault, if there may be one more of its kind."""
        with self._counting:
            if self.max_faults is not None and self.counts[kind] >= self.max_faults:
                return False
            self.counts[kind] += 1
            return True

    def __enter__(self) -> FaultProxy:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        with suppress(OSError), socket.socket(self._listening.family) as waker:  # it may have ended
            waker.connect(self._listening.getsockname())
        self._accepting.join(timeout=10)
        self._listening.close()
        self.resume()
        for link in self._links:
            link.close()
        for link in self._links:
            link.join()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            if self._is_closed:
                client.close()
                return
            try:
                server = self._connect(client)
            except OSError:
                client.close()  # the client sees what it would see without a proxy: nothing answers
                continue
            self.count("connections")
            self._links = [link for link in self._links if link.is_alive]
            self._links.append(_Link(self, client, server, self.counts["connections"]))

    def _connect(self, client: socket.socket) -> socket.socket:
        """Connects to the server for a client."""
        return socket.create_connection(self._server, timeout=10)


class UnixFaultProxy(FaultProxy):
    """Stands between the clients of this process and a server's Unix socket, to which they move from TCP.

    Args:
        base_url: The server.
        folder: Where its own Unix socket is.
        patch: Leads clients here.
        keywords: Those of `FaultProxy`.
    """

    def __init__(self, base_url: str, folder: Path, patch: pytest.MonkeyPatch, **keywords: Any) -> None:
        super().__init__(base_url, **keywords)
        self._listening.close()
        self._listening = socket.socket(socket.AF_UNIX)
        path = str(folder / "relay")
        self._listening.bind(path)
        self._listening.listen()
        self.base_url = base_url
        self._paths: dict[bytes, str] = {}
        path_of = UnixOffer.path.fget
        assert path_of is not None

        def divert(offer: UnixOffer) -> str:
            self._paths[offer.ticket] = path_of(offer)
            return path

        patch.setattr(UnixOffer, "path", property(divert))

    def _connect(self, client: socket.socket) -> socket.socket:
        """Forwards the greeting without faults: a client that fails there stays with TCP."""
        hello = client.recv(TICKET_SIZE + 1)
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(10)
        server.connect(self._paths.pop(hello[:TICKET_SIZE]))
        server.sendall(hello)
        client.sendall(server.recv(PROOF_SIZE))
        if hello[TICKET_SIZE:] == WITH_MEMORY:
            data, descriptors, _, _ = socket.recv_fds(server, 1, 1)
            socket.send_fds(client, [data], descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
        return server


class _Link:
    """One connection through the proxy: two sockets, and a thread for each direction."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket, number: int) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        self._stalled_until = 0.0
        self._free_at = {"up": 0.0, "down": 0.0}  # when all that was forwarded has gone through
        self._threads = []
        for source, target, name in ((client, server, "up"), (server, client, "down")):
            source.settimeout(None)
            if source.family == socket.AF_INET:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            dice = random.Random(f"{proxy.seed}, connection {number}, {name}")
            places = _Places(proxy, dice)
            self._threads.append(
                threading.Thread(target=self._pump, args=(source, target, places, name), daemon=True)
            )
        self._lock = threading.Lock()
        self._running, self._is_cut = 2, False
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive(), "a direction of the proxy did not end"

    def close(self, *, with_reset: bool = False) -> None:
        for end in self._sockets:
            with suppress(OSError):  # it may be closed already
                if with_reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                # Wakes the thread that waits for it. To shut down the writing side sends a FIN.
                end.shutdown(socket.SHUT_RD if with_reset else socket.SHUT_RDWR)
            end.close()

    def _pump(self, source: socket.socket, target: socket.socket, places: _Places, direction: str) -> None:
        try:
            while data := source.recv(_CHUNK):
                if not self._forward(data, target, places, direction):
                    break
            target.shutdown(socket.SHUT_WR)
            while source.recv(_CHUNK):
                pass
        except OSError:
            self.close(with_reset=True)  # one side is gone, and the other sees it go in the same way
        with self._lock:
            self._running -= 1
            is_last = self._running == 0
        if is_last:
            self.close()

    def _forward(self, data: bytes, target: socket.socket, places: _Places, direction: str) -> bool:
        """Forward data, with the faults that fall into it. Return whether the direction stays open."""
        proxy = self._proxy
        is_split = False
        while data:
            size, kind = places.until_next(len(data))
            self._send(data[:size], target, direction, places.dice if is_split else None)
            data = data[size:]
            with self._lock:
                if kind is None or self._is_cut or not proxy.claim(kind):
                    continue
                self._is_cut = kind == "cut"
            match kind:
                case "cut":
                    self.close(with_reset=places.dice.random() < 0.5)
                    return False
                case "half_close":
                    return False
                case "stall":
                    self._stalled_until = time.monotonic() + proxy.stall_s
                case "split":
                    is_split = True
                case "delay":
                    time.sleep(places.dice.uniform(0, proxy.delay_s))
        return True

    def _send(self, data: bytes, target: socket.socket, direction: str, dice: random.Random | None) -> None:
        """Send once no stall and no pause holds it up, no faster than allowed; with dice, in small pieces."""
        rate = self._proxy.bytes_per_s
        whole = len(data) if rate == math.inf else _THROTTLED_PIECE
        while data:
            self._proxy.may_forward[direction].wait()
            time.sleep(max(self._stalled_until - time.monotonic(), 0))
            size = min(len(data), whole if dice is None else dice.randint(1, _LARGEST_PIECE))
            if rate != math.inf:
                now = time.monotonic()
                self._free_at[direction] = max(self._free_at[direction], now) + size / rate
                time.sleep(self._free_at[direction] - now)
            target.sendall(data[:size])
            self._proxy.count("bytes", len(data[:size]))
            data = data[size:]


class _Places:
    """Where the next faults of one direction are. The distances between them have no memory."""

    def __init__(self, proxy: FaultProxy, dice: random.Random) -> None:
        self.dice = dice
        self._means = proxy.faults
        self._left = {kind: self._draw(kind) for kind in self._means}

    def until_next(self, most: int) -> tuple[int, Kind | None]:
        """How many bytes of the next `most` there are before a fault, and which it is, if there is one."""
        first = min(self._left, key=lambda kind: self._left[kind], default=None)
        if first is None or self._left[first] >= most:
            size, first = most, None
        else:
            size = self._left[first]
        self._left = {kind: left - size for kind, left in self._left.items()}
        if first is not None:
            self._left[first] = self._draw(first)
        return size, first

    def _draw(self, kind: Kind) -> int:
        return int(self.dice.expovariate(1 / self._means[kind])) + 1


@contextmanager
def tls_terminator(base_url: str, context: ssl.SSLContext) -> Iterator[str]:
    """Accept TLS and forward plain bytes to a server, like a gateway; gives the https address.

    When the server's side ends, the client gets a TLS close_notify, or an RST for every second connection.
    """
    server = urlsplit(base_url)
    loop = asyncio.new_event_loop()
    count = 0

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        is_odd = count % 2
        with suppress(OSError, asyncio.CancelledError):
            upstream_reader, upstream_writer = await asyncio.open_connection(server.hostname, server.port)
            directions = [
                asyncio.ensure_future(pump(reader, upstream_writer)),
                asyncio.ensure_future(pump(upstream_reader, writer)),
            ]
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            upstream_writer.close()
        if is_odd:
            writer.close()
        else:
            writer.transport.abort()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    async def end_tasks() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    listening = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        assert not thread.is_alive()
        loop.run_until_complete(end_tasks())
        loop.close()
