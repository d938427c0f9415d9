"""Cuts in the middle of a run over version 2: the trajectory is the uncut one, no step is lost or done twice.

``OPENENV_TEST_STEPS`` and ``OPENENV_TEST_CUTS`` set the size: steps in all, and cuts at the least.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import EndpointUnreachableError, NotAnOpenEnvServerError
from tests.support.proxy import FaultProxy, Kind
from tests.support.servers import running
from tests.support.tls import WAYS, Way, cutting_proxy, trusted_certificate
from tests.support.vectors import assert_equal

T = TypeVar("T")
STEPS = int(os.environ.get("OPENENV_TEST_STEPS", "600"))
CUTS = int(os.environ.get("OPENENV_TEST_CUTS", "60"))


class Walk(gym.Env[Any, Any]):
    """A random walk that depends on every action and on its seed; counts all steps that were ever taken."""

    steps_taken = 0

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (20,), np.float64)
        self.action_space = spaces.Discrete(5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._place = self.np_random.normal(size=20)
        return self._place.copy(), {}

    def step(self, action: Any) -> Any:
        type(self).steps_taken += 1
        self._place += self.np_random.normal(size=20) * (1 + action)
        return self._place.copy(), float(self._place[0]), bool(self.np_random.random() < 0.03), False, {}


class Served(Walk):
    """The walk that is served, with a separate count."""

    steps_taken = 0


@pytest.fixture
def walking() -> Iterator[str]:
    factory, models = gymnasium_factory(Served)
    with running(create_app(factory, models.action, models.observation)) as base_url:
        Walk.steps_taken = Served.steps_taken = 0
        yield base_url


# How many bytes there are between two faults of a kind, for about one cut in ten steps.
def faults(slots: int) -> dict[Kind, float]:
    bytes_a_step = 700 if slots == 1 else 4500
    return {
        "cut": bytes_a_step * STEPS / CUTS * 0.6,
        "half_close": bytes_a_step * STEPS / CUTS * 3,
        "stall": bytes_a_step * 300,
        "split": bytes_a_step * 20,
        "delay": bytes_a_step * 20,
    }


def patiently(connect: Callable[[], T]) -> T:
    """Connects. A first connection that is cut is an error, and nothing is lost with it."""
    for _ in range(20):
        with contextlib.suppress(EndpointUnreachableError, NotAnOpenEnvServerError):
            return connect()
    raise AssertionError("no connection came about")


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_a_single_session(walking: str) -> None:
    with FaultProxy(walking, faults=faults(1), seed=3) as proxy:
        walk_through_cuts(proxy)


@pytest.fixture(params=["gateway", "server"])
def tls_proxy(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    """A cutting proxy that is reached over TLS.

    The cuts are behind a gateway that terminates TLS, or in the middle of the server's TLS records.
    """
    factory, models = gymnasium_factory(Served)
    app = create_app(factory, models.action, models.observation)
    Walk.steps_taken = Served.steps_taken = 0
    if request.param == "gateway":
        with running(app) as base_url, cutting_proxy(base_url, "TLS", faults=faults(1), seed=3) as proxy:
            yield proxy
        return
    with (
        trusted_certificate() as certificate,
        running(app, ssl_keyfile=str(certificate), ssl_certfile=str(certificate)) as base_url,
        FaultProxy(base_url, faults=faults(1), seed=3) as proxy,
    ):
        proxy.base_url = proxy.base_url.replace("http:", "https:")
        yield proxy


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_single_session_over_tls(tls_proxy: FaultProxy) -> None:
    walk_through_cuts(tls_proxy)


def test_cuts_between_two_steps_over_tls(tls_proxy: FaultProxy) -> None:
    """The keepalive thread may have seen the end of the connection when the next step is sent."""
    tls_proxy.faults.clear()
    local, remote = Walk(), RemoteEnv(tls_proxy.base_url)
    assert_equal(local.reset(seed=4), remote.reset(seed=4))
    for cut in range(6):
        tls_proxy.cut()
        time.sleep(0.1 * cut)
        assert_equal(local.step(cut % 5), remote.step(np.int64(cut % 5)), f"cut {cut}")
    remote.close()


def walk_through_cuts(proxy: FaultProxy) -> None:
    """Compare a remote walk with a local one, step by step, until there were enough steps and cuts."""
    local = Walk()
    steps = 0
    remote = patiently(lambda: RemoteEnv(proxy.base_url))
    rng = np.random.default_rng(0)
    while steps < STEPS or proxy.counts["cut"] < CUTS:
        seed = int(rng.integers(1000))
        expected = local.reset(seed=seed)
        assert_equal(expected, patiently(lambda seed=seed: remote.reset(seed=seed)))
        ended = False
        while not ended:
            action = rng.integers(5)
            expected, actual = local.step(action), remote.step(action)
            assert_equal(expected, actual, f"step {steps}")
            ended = expected[2]
            steps += 1
    counts = dict(proxy.counts)
    remote.close()
    assert counts["cut"] >= CUTS
    assert Served.steps_taken == Walk.steps_taken == steps
    print(f"{steps} steps, {counts}")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", gym.vector.AutoresetMode)
def test_sixteen_slots(walking: str, mode: gym.vector.AutoresetMode, way: Way) -> None:
    local = gym.vector.SyncVectorEnv([Walk] * 16, autoreset_mode=mode)
    steps = 0
    with cutting_proxy(walking, way, faults=faults(16), seed=5) as proxy:
        remote = patiently(lambda: RemoteVectorEnv(proxy.base_url, 16, autoreset_mode=mode))
        local.action_space.seed(1)
        assert_equal(local.reset(seed=9), patiently(lambda: remote.reset(seed=9)))
        while steps < STEPS // 3 or proxy.counts["cut"] < CUTS // 3:
            actions = local.action_space.sample()
            expected, actual = local.step(actions), remote.step(actions)
            assert_equal(expected, actual, f"step {steps}")
            steps += 1
            if mode is gym.vector.AutoresetMode.DISABLED and expected[2].any():
                mask = {"reset_mask": expected[2].copy()}
                assert_equal(local.reset(options=dict(mask)), remote.reset(options=dict(mask)))
        counts = dict(proxy.counts)
        remote.close()
        local.close()
    assert counts["cut"] >= CUTS // 3
    assert Served.steps_taken == Walk.steps_taken
    print(f"{steps} vector steps, {counts}")
