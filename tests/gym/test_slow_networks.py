"""Frames over networks of different speeds: compressed on slow ones, and equal on all."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ProtocolError
from openenv_gym.session.link_speed import LinkSpeed
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.wire import compression
from tests.support.film import FRAME_BYTES, Film, film_app
from tests.support.proxy import FaultProxy
from tests.support.servers import running
from tests.support.vectors import assert_equal

HUNDRED_MBIT = 12.5e6
SLOTS = 4


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running(film_app()) as base_url:
        yield base_url


def bytes_of_steps(base_url: str, bytes_per_s: float, steps: int) -> int:
    """What the steps after the first few take on the network, which are equal to local ones."""
    local = gym.vector.SyncVectorEnv([Film] * SLOTS)
    with FaultProxy(base_url, faults={}, bytes_per_s=bytes_per_s) as proxy:
        remote = RemoteVectorEnv(proxy.base_url, SLOTS)
        assert_equal(local.reset(seed=3), remote.reset(seed=3))
        local.action_space.seed(1)
        for step in range(steps + 3):
            if step == 3:
                before = proxy.counts["bytes"]
            actions = local.action_space.sample()
            assert_equal(local.step(actions), remote.step(actions), f"step {step}")
        remote.close()
        return proxy.counts["bytes"] - before


def test_frames_are_compressed_on_a_slow_network(base_url: str) -> None:
    assert bytes_of_steps(base_url, HUNDRED_MBIT, 10) < 10 * SLOTS * FRAME_BYTES / 20


def test_a_fast_network_gets_them_as_they_are(base_url: str) -> None:
    assert bytes_of_steps(base_url, math.inf, 10) > 10 * SLOTS * FRAME_BYTES


def test_one_session_has_compressed_frames_too(base_url: str) -> None:
    local = Film()
    with FaultProxy(base_url, faults={}, bytes_per_s=HUNDRED_MBIT) as proxy:
        remote = RemoteEnv(proxy.base_url)
        assert_equal(local.reset(seed=3), remote.reset(seed=3))
        for step in range(3):
            assert_equal(local.step(step), remote.step(np.int64(step)))
        before = proxy.counts["bytes"]
        for step in range(10):
            assert_equal(local.step(step % 5), remote.step(np.int64(step % 5)))
        remote.close()
        assert proxy.counts["bytes"] - before < 10 * FRAME_BYTES / 20


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_nothing_is_compressed_on_a_unix_socket(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    decompress = compression.decompress
    monkeypatch.setattr(LinkSpeed, "is_slow", lambda *_: True)
    monkeypatch.setattr(
        compression, "decompress", lambda *arguments: counts.append(1) or decompress(*arguments)
    )
    with FaultProxy(base_url, faults={}) as proxy:
        for address in (base_url, proxy.base_url):
            counts.clear()
            env = RemoteEnv(address)
            env.reset()
            env.step(np.int64(0))
            env.close()
            assert len(counts) == (0 if address == base_url else 2)


def test_a_client_whose_limit_is_lower_refuses_what_is_larger(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LinkSpeed, "is_slow", lambda *_: True)
    with FaultProxy(base_url, faults={}) as proxy:
        env = RemoteVectorEnv(proxy.base_url, SLOTS)
        init = BlockingConnection.__init__
        monkeypatch.setattr(
            BlockingConnection,
            "__init__",
            lambda *arguments, **keywords: init(*arguments, **{**keywords, "max_message_size": FRAME_BYTES}),
        )
        with pytest.raises(ProtocolError, match="at most 100,800 are allowed"):
            env.reset()
        env.close()
