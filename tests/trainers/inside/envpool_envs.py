"""EnvPool's environments, served, are EnvPool's environments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import envpool
import gymnasium as gym
import numpy as np
import pytest
from openenv_server.envpool_environments import EnvPoolMaker

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import ConfigurationError, OpenEnvError

COUNT = 8


@contextmanager
def serving(*options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "openenv_cli", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()
            server.wait(20)


def local(env_id: str, seed: int) -> Any:
    return envpool.make_gymnasium(env_id, num_envs=COUNT, seed=seed)


@pytest.mark.parametrize(("env_id", "steps"), [("CartPole-v1", 5000), ("Pendulum-v1", 500), ("Pong-v5", 100)])
def test_episodes_are_those_of_the_local_pool(env_id: str, steps: int) -> None:
    with serving("--envpool", env_id) as base_url:
        remote = RemoteVectorEnv(base_url, COUNT)
        pool = local(env_id, 3)
        np.testing.assert_array_equal(remote.reset(seed=3)[0], pool.reset()[0])
        remote.action_space.seed(1)
        ended = 0
        for _ in range(steps):
            actions = remote.action_space.sample()
            expected = pool.step(actions.astype(pool.action_space.dtype))
            found = remote.step(actions)
            for one, other in zip(found[:4], expected[:4], strict=True):
                np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(found[4]["elapsed_step"], expected[4]["elapsed_step"])
            ended += int((found[2] | found[3]).sum())
        assert ended > 100 or env_id != "CartPole-v1"
        np.testing.assert_array_equal(remote.reset(seed=9)[0], local(env_id, 9).reset()[0])
        remote.close()


def test_a_single_environment_and_what_is_refused() -> None:
    with serving("--envpool", "CartPole-v1") as base_url:
        env = gym.make("openenv_gym:openenv/remote", base_url=base_url)
        observation, _ = env.reset(seed=3)
        np.testing.assert_array_equal(observation, local("CartPole-v1", 3).reset()[0][0])
        assert env.step(0)[1] == 1.0
        with pytest.raises(OpenEnvError, match="EnvPool takes no options for a reset, got low"):
            env.reset(options={"low": 1})
        env.close()
    with pytest.raises(ConfigurationError, match="EnvPool cannot make NoSuch-v1"):
        EnvPoolMaker("NoSuch-v1")
