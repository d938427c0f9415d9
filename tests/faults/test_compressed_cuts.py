"""Cuts while results are compressed: the trajectory is the uncut one."""

from __future__ import annotations

import os

import gymnasium as gym
import pytest

from openenv_gym import RemoteVectorEnv
from openenv_gym.session.link_speed import LinkSpeed
from openenv_gym.wire import compression
from tests.faults.test_resuming import patiently
from tests.support.film import Film, film_app
from tests.support.proxy import FaultProxy
from tests.support.servers import running
from tests.support.vectors import assert_equal

SLOTS = 4
CUTS = int(os.environ.get("OPENENV_TEST_CUTS", "60")) // 3


@pytest.mark.timeout(1800)
def test_frames_through_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    decompressed = 0
    decompress = compression.decompress

    def count(*arguments: object) -> memoryview:
        nonlocal decompressed
        decompressed += 1
        return decompress(*arguments)

    monkeypatch.setattr(LinkSpeed, "is_slow", lambda *_: True)
    monkeypatch.setattr(compression, "decompress", count)
    local = gym.vector.SyncVectorEnv([Film] * SLOTS)
    local.action_space.seed(1)
    steps = 0
    with (
        running(film_app()) as base_url,
        FaultProxy(base_url, faults={"cut": 5_000, "half_close": 30_000, "split": 20_000}, seed=5) as proxy,
    ):
        remote = patiently(lambda: RemoteVectorEnv(proxy.base_url, SLOTS))
        assert_equal(local.reset(seed=9), patiently(lambda: remote.reset(seed=9)))
        while proxy.counts["cut"] < CUTS:
            actions = local.action_space.sample()
            assert_equal(local.step(actions), remote.step(actions), f"step {steps}")
            steps += 1
        remote.close()
    assert decompressed > steps
    print(f"{steps} vector steps, {dict(proxy.counts)}")
