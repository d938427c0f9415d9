"""Ctrl-C at each moment of a step: no answer is taken for another request's, and nothing waits for ever."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from openenv_server import create_app

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ResetNeededError, SessionLostError, UsageError
from tests.support.napper import Nap, Napper, Slept
from tests.support.servers import running, without_v2

TIMES = 150


@pytest.fixture(scope="module", params=["v1", "v2"])
def napping(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=2000)
    with running(without_v2(app) if request.param == "v1" else app) as base_url:
        yield base_url


class Interrupt:
    """Interrupts what runs within, as Ctrl-C does, after so many seconds."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s

    def __enter__(self) -> None:
        self._old = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, self._after_s)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._old)


def interrupted_everywhere(run: Callable[[], Any]) -> Iterator[float]:
    """Runs it again and again, each time interrupted a little later; gives the time, in seconds."""
    begin = time.perf_counter()
    run()
    takes_s = time.perf_counter() - begin
    for nth in range(TIMES):
        after_s = 1e-6 + 1.5 * takes_s * nth / TIMES
        with contextlib.suppress(KeyboardInterrupt), Interrupt(after_s):
            run()
        yield after_s


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
    for moment in interrupted_everywhere(lambda: envs.step(np.full(2, 1e-4))):
        assert set(receive_all(envs)) <= {1e-4}, moment
        assert envs.reset()[0].tolist() == [0, 0], moment
        observations, _, _, _, infos = envs.step(np.array([2e-4, 3e-4]))
        assert (observations.tolist(), infos["slept"].tolist()) == ([1, 1], [2e-4, 3e-4]), moment
    envs.close()


def test_a_reset_of_some(napping: str) -> None:
    envs = RemoteVectorEnv(napping, 3)
    envs.reset()

    def run() -> None:
        envs.send(np.full(1, 1e-4), [2])
        envs.reset(options={"reset_mask": np.array([True, True, False])})
        envs.recv()

    for moment in interrupted_everywhere(run):
        assert set(receive_all(envs)) <= {1e-4}, moment
        assert envs.reset()[0].tolist() == [0, 0, 0], moment
        observations, _, _, _, infos = envs.step(np.array([2e-4, 3e-4, 4e-4]))
        assert (observations.tolist(), infos["slept"].tolist()) == ([1, 1, 1], [2e-4, 3e-4, 4e-4]), moment
    envs.close()


def test_a_step_of_one(napping: str) -> None:
    env = RemoteEnv(napping)
    env.reset()
    for moment in interrupted_everywhere(lambda: env.step(np.array(1e-4))):
        try:
            assert env.step(np.array(2e-4))[4]["slept"] == 2e-4, moment
        except (ResetNeededError, SessionLostError):
            assert env.reset()[0] == 0, moment
            assert env.step(np.array(3e-4))[4]["slept"] == 3e-4, moment
    env.close()


def test_a_reset_of_one(napping: str) -> None:
    env = RemoteEnv(napping)
    for moment in interrupted_everywhere(lambda: env.reset(seed=1)):
        assert env.reset(seed=2)[1]["seed"] == 2, moment
        assert env.step(np.array(3e-4))[4]["slept"] == 3e-4, moment
    env.close()


def test_a_state_of_one(napping: str) -> None:
    envs = RemoteVectorEnv(napping, 1)
    envs.reset()
    for moment in interrupted_everywhere(lambda: envs.get_attr("state")):
        try:
            assert envs.step(np.array([2e-4]))[4]["slept"].tolist() == [2e-4], moment
        except SessionLostError:
            envs.reset()
    envs.close()
