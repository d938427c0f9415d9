"""`recv(slots=…)` waits for exactly these slots, so that halves of a batch can take turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import RemoteEnvironmentError, UsageError, WaitTimeoutError
from tests.support.servers import running

FIRST, SECOND = [0, 1], [2, 3]


class Sleeper(gym.Env[Any, Any]):
    """Sleeps as many milliseconds as the action says; 999 raises."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        self.action_space = gym.spaces.Discrete(1000)
        self.observation_space = gym.spaces.Discrete(1000)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        if action == 999:
            raise ValueError("told to")
        time.sleep(action / 1000)
        return int(action), 1.0, False, False, {}


@pytest.fixture
def envs() -> Iterator[RemoteVectorEnv]:
    factory, models = gymnasium_factory(Sleeper)
    with running(create_app(factory, models.action, models.observation)) as base_url:
        envs = RemoteVectorEnv(base_url, 4)
        envs.reset(seed=0)
        yield envs
        envs.close()


def test_halves_take_turns(envs: RemoteVectorEnv) -> None:
    envs.send(np.array([30, 60]), FIRST)
    for turn in range(1, 6):
        envs.send(np.array([turn, turn]), SECOND)
        ready = envs.recv(slots=SECOND)  # although others may be ready
        assert ready.slots.tolist() == SECOND
        assert ready.observations.tolist() == [turn, turn]
    first = envs.recv(slots=FIRST)
    assert first.slots.tolist() == FIRST
    assert first.observations.tolist() == [30, 60]
    assert first.rewards.tolist() == [1.0, 1.0]


def test_others_that_are_ready_first_stay_for_later(envs: RemoteVectorEnv) -> None:
    envs.send(np.array([200, 1, 2, 3]))
    assert envs.recv(slots=[0]).observations.tolist() == [200]
    others = envs.recv(min_ready=3)
    assert others.slots.tolist() == [1, 2, 3]
    assert others.observations.tolist() == [1, 2, 3]


def test_nothing_is_lost_if_they_are_not_ready_in_time(envs: RemoteVectorEnv) -> None:
    envs.send(np.array([300, 1]), FIRST)
    with pytest.raises(WaitTimeoutError):
        envs.recv(slots=FIRST, timeout_s=0.05)
    assert envs.recv(slots=FIRST).observations.tolist() == [300, 1]


def test_an_error_of_others_is_theirs(envs: RemoteVectorEnv) -> None:
    envs.send(np.array([999, 20, 1, 1]))
    assert envs.recv(slots=SECOND).observations.tolist() == [1, 1]
    assert envs.recv(slots=[1]).observations.tolist() == [20]
    with pytest.raises(RemoteEnvironmentError, match="told to") as failed:
        envs.recv(slots=[0])
    assert tuple(failed.value.slots) == (0,)
    envs.send(np.array([5]), [0])
    assert envs.recv(slots=[0]).observations.tolist() == [5]


def test_slots_without_a_step_are_named(envs: RemoteVectorEnv) -> None:
    envs.send(np.array([1]), [2])
    with pytest.raises(UsageError, match="Nothing is pending for slots 1 and 3"):
        envs.recv(slots=[1, 2, 3])
    assert envs.recv(slots=[2]).slots.tolist() == [2]
    with pytest.raises(UsageError, match=r"there are no slots \[7\]"):
        envs.recv(slots=[7])
    with pytest.raises(UsageError, match=r"twice: \[2, 2\]"):
        envs.recv(slots=[2, 2])
