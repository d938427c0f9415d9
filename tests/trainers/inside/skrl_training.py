"""skrl trains on remote environments, with the weights of local ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import pytest
import torch
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.envs.wrappers.torch.gymnasium_envs import GymnasiumWrapper
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.model_instantiators.torch import categorical_model, deterministic_model, gaussian_model

import openenv_gym  # noqa: F401  # registers the names
from openenv_gym.wrappers import flatten_for_rl
from tests.trainers.inside.comparison import Trained, assert_all_the_same
from tests.trainers.inside.serving import Serve, serving

REMOTE = "openenv/remote"

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    train(partial(gym.make, "CartPole-v1"), 32)  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve


def train(make: Callable[[], Any], timesteps: int) -> Trained:
    """Train with PPO; render as skrl does by default, in each step."""
    set_seed(7)
    env = wrap_env(make(), verbose=False)
    spaces = {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "device": env.device,
    }
    network = [{"name": "net", "input": "OBSERVATIONS", "layers": [32, 32], "activations": "tanh"}]
    is_discrete = isinstance(env.action_space, gym.spaces.Discrete)
    policy = categorical_model if is_discrete else partial(gaussian_model, clip_actions=True)
    models = {
        "policy": policy(network=network, output="ACTIONS", **spaces),
        "value": deterministic_model(network=network, output="ONE", **spaces),
    }
    agent = PPO(
        models=models,
        memory=RandomMemory(memory_size=32, num_envs=env.num_envs, device=env.device),
        cfg={"rollouts": 32, "experiment": {"write_interval": 0, "checkpoint_interval": 0}},
        **spaces,
    )
    options = {"timesteps": timesteps, "disable_progressbar": True, "close_environment_at_exit": False}
    trainer = SequentialTrainer(env=env, agents=agent, cfg=options)
    begin = time.perf_counter()
    trainer.train()
    took = time.perf_counter() - begin
    env.close()
    weights = {
        f"{role}.{name}": weight
        for role, model in models.items()
        for name, weight in model.state_dict().items()
    }
    return Trained(weights, timesteps * env.num_envs / took)


@pytest.mark.parametrize("gym_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_single_environment_trains_the_same(gym_id: str, serve: Serve) -> None:
    trainings = {
        "local": partial(train, partial(gym.make, gym_id), 512),
        "remote": partial(train, partial(gym.make, REMOTE, base_url=serve(gym_id)), 512),
    }
    assert_all_the_same(f"PPO, {gym_id}, a single environment", trainings)


@pytest.mark.parametrize("gym_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_vector_environment_trains_the_same(gym_id: str, mode: str, serve: Serve) -> None:
    local = partial(
        gym.make_vec, gym_id, 4, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )
    remote = partial(gym.make_vec, REMOTE, 4, base_url=serve(gym_id), autoreset_mode=mode)
    trainings = {"local": partial(train, local, 256), "make_vec": partial(train, remote, 256)}
    assert_all_the_same(f"PPO, {gym_id}, {mode}", trainings)


def test_skrl_knows_every_remote_environment(serve: Serve) -> None:
    # It looks at the names of the direct base classes of an environment, and of what it wraps.
    keywords = {"base_url": serve("CartPole-v1")}
    for env, count in (
        (gym.make(REMOTE, **keywords), 1),
        (gym.make(REMOTE, **keywords).unwrapped, 1),
        (flatten_for_rl(gym.make(REMOTE, **keywords)), 1),
        (gym.make_vec(REMOTE, 2, **keywords), 2),
        (flatten_for_rl(gym.make_vec(REMOTE, 2, **keywords)), 2),
        (gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(REMOTE, 2, **keywords)), 2),
    ):
        wrapped = wrap_env(env, verbose=False)
        assert isinstance(wrapped, GymnasiumWrapper)
        assert wrapped.num_envs == count
        observations, _ = wrapped.reset()
        assert observations.shape == (count, 4)
        wrapped.close()
