"""Ctrl-C after each call of a step: no answer is taken for another request's, and nothing waits for ever."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from openenv_server import create_app

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ResetNeededError, SessionLostError, UsageError
from tests.support.napper import Nap, Napper, Slept
from tests.support.servers import running, without_v2


@pytest.fixture(scope="module", params=["v1", "v2"])
def napping(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=2000)
    with running(without_v2(app) if request.param == "v1" else app) as base_url:
        yield base_url


class Interrupt:
    """Raises KeyboardInterrupt after the nth call within, where Python itself looks for signals."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __enter__(self) -> Interrupt:
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event not in ("return", "c_return") or "/openenv_gym/" not in name:
            return
        if name.endswith("patience.py"):  # which looks for an answer in calls without number
            return
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def interrupted_everywhere(run: Callable[[], Any]) -> Iterator[int]:
    """Runs it again and again, each time interrupted one call later; gives the call's number."""
    nth = 0
    while True:
        nth += 1
        try:
            with Interrupt(nth) as interrupt:
                run()
        except KeyboardInterrupt:
            pass
        if interrupt.left > 0:
            return
        yield nth


def receive_all(envs: RemoteVectorEnv) -> list[float]:
    """What all slots slept that owe an answer and are not lost."""
    slept: list[float] = []
    while True:
        try:
            ready = envs.recv(timeout_s=5)
            if "slept" in ready.infos:  # what was received may be a reset
                slept += ready.infos["slept"][ready.infos["_slept"]].tolist()
        except SessionLostError:
            continue
        except UsageError:
            return slept


@pytest.mark.parametrize("on_session_lost", ["raise", "truncate"])
@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_step_of_many(napping: str, mode: AutoresetMode, on_session_lost: Any) -> None:
    envs = RemoteVectorEnv(
        napping, 2, autoreset_mode=mode, on_session_lost=on_session_lost, max_episode_steps=2
    )
    envs.reset()
    envs.step(np.zeros(2))
    for nth in interrupted_everywhere(lambda: envs.step(np.full(2, 1e-4))):
        assert set(receive_all(envs)) <= {1e-4}, nth
        assert envs.reset()[0].tolist() == [0, 0], nth
        observations, _, _, _, infos = envs.step(np.array([2e-4, 3e-4]))
        assert (observations.tolist(), infos["slept"].tolist()) == ([1, 1], [2e-4, 3e-4]), nth
    envs.close()


def test_a_reset_of_some(napping: str) -> None:
    envs = RemoteVectorEnv(napping, 3)
    envs.reset()

    def run() -> None:
        envs.send(np.full(1, 1e-4), [2])
        envs.reset(options={"reset_mask": np.array([True, True, False])})
        envs.recv()

    for nth in interrupted_everywhere(run):
        assert set(receive_all(envs)) <= {1e-4}, nth
        assert envs.reset()[0].tolist() == [0, 0, 0], nth
        observations, _, _, _, infos = envs.step(np.array([2e-4, 3e-4, 4e-4]))
        assert (observations.tolist(), infos["slept"].tolist()) == ([1, 1, 1], [2e-4, 3e-4, 4e-4]), nth
    envs.close()


def test_a_step_of_one(napping: str) -> None:
    env = RemoteEnv(napping)
    env.reset()
    for nth in interrupted_everywhere(lambda: env.step(np.array(1e-4))):
        try:
            assert env.step(np.array(2e-4))[4]["slept"] == 2e-4, nth
        except (ResetNeededError, SessionLostError):
            assert env.reset()[0] == 0, nth
            assert env.step(np.array(3e-4))[4]["slept"] == 3e-4, nth
    env.close()


def test_a_reset_of_one(napping: str) -> None:
    env = RemoteEnv(napping)
    for nth in interrupted_everywhere(lambda: env.reset(seed=1)):
        assert env.reset(seed=2)[1]["seed"] == 2, nth
        assert env.step(np.array(3e-4))[4]["slept"] == 3e-4, nth
    env.close()


def test_a_state_of_one(napping: str) -> None:
    envs = RemoteVectorEnv(napping, 1)
    envs.reset()
    for nth in interrupted_everywhere(lambda: envs.get_attr("state")):
        try:
            assert envs.step(np.array([2e-4]))[4]["slept"].tolist() == [2e-4], nth
        except SessionLostError:
            envs.reset()
    envs.close()
