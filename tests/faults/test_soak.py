"""A server after many clients and many steps needs no more than after a few: memory, threads, files.

``OPENENV_TEST_CONNECTS`` and ``OPENENV_TEST_SOAK_STEPS`` set how many there are.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.session.channel import Channel, Timeouts
from openenv_gym.session.v1 import V1Channel
from openenv_gym.session.v2 import V2Channel
from openenv_gym.transport.blocking import BlockingConnection, BlockingTransport, run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v1, v2
from tests.faults.health import forgetful

CONNECTS = int(os.environ.get("OPENENV_TEST_CONNECTS", "300"))
STEPS = int(os.environ.get("OPENENV_TEST_SOAK_STEPS", "20000"))
WARM_UP_CONNECTS, WARM_UP_STEPS = 120, 4_000
SLOTS = 8
LEEWAY = 1.05

pytestmark = [
    pytest.mark.timeout(120 + CONNECTS // 20 + STEPS // 1000),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads what Linux tells in /proc"),
]


class Needs(NamedTuple):
    """What a process has."""

    rss_kib: int
    threads: int
    files: int


@pytest.fixture
def server() -> Iterator[ProcessProvider]:
    with forgetful(ProcessProvider(gym="CartPole-v1")) as running:
        yield running


def needs_of(pid: int) -> Needs:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Needs(int(status["VmRSS"].split()[0]), int(status["Threads"]), files)


def settled(pid: int) -> Needs:
    """What a process has when its threads and files have not changed for a while."""
    deadline = time.monotonic() + 10
    before = needs_of(pid)
    unchanged_since = time.monotonic()
    while time.monotonic() < unchanged_since + 0.5:
        assert time.monotonic() < deadline, "the server does not come to rest"
        time.sleep(0.05)
        now = needs_of(pid)
        if now[1:] != before[1:]:
            before, unchanged_since = now, time.monotonic()
    return before


def assert_flat(server: ProcessProvider, work: Callable[[int], None], warm_up: int, count: int) -> None:
    """Does a work so many times, and compares what the server needs before and after it."""
    work(warm_up)
    first = settled(server.pid)
    begin = time.monotonic()
    work(count)
    took = time.monotonic() - begin
    last = settled(server.pid)
    print(f"{count:,} in {took:.0f} s: first {first}, last {last}")
    assert last.threads == first.threads
    assert last.files == first.files
    assert last.rss_kib <= first.rss_kib * LEEWAY


def connect(endpoint: Endpoint, number: int) -> None:
    """A client, each of another kind: of either version, which leaves with or without a word."""
    connection = BlockingConnection(endpoint, connect_timeout_s=10, offers_v2=number % 2 == 0)
    channel: Channel
    leave = number // 2 % 3
    if connection.is_v2:
        channel = V2Channel(connection, BlockingTransport(), Timeouts())
        slots, seeds = [0, 1], [None, None]
        step: Any = v2.encode(v2.Step(id=10, slots=slots, actions=[{"action": 0}, {"action": 1}]))
    else:
        channel = V1Channel(connection, Timeouts())
        slots, seeds = [0], [number]
        step = v1.encode_step({"action": 1})
    run(channel.open(slots))
    run(channel.send_reset(slots, seeds, {}, "reset"))
    run(channel.result("reset", is_reset=True))
    if leave == 0:
        run(channel.close())
        return
    # With a step that nobody waits for; and then without a word, or as if the machine had gone.
    run(connection.send(step, timeout_s=10, operation="step"))
    if leave == 2:
        linger = struct.pack("ii", 1, 0)
        connection.raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.drop()


def test_clients_that_come_and_go_leave_nothing_behind(server: ProcessProvider) -> None:
    endpoint = Endpoint.parse(server.base_url)

    def come_and_go(count: int) -> None:
        for number in range(count):
            connect(endpoint, number)

    assert_flat(server, come_and_go, WARM_UP_CONNECTS, CONNECTS)


def test_steps_leave_nothing_behind(server: ProcessProvider) -> None:
    """Half of them over version 1, and half in slots of version 2."""
    envs = RemoteVectorEnv(server.base_url, SLOTS)
    client = GenericEnvClient(server.base_url)
    envs.reset(seed=0)
    client.reset(seed=0)
    actions = np.arange(SLOTS) % 2

    def step(count: int) -> None:
        # In turns, as the server lets go of a client of version 1 that is silent for 40 s.
        for _ in range(count // 2000):
            for number in range(1000 // SLOTS):
                envs.step((actions + number) % 2)
            for number in range(1000):
                if client.step({"action": number % 2}).done:
                    client.reset()

    assert_flat(server, step, WARM_UP_STEPS, STEPS)
    envs.close()
    client.close()
