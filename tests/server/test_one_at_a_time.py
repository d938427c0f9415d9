"""Gymnasium environments of one process never run at the same time, unless their class allows it."""

from __future__ import annotations

import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import OpenEnvError
from tests.support.servers import running, without_v2


class Overlapping(gym.Env[Any, Any]):
    """Counts the calls that run at the same time, over all instances."""

    observation_space = spaces.Box(0, np.inf, (), np.float64)
    action_space = spaces.Discrete(2)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}
    render_mode = "rgb_array"
    call_s: ClassVar[float] = 0.002
    hangs: ClassVar[threading.Event] = threading.Event()
    inside: ClassVar[int] = 0
    most: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._work()

    def _work(self) -> float:
        kind = Overlapping
        with kind.lock:
            kind.inside += 1
            kind.most = max(kind.most, kind.inside)
        time.sleep(self.call_s)
        with kind.lock:
            kind.inside -= 1
        return float(kind.most)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.array(self._work()), {}

    def step(self, action: Any) -> Any:
        if action == 1:
            self.hangs.wait(20)
        return np.array(self._work()), 0.0, False, False, {}

    def render(self) -> Any:
        self._work()
        return np.zeros((2, 2, 3), np.uint8)

    def close(self) -> None:
        self._work()


class Independent(Overlapping):
    SUPPORTS_CONCURRENT_SESSIONS = True


class Quick(Overlapping):
    call_s = 0.0002  # fast enough that the connection's own thread takes its steps


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    Overlapping.inside = Overlapping.most = 0
    Overlapping.hangs.clear()


MODES = {True: "rgb_array", False: None}


def app_of(kind: type[Overlapping], **keywords: Any) -> Any:
    factory, models = gymnasium_factory(kind)
    return create_app(factory, models.action, models.observation, **keywords)


def play_vector(base_url: str, renders: bool) -> None:
    with closing(RemoteVectorEnv(base_url, num_envs=4, render_mode=MODES[renders])) as envs:
        envs.reset(seed=1)
        for _ in range(20):
            envs.step(np.zeros(4, np.int64))
        if renders:
            envs.render()
        envs.reset(seed=2)


def play_one(base_url: str, renders: bool) -> None:
    with closing(RemoteEnv(base_url, render_mode=MODES[renders])) as env:
        env.reset(seed=1)
        for _ in range(20):
            env.step(0)
        if renders:
            env.render()


@pytest.mark.parametrize("kind", [Overlapping, Quick])
@pytest.mark.parametrize("version", ["version 1", "version 2"])
def test_sessions_run_one_after_another(kind: type[Overlapping], version: str) -> None:
    app = app_of(kind)
    renders = version == "version 2"  # version 1 has no pictures
    with running(app if renders else without_v2(app)) as base_url, ThreadPoolExecutor(4) as pool:
        plays = [
            pool.submit(play, base_url, renders) for play in (play_vector, play_vector, play_one, play_one)
        ]
        for play in plays:
            play.result()
    assert Overlapping.most == 1


@pytest.mark.parametrize("version", ["version 1", "version 2"])
def test_an_author_may_allow_calls_at_the_same_time(version: str) -> None:
    app = app_of(Independent)
    with running(app if version == "version 2" else without_v2(app)) as base_url:
        play_vector(base_url, renders=False)
    assert Overlapping.most > 1


@pytest.mark.parametrize("version", ["version 1", "version 2"])
def test_one_that_hangs_is_given_up_and_the_others_go_on(version: str) -> None:
    app = app_of(Overlapping, step_timeout_s=0.5)
    with (
        running(app if version == "version 2" else without_v2(app)) as base_url,
        ThreadPoolExecutor(1) as pool,
        closing(RemoteEnv(base_url)) as stuck,
        closing(RemoteEnv(base_url)) as other,
    ):
        stuck.reset(seed=1)
        other.reset(seed=1)
        failing = pool.submit(stuck.step, 1)
        time.sleep(0.1)
        other.step(0)  # waits until the other one is given up
        with pytest.raises(OpenEnvError):
            failing.result()
        Overlapping.hangs.set()  # the stuck thread returns, and must not release a lock that others hold
        for _ in range(50):
            other.step(0)


def test_waiting_does_not_count_as_time_inside_the_environment() -> None:
    with running(app_of(Overlapping)) as base_url:
        play_vector(base_url, renders=False)
        with urllib.request.urlopen(f"{base_url}/metrics") as response:
            lines = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines())
    assert float(lines['openenv_step_seconds_count{worker="0"}']) == 80
    assert float(lines['openenv_step_seconds_sum{worker="0"}']) < 80 * 2 * Overlapping.call_s
