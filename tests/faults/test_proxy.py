"""The proxy that breaks connections: what it forwards, what it breaks, and what it counts."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.proxy import FaultProxy, Kind

DATA = random.Random(0).randbytes(300_000)


class Echo:
    """Sends back what it gets. Remembers how each connection ended."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.ends: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(5000):
                    peer.sendall(data)
                self.ends.append("FIN")
            except OSError:
                self.ends.append("RST")

    def wait_for_ends(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.ends) < count:
            assert time.monotonic() < deadline, f"{self.ends} of {count} connections have ended"
            time.sleep(0.01)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def connect(proxy: FaultProxy) -> socket.socket:
    address = urlsplit(proxy.base_url)
    client = socket.create_connection((address.hostname, address.port), timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def exchange(proxy: FaultProxy, data: bytes = DATA) -> tuple[bytes, str]:
    """What comes back of what is sent, and how the connection ended."""
    got = bytearray()
    with connect(proxy) as client:

        def send() -> None:
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            except OSError:
                return  # cut; the one who reads sees it too

        sender = threading.Thread(target=send)
        sender.start()
        try:
            while part := client.recv(1 << 16):
                got += part
            end = "FIN"
        except ConnectionResetError:
            end = "RST"
        sender.join(timeout=10)
        assert not sender.is_alive()
    return bytes(got), end


def test_bytes_arrive_unchanged_in_pieces_late_and_after_stalls(echo: Echo) -> None:
    faults: dict[Kind, float] = {"split": 60_000, "delay": 10_000, "stall": 200_000}
    with FaultProxy(echo.base_url, faults=faults, stall_s=0.02, seed=1) as proxy:
        assert exchange(proxy) == (DATA, "FIN")
    assert proxy.counts["bytes"] == 2 * len(DATA)
    assert proxy.counts["connections"] == 1
    assert all(proxy.counts[kind] > 0 for kind in faults)
    assert echo.ends == ["FIN"]


def test_a_cut_is_seen_on_both_sides_as_fin_or_as_rst(echo: Echo) -> None:
    with FaultProxy(echo.base_url, faults={"cut": 5_000}, seed=2) as proxy:
        seen = [exchange(proxy) for _ in range(30)]
        echo.wait_for_ends(30)
    for got, _ in seen:
        assert len(got) < len(DATA)
        assert DATA.startswith(got)
    assert {end for _, end in seen} == {"FIN", "RST"}
    assert set(echo.ends) == {"FIN", "RST"}
    assert proxy.counts["cut"] == proxy.counts["connections"] == 30


def test_cuts_are_as_frequent_as_was_asked_for_and_as_many(echo: Echo) -> None:
    small = bytes(1000)
    with FaultProxy(echo.base_url, faults={"cut": 4_000}, max_faults=50, seed=3) as proxy:
        while proxy.counts["cut"] < 50:
            exchange(proxy, small)
        assert 2_000 < proxy.counts["bytes"] / 50 < 8_000
        assert [exchange(proxy, small) for _ in range(20)] == [(small, "FIN")] * 20
        assert proxy.counts["cut"] == 50


def test_a_seed_cuts_at_the_same_bytes_again(echo: Echo) -> None:
    def lengths(seed: int) -> list[int]:
        # Nobody sends while the other side does, so that what is lost with a cut does not depend on times.
        found = []
        with FaultProxy(echo.base_url, faults={"cut": 500}, seed=seed) as proxy:
            for _ in range(10):
                with connect(proxy) as client:
                    count = 0
                    try:
                        while client.send(b"x") and client.recv(1):
                            count += 1
                    except OSError:
                        pass  # an RST instead of a FIN
                    found.append(count)
        return found

    assert lengths(4) == lengths(4) != lengths(5)


def test_half_a_connection_may_be_closed(echo: Echo) -> None:
    """The server sees the end of what comes, or the client does; whoever still sends is not told."""
    with FaultProxy(echo.base_url, faults={"half_close": 20_000}, max_faults=1, seed=6) as proxy:
        got, end = exchange(proxy)
        echo.wait_for_ends(1)
    assert (end, echo.ends, proxy.counts["half_close"]) == ("FIN", ["FIN"], 1)
    assert len(got) < len(DATA)
    assert DATA.startswith(got)


def test_nothing_goes_through_a_pause(echo: Echo) -> None:
    with FaultProxy(echo.base_url, faults={}) as proxy, connect(proxy) as client:
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        proxy.pause()
        client.sendall(b"after")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.resume()
        client.settimeout(10)
        assert client.recv(100) == b"after"
    assert proxy.counts == {"connections": 1, "bytes": 22}


def test_a_server_that_is_gone_looks_so_through_the_proxy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        base_url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with FaultProxy(base_url, faults={}) as proxy:
        assert exchange(proxy, b"hello") in [(b"", "FIN"), (b"", "RST")]
    assert proxy.counts["connections"] == 0
