"""AgileRL trains on remote environments, with the weights of local ones."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agilerl.algorithms import DQN, PPO, TD3
from agilerl.components.replay_buffer import ReplayBuffer
from agilerl.training.train_off_policy import train_off_policy
from agilerl.training.train_on_policy import train_on_policy
from agilerl.utils.utils import make_vect_envs

import openenv_gym  # noqa: F401  # registers the names
from tests.trainers.inside.comparison import Trained, assert_all_the_same
from tests.trainers.inside.serving import Serve, serving

NETWORK = {"encoder_config": {"hidden_size": [32]}, "head_config": {"hidden_size": [32]}}
STEPS = 512

Learn = Callable[[Any, dict[str, Any], dict[str, Any]], Any]

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    train(ppo, partial(gym.make, "CartPole-v1"))  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve


def ppo(env: Any, spaces: dict[str, Any], options: dict[str, Any]) -> PPO:
    count = getattr(env, "num_envs", 1)
    agent = PPO(**spaces, net_config=NETWORK, learn_step=128, num_envs=count)
    train_on_policy(env, "env", "PPO", [agent], **options)
    return agent


def dqn(env: Any, spaces: dict[str, Any], options: dict[str, Any]) -> DQN:
    agent = DQN(**spaces, net_config=NETWORK, batch_size=32)
    train_off_policy(env, "env", "DQN", [agent], ReplayBuffer(max_size=1000), **options)
    return agent


def td3(env: Any, spaces: dict[str, Any], options: dict[str, Any]) -> TD3:
    agent = TD3(**spaces, net_config=NETWORK, batch_size=32, vect_noise_dim=getattr(env, "num_envs", 1))
    train_off_policy(env, "env", "TD3", [agent], ReplayBuffer(max_size=1000), **options)
    return agent


def train(learn: Learn, make: Callable[[], Any]) -> Trained:
    """Train one agent; AgileRL closes the environment at the end."""
    env = make()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    env.reset(seed=7)  # AgileRL gives no seeds
    is_vector = isinstance(env, gym.vector.VectorEnv)
    spaces = {
        "observation_space": env.single_observation_space if is_vector else env.observation_space,
        "action_space": env.single_action_space if is_vector else env.action_space,
    }
    options = {"max_steps": STEPS, "evo_steps": STEPS, "eval_steps": 50, "verbose": False}
    begin = time.perf_counter()
    agent = learn(env, spaces, options)
    took = time.perf_counter() - begin
    weights = {
        f"{name}.{part}": weight
        for name, network in agent.evolvable_attributes(networks_only=True).items()
        for part, weight in network.state_dict().items()
    }
    return Trained(weights, STEPS / took)


ALGORITHMS = [(dqn, "CartPole-v1"), (ppo, "CartPole-v1"), (ppo, "Pendulum-v1"), (td3, "Pendulum-v1")]


@pytest.mark.parametrize(("learn", "gym_id"), ALGORITHMS)
def test_a_single_environment_trains_the_same(learn: Learn, gym_id: str, serve: Serve) -> None:
    remote = partial(gym.make, "openenv/remote", base_url=serve(gym_id))
    kinds = {"local": partial(gym.make, gym_id), "remote": remote}
    trainings = {kind: partial(train, learn, make) for kind, make in kinds.items()}
    assert_all_the_same(f"{learn.__name__}, {gym_id}, a single environment", trainings)


@pytest.mark.parametrize(("learn", "gym_id"), ALGORITHMS)
def test_a_vector_environment_trains_the_same(learn: Learn, gym_id: str, serve: Serve) -> None:
    base_url = serve(gym_id)
    remote = partial(make_vect_envs, "openenv_gym:openenv/remote", 4, base_url=base_url)
    kinds: dict[str, Callable[[], Any]] = {
        "local": partial(make_vect_envs, gym_id, 4, should_async_vector=False),
        "make_vec": partial(gym.make_vec, "openenv/remote", 4, base_url=base_url),
        "make_vect_envs, sync": partial(remote, should_async_vector=False),
        "make_vect_envs, async": partial(remote, should_async_vector=True),
    }
    trainings = {kind: partial(train, learn, make) for kind, make in kinds.items()}
    assert_all_the_same(f"{learn.__name__}, {gym_id}", trainings)
