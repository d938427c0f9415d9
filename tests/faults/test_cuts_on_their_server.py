"""An unmodified server of the published package, behind a proxy that cuts connections.

Its sessions end with their sockets. So each loss has to be reported, and no step may run in an environment
that was not reset, which its own environment counts. ``OPENENV_TEST_CUTS`` sets how many cuts a client gets.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import websocket

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import EndpointUnreachableError, ResetNeededError, SessionLostError
from tests.support.peer import peer_python, peer_server
from tests.support.proxy import FaultProxy

CUTS = int(os.environ.get("OPENENV_TEST_CUTS", "60"))
BYTES_PER_CUT = 3_000  # a step is about 200
SERVER = Path(__file__).with_name("peer_counter_server.py")

pytestmark = [
    pytest.mark.timeout(300 + CUTS),
]

T = TypeVar("T")


@pytest.fixture(scope="module")
def their_server() -> Iterator[str]:
    with peer_server(peer_python("gymnasium"), SERVER, "PORT") as base_url:
        yield base_url


@pytest.fixture
def proxy(their_server: str) -> Iterator[FaultProxy]:
    """Cuts connections. At the end, no step may have run before a reset."""
    with (
        no_step_before_a_reset(their_server),
        FaultProxy(their_server, faults={"cut": BYTES_PER_CUT}, max_faults=CUTS, seed=5) as between,
    ):
        yield between


def tally(base_url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{base_url}/tally", timeout=10) as answer:
        counts: dict[str, int] = json.load(answer)
        return counts


@contextmanager
def no_step_before_a_reset(base_url: str) -> Iterator[None]:
    """Lets the server end all sessions, then compares what it has counted."""
    before = tally(base_url)
    yield
    deadline = time.monotonic() + 20
    while (after := tally(base_url))["closed"] < after["made"]:
        assert time.monotonic() < deadline, f"sessions are left behind: {after}"
        time.sleep(0.05)
    assert after["steps"] > before["steps"]
    assert after["steps_before_reset"] == before["steps_before_reset"]


class Losses:
    """Tries again what a cut has hindered, and counts."""

    def __init__(self) -> None:
        self.count = 0

    def until_done(self, work: Callable[[], T]) -> T:
        while True:
            try:
                return work()
            except (EndpointUnreachableError, SessionLostError):
                self.count += 1


def drive(
    proxy: FaultProxy,
    losses: Losses,
    reset: Callable[[], dict[str, Any]],
    step: Callable[[int], dict[str, Any]],
) -> int:
    """Plays until there have been all cuts, and checks each observation; returns the number of steps."""
    steps = word = 0
    while proxy.counts["cut"] < CUTS:
        first = losses.until_done(reset)
        assert (int(first["step"]), int(first["word"])) == (0, -1)
        try:
            for expected in range(1, 16):
                word = (word + 1) % 1000
                heard = step(word)
                assert {key: int(heard[key]) for key in heard if key != "metadata"} == {
                    "instance": int(first["instance"]),
                    "episode": int(first["episode"]),
                    "step": expected,
                    "word": word,
                }
                steps += 1
        except SessionLostError:
            losses.count += 1
            with pytest.raises((ResetNeededError, SessionLostError)):
                step(word)
    return steps


def test_the_server_counts_a_step_before_a_reset(their_server: str) -> None:
    before = tally(their_server)
    raw = websocket.create_connection(f"ws{their_server.removeprefix('http')}/ws", timeout=10)
    raw.send('{"type": "step", "data": {"word": 1}}')
    assert json.loads(raw.recv())["data"]["observation"]["step"] == 1
    raw.close()
    after = tally(their_server)
    assert after["steps_before_reset"] - before["steps_before_reset"] == 1


def test_each_loss_of_a_remote_env_is_reported(proxy: FaultProxy) -> None:
    losses = Losses()
    env = losses.until_done(lambda: RemoteEnv(proxy.base_url, step_timeout_s=10))
    steps = drive(proxy, losses, lambda: env.reset()[0], lambda word: env.step(np.array(word))[0])
    env.close()
    assert losses.count == proxy.counts["cut"] == CUTS
    print(f"RemoteEnv: {steps:,} steps, {CUTS:,} cuts, each reported")


def test_each_loss_of_a_plain_client_is_reported(proxy: FaultProxy) -> None:
    losses = Losses()
    with GenericEnvClient(proxy.base_url, message_timeout_s=10) as client:
        steps = drive(
            proxy,
            losses,
            lambda: client.reset().observation,
            lambda word: client.step({"word": word}).observation,
        )
    assert losses.count == proxy.counts["cut"] == CUTS
    print(f"GenericEnvClient: {steps:,} steps, {CUTS:,} cuts, each reported")


def test_each_loss_of_a_vector_environment_is_reported(proxy: FaultProxy) -> None:
    """A cut takes one slot, or several at a time; what the others observe stays right."""
    losses = Losses()
    slots = 4
    envs = losses.until_done(lambda: RemoteVectorEnv(proxy.base_url, slots, step_timeout_s=10))
    steps = lost_steps = 0
    while proxy.counts["cut"] < CUTS:
        first, _ = losses.until_done(envs.reset)
        assert first["step"].tolist() == [0] * slots
        try:
            for expected in range(1, 16):
                words = np.arange(slots) + 10 * expected
                heard, *_ = envs.step(words)
                assert heard["step"].tolist() == [expected] * slots
                assert heard["word"].tolist() == words.tolist()
                assert heard["instance"].tolist() == first["instance"].tolist()
                assert heard["episode"].tolist() == first["episode"].tolist()
                steps += slots
        except SessionLostError:
            lost_steps += 1
            with pytest.raises((ResetNeededError, SessionLostError)):
                envs.step(np.zeros(slots, np.int64))
    envs.close()
    assert lost_steps > 0
    assert losses.count + lost_steps <= proxy.counts["cut"] == CUTS
    told = losses.count + lost_steps
    print(f"RemoteVectorEnv: {steps:,} steps, {CUTS:,} cuts, reported by {told:,} calls")
