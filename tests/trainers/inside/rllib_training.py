"""RLlib trains on remote environments, with the weights of local ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.tune.registry import register_env

from openenv_gym.wrappers import flatten_for_rl
from tests.trainers.inside.comparison import Trained, assert_all_the_same
from tests.trainers.inside.serving import Serve, serving

REMOTE = "openenv_gym:openenv/remote"
GUESS = "tests.trainers.environments:Guess-v0"
# How a runner makes its environments: one by one, or all with one connection.
WAYS = ("sync", "vector_entry_point")

torch.set_num_threads(1)


def start_ray() -> None:
    """Start Ray; try again, because it waits only 30 s for its processes, and other tests run beside it."""
    for attempts_left in (2, 1, 0):
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception:
            ray.shutdown()
            if not attempts_left:
                raise


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    start_ray()
    train(ppo(64), "CartPole-v1", {}, 1)  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve
    ray.shutdown()


def ppo(batch: int) -> AlgorithmConfig:
    return PPOConfig().training(train_batch_size_per_learner=batch, minibatch_size=64, num_epochs=2)


def sac() -> AlgorithmConfig:
    config = SACConfig().training(
        train_batch_size_per_learner=32,
        num_steps_sampled_before_learning_starts=64,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1_000},
    )
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=64)
    return config.env_runners(rollout_fragment_length=8)


def train(config: AlgorithmConfig, env: str, env_config: dict[str, Any], iterations: int) -> Trained:
    """Train a model; return its weights, and the steps of environments per second."""
    config = config.copy().environment(env, env_config=env_config).debugging(seed=7, log_level="ERROR")
    algorithm = config.env_runners(num_cpus_per_env_runner=0).build_algo()
    buffer = getattr(algorithm, "local_replay_buffer", None)
    if buffer is not None:
        buffer.rng = np.random.default_rng(7)  # RLlib does not seed it
    begin = time.perf_counter()
    for _ in range(iterations):
        result = algorithm.train()
    took = time.perf_counter() - begin
    weights = algorithm.get_module().get_state()
    algorithm.stop()
    return Trained(weights, result["num_env_steps_sampled_lifetime"] / took)


@pytest.mark.parametrize(
    ("gym_id", "runners"), [("CartPole-v1", 0), ("CartPole-v1", 2), ("LunarLander-v3", 0)]
)
def test_ppo_has_the_weights_of_local_training(gym_id: str, runners: int, serve: Serve) -> None:
    config = ppo(512).env_runners(num_env_runners=runners, num_envs_per_env_runner=4)
    trainings = {"local": partial(train, config, gym_id, {}, 3)}
    for way in WAYS:
        config = config.copy().env_runners(gym_env_vectorize_mode=way)
        trainings[way] = partial(train, config, REMOTE, {"base_url": serve(gym_id)}, 3)
    assert_all_the_same(f"PPO, {gym_id}, {runners} runners", trainings)


def test_sac_has_the_weights_of_local_training(serve: Serve) -> None:
    trainings = {"local": partial(train, sac(), "Pendulum-v1", {}, 3)}
    for way in WAYS:
        config = sac().env_runners(gym_env_vectorize_mode=way)
        trainings[way] = partial(train, config, REMOTE, {"base_url": serve("Pendulum-v1")}, 3)
    assert_all_the_same("SAC, Pendulum-v1", trainings)


def test_any_environment_trains_with_flat_spaces(serve: Serve) -> None:
    register_env("local", lambda config: flatten_for_rl(gym.make(GUESS)))
    register_env("remote", lambda config: flatten_for_rl(gym.make(REMOTE, **config)))
    trainings = {
        "local": partial(train, ppo(64), "local", {}, 2),
        "remote": partial(train, ppo(64), "remote", {"base_url": serve(GUESS)}, 2),
    }
    assert_all_the_same("PPO, texts", trainings)


def test_ppo_learns_to_balance_the_pole(serve: Serve) -> None:
    config = ppo(1024).training(minibatch_size=128, num_epochs=10, lr=1e-3, gamma=0.98, lambda_=0.8)
    config.environment(REMOTE, env_config={"base_url": serve("CartPole-v1")})
    config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=16, gym_env_vectorize_mode="vector_entry_point"
    )
    algorithm = config.debugging(seed=1, log_level="ERROR").build_algo()
    for _ in range(12):
        result = algorithm.train()
    mean = result["env_runners"]["episode_return_mean"]
    print(f"PPO, CartPole-v1: a return of {mean:.0f}")
    assert mean > 80
    algorithm.stop()
