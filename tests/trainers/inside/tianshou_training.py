"""Tianshou trains on remote environments, with the weights of local ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from tianshou.data import Collector
from tianshou.env import DummyVectorEnv, SubprocVectorEnv
from tianshou.highlevel.config import OffPolicyTrainingConfig, OnPolicyTrainingConfig
from tianshou.highlevel.env import EnvFactoryRegistered, EnvMode, VectorEnvType
from tianshou.highlevel.experiment import (
    DQNExperimentBuilder,
    Experiment,
    ExperimentConfig,
    PPOExperimentBuilder,
)
from tianshou.highlevel.params.algorithm_params import DQNParams, PPOParams

from tests.trainers.inside.comparison import Trained, assert_all_the_same
from tests.trainers.inside.serving import Serve, serving

REMOTE = "openenv_gym:openenv/remote"
CONFIG = ExperimentConfig(seed=7, watch=False, persistence_enabled=False)
DUMMY = VectorEnvType.DUMMY

Build = Callable[[EnvFactoryRegistered], Experiment]

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    train(dqn, EnvFactoryRegistered(task="CartPole-v1", venv_type=DUMMY))  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve


def dqn(envs: EnvFactoryRegistered) -> Experiment:
    training = OffPolicyTrainingConfig(
        max_epochs=1,
        epoch_num_steps=400,
        num_training_envs=2,
        num_test_envs=1,
        collection_step_num_env_steps=8,
        update_step_num_gradient_steps_per_sample=0.25,
    )
    params = DQNParams(eps_training=0.2, target_update_freq=20)
    return (
        DQNExperimentBuilder(envs, CONFIG, training)
        .with_dqn_params(params)
        .with_model_factory_default((32, 32))
        .build()
    )


def ppo(envs: EnvFactoryRegistered) -> Experiment:
    training = OnPolicyTrainingConfig(
        max_epochs=1,
        epoch_num_steps=400,
        num_training_envs=2,
        num_test_envs=1,
        collection_step_num_env_steps=200,
        update_step_num_repetitions=2,
    )
    return (
        PPOExperimentBuilder(envs, CONFIG, training)
        .with_ppo_params(PPOParams(gae_lambda=0.9))
        .with_actor_factory_default((32, 32), continuous_unbounded=True)
        .with_critic_factory_default((32, 32))
        .build()
    )


def train(build: Build, envs: EnvFactoryRegistered) -> Trained:
    world = build(envs).create_experiment_world()
    begin = time.perf_counter()
    stats = world.trainer.run()
    took = time.perf_counter() - begin
    world.envs.training_envs.close()
    world.envs.test_envs.close()
    world.envs.env.close()
    return Trained(dict(world.algorithm.named_parameters()), (stats.train_step + stats.test_step) / took)


@pytest.mark.parametrize(
    ("gym_id", "build"), [("CartPole-v1", dqn), ("CartPole-v1", ppo), ("Pendulum-v1", ppo)]
)
def test_the_weights_are_those_of_local_training(gym_id: str, build: Build, serve: Serve) -> None:
    remote = partial(EnvFactoryRegistered, task=REMOTE, base_url=serve(gym_id))
    kinds = {
        "local": EnvFactoryRegistered(task=gym_id, venv_type=DUMMY),
        "DummyVectorEnv": remote(venv_type=DUMMY),
        "SubprocVectorEnv": remote(venv_type=VectorEnvType.SUBPROC),
        "ShmemVectorEnv": remote(venv_type=VectorEnvType.SUBPROC_SHARED_MEM_AUTO),
    }
    trainings = {kind: partial(train, build, envs) for kind, envs in kinds.items()}
    assert_all_the_same(f"{build.__name__}, {gym_id}", trainings)


@pytest.mark.parametrize("gym_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_single_environment_collects_the_same(gym_id: str, serve: Serve) -> None:
    collected = []
    for factory in (
        EnvFactoryRegistered(task=gym_id, venv_type=DUMMY),
        EnvFactoryRegistered(task=REMOTE, base_url=serve(gym_id), venv_type=DUMMY),
    ):
        torch.manual_seed(7)
        policy = ppo(factory).create_experiment_world(reset_collectors=False).algorithm
        env = factory.create_env(EnvMode.TRAINING)
        collector = Collector(policy, env)
        collector.reset(gym_reset_kwargs={"seed": 3})
        collector.collect(n_step=220)
        batch, _ = collector.buffer.sample(0)  # all of it
        collected.append(batch)
        env.close()
    one, other = collected
    assert len(one) == len(other) == 220
    assert (one.terminated | one.truncated).any()
    for name in ("obs", "act", "rew", "terminated", "truncated", "obs_next"):
        np.testing.assert_array_equal(one[name], other[name])


def test_children_that_have_imported_nothing_play_too(serve: Serve) -> None:
    remote = partial(gym.make, REMOTE, base_url=serve("CartPole-v1"))
    ours = SubprocVectorEnv([remote] * 2, share_memory=True, context="spawn")
    theirs = DummyVectorEnv([partial(gym.make, "CartPole-v1")] * 2)
    for env in (ours, theirs):
        env.seed(5)
    for _ in range(30):
        actions = np.array([0, 1])
        *one, infos = ours.step(actions)
        *other, _ = theirs.step(actions)
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
        assert [info["env_id"] for info in infos] == [0, 1]
        for env in (ours, theirs):
            if (ended := np.flatnonzero(one[2])).size:
                env.reset(ended)
    ours.close()
    theirs.close()
