"""Connections that move from TCP to the server's Unix socket, and those that stay."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import AccessRefusedError
from openenv_gym.transport.asynchronous import AsyncTransport
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire.unix_offer import PROOF_SIZE, TICKET_SIZE, UnixOffer
from tests.support.processes import serving
from tests.support.proxy import FaultProxy
from tests.support.servers import running
from tests.support.tls import cutting_proxy, trusted_certificate
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")

NOBODY = 65534
ZEROS = "0" * 32


def cartpole() -> Any:
    factory, models = gymnasium_factory(partial(gym.make, "CartPole-v1"))
    return create_app(factory, models.action, models.observation)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running(cartpole()) as base_url:
        yield base_url


def connect(base_url: str, **keywords: Any) -> BlockingConnection:
    endpoint = Endpoint.parse(base_url, **keywords)
    return BlockingConnection(endpoint, connect_timeout_s=5, offers_v2=True)


def family(connection: BlockingConnection) -> socket.AddressFamily:
    """The kind of socket that a connection ended up with."""
    found = connection.raw_socket.family
    connection.hang_up()
    return found


def as_user(uid: int, call: Callable[[], str]) -> str:
    """What a function returns in a child process of another user."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            os.write(writing, call().encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    os.waitpid(pid, 0)
    return said


def diverted(monkeypatch: pytest.MonkeyPatch, change: Callable[[UnixOffer], UnixOffer]) -> None:
    """Change the offers that clients of this process read."""
    parse = UnixOffer.parse

    def parse_changed(header: str) -> UnixOffer | None:
        offer = parse(header)
        return None if offer is None else change(offer)

    monkeypatch.setattr(UnixOffer, "parse", parse_changed)


@pytest.mark.unit
def test_an_offer_survives_its_header() -> None:
    offer = UnixOffer.make("127.0.0.1:50000", "[::1]:8000", 4711, 9)
    assert UnixOffer.parse(offer.header) == offer
    assert offer.path == "/proc/4711/fd/9"


@pytest.mark.unit
@pytest.mark.parametrize(
    "header",
    ["", "1", "a b 1 2 00 00", f"a b ../1 2 {ZEROS} {ZEROS}", f"a b 1 2 {ZEROS} {ZEROS} x"],
)
def test_what_is_no_offer_is_ignored(header: str) -> None:
    assert UnixOffer.parse(header) is None


def test_a_client_on_the_same_machine_moves(base_url: str) -> None:
    assert family(connect(base_url)) == socket.AF_UNIX


def test_so_does_one_on_an_event_loop(base_url: str) -> None:
    async def kind() -> socket.AddressFamily:
        connection = await AsyncTransport().connect(Endpoint(base_url), timeout_s=5)
        assert connection._frames is not None
        found = connection._frames.raw.family
        connection.hang_up()
        return found

    assert asyncio.run(kind()) == socket.AF_UNIX


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_it_does_so_by_every_name_of_the_machine(name: str) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        port = listening.getsockname()[1]
    with running(cartpole(), host="::", port=port):
        assert family(connect(f"http://{name}:{port}")) == socket.AF_UNIX


def test_a_client_behind_a_proxy_stays(base_url: str) -> None:
    with FaultProxy(base_url, faults={}) as proxy:
        assert family(connect(proxy.base_url)) == socket.AF_INET
        assert proxy.counts["connections"] == 1


def test_a_client_of_version_1_stays(base_url: str) -> None:
    connection = BlockingConnection(Endpoint(base_url), connect_timeout_s=5)
    assert family(connection) == socket.AF_INET


def test_tls_stays() -> None:
    with (
        trusted_certificate() as certificate,
        running(cartpole(), ssl_keyfile=str(certificate), ssl_certfile=str(certificate)) as base_url,
    ):
        assert family(connect(base_url)) == socket.AF_INET
    with running(cartpole()) as plain, cutting_proxy(plain, "TLS") as proxy:
        assert family(connect(proxy.base_url)) == socket.AF_INET


def test_a_client_that_does_not_see_the_servers_process_stays(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverted(monkeypatch, lambda offer: offer._replace(pid=999_999_999))  # of another container, say
    assert family(connect(base_url)) == socket.AF_INET


def test_a_file_that_is_no_socket_is_not_used(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diverted(monkeypatch, lambda offer: offer._replace(descriptor=0))
    assert family(connect(base_url)) == socket.AF_INET


def test_the_socket_of_another_server_is_not_used(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diverted(monkeypatch, lambda offer: offer._replace(ticket=bytes(TICKET_SIZE)))
    assert family(connect(base_url)) == socket.AF_INET


def test_a_server_without_the_proof_is_not_used(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diverted(monkeypatch, lambda offer: offer._replace(proof=bytes(PROOF_SIZE)))
    env = RemoteEnv(base_url)  # and it goes on over TCP, although the server has let it move
    env.reset(seed=1)
    env.step(0)
    env.close()


FAMILY = """
import sys
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.endpoint import Endpoint
connection = BlockingConnection(Endpoint(sys.argv[1]), connect_timeout_s=5, offers_v2=True)
print(connection.raw_socket.family.name)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("namespace", "expected"),
    [([], "AF_UNIX"), (["unshare", "--fork", "--pid", "--mount-proc"], "AF_INET")],
    ids=["the same", "another"],
)
def test_a_client_in_another_process_namespace_stays(
    base_url: str, namespace: list[str], expected: str
) -> None:
    if namespace and subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("namespaces cannot be made here")
    command = [*namespace, sys.executable, "-c", FAMILY, base_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_user_stays_and_cannot_open_the_socket(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers: list[UnixOffer] = []
    diverted(monkeypatch, lambda offer: offers.append(offer) or offer)  # type: ignore[func-returns-value]
    connection = connect(base_url)

    def try_it() -> str:
        with socket.socket(socket.AF_UNIX) as raw:
            try:
                raw.connect(offers[0].path)
            except OSError as error:
                return f"{type(error).__name__}, {family(connect(base_url)).name}"
        return "connected"

    assert as_user(NOBODY, try_it) == "PermissionError, AF_INET"
    connection.hang_up()


@pytest.mark.slow
def test_the_socket_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path, "--gym", "CartPole-v1") as server:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)  # as the superuser, who may open it
        assert family(connect(server.base_url)) == socket.AF_INET


def test_a_client_of_another_user_is_refused(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openenv_server.unix_sockets.peer_uid", lambda raw: NOBODY)
    assert family(connect(base_url)) == socket.AF_INET


def test_a_key_is_needed_as_before(tmp_path: Path) -> None:
    with serving(tmp_path, "--gym", "CartPole-v1", OPENENV_API_KEY="secret") as server:
        assert family(connect(server.base_url, api_key="secret")) == socket.AF_UNIX
        with pytest.raises(AccessRefusedError):
            connect(server.base_url, api_key="wrong")


@pytest.mark.slow
def test_each_worker_has_one(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "closed", "--gym", "CartPole-v1", "--workers", "2") as server,
        cutting_proxy(server.base_url, "Unix") as proxy,
    ):
        envs = RemoteVectorEnv(server.base_url, 8)
        envs.reset(seed=0)
        for _ in range(3):
            before = proxy.counts["connections"]
            assert before >= 2
            envs.step(envs.action_space.sample())
            proxy.cut()
            envs.step(envs.action_space.sample())
            # The sessions are in the worker that they were in.
            assert proxy.counts["connections"] >= before + 2
        envs.close()


def test_metrics_count_it() -> None:
    app = cartpole()
    with running(app) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        counters = app.state.sessions.counters
        before = counters.bytes_received_and_sent()
        env.step(0)
        assert counters.moved() == 1
        assert counters.bytes_received_and_sent()[0] > before[0]
        # The answer is counted after it was sent.
        wait_for(lambda: counters.bytes_received_and_sent()[1] > before[1])
        env.close()


def test_nothing_is_left_when_the_last_client_has_gone() -> None:
    with running(cartpole()) as base_url:

        def descriptors() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        before = descriptors()
        for _ in range(3):
            connection = connect(base_url)
            connection.hang_up()
        for _ in range(100):
            if descriptors() <= before:
                break
            time.sleep(0.05)
        assert descriptors() <= before


@pytest.mark.slow
def test_a_killed_server_leaves_no_file_and_the_next_one_is_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    temporary = tmp_path / ("x" * 90) / "tmp"  # longer than the address of a Unix socket may be
    temporary.mkdir(parents=True)
    arguments = ("--gym", "CartPole-v1", "--port", port)
    env: RemoteEnv | None = None
    for _ in range(2):
        with serving(tmp_path / "closed", *arguments, TMPDIR=str(temporary)) as server:
            env = env or RemoteEnv(server.base_url, on_session_lost="truncate")
            env.reset(seed=1)
            env.step(0)
            assert env._session._channel.connection.raw_socket.family == socket.AF_UNIX  # type: ignore[union-attr]
            assert list(temporary.iterdir()) == []
            server.signal(signal.SIGKILL)
            server.ends()
            assert list(temporary.iterdir()) == []
            assert env.step(0)[3]  # truncated
    assert env is not None
    env.close()


def test_a_server_that_can_make_no_file_stays_with_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    with running(cartpole()) as base_url:
        assert family(connect(base_url)) == socket.AF_INET
