"""Stable-Baselines3, sb3-contrib and rl-zoo3 train on remote environments, with the weights of local ones."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecMonitor, VecNormalize

from openenv_gym import RemoteVectorEnv
from openenv_gym.integrations.sb3 import RemoteVecEnv
from openenv_gym.wrappers import ActionMask, flatten_for_rl, vector
from tests.trainers.inside.comparison import Trained, assert_all_the_same
from tests.trainers.inside.serving import Serve, serving

CONNECT_FOUR = "tests.trainers.environments:ConnectFour-v0"
MIXED = "tests.trainers.environments:Mixed-v0"

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    PPO("MlpPolicy", gym.make("CartPole-v1"), n_steps=64).learn(64)  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve


def makers(
    gym_id: str, base_url: str, count: int, start_method: str = "fork"
) -> dict[str, Callable[[], VecEnv]]:
    """Return what makes each kind of vector environment, the local one first."""
    remote = partial(gym.make, "openenv_gym:openenv/remote", base_url=base_url)
    return {
        "local": lambda: DummyVecEnv([partial(gym.make, gym_id)] * count),
        "DummyVecEnv": lambda: DummyVecEnv([remote] * count),
        "SubprocVecEnv": lambda: SubprocVecEnv([remote] * count, start_method),
        "RemoteVecEnv": lambda: RemoteVecEnv(base_url, count),
    }


def train(make: Callable[[], VecEnv], learn: Callable[[VecEnv], Any]) -> Trained:
    env = make()
    begin = time.perf_counter()
    model = learn(env)
    took = time.perf_counter() - begin
    env.close()
    return Trained(model.policy.state_dict(), model.num_timesteps / took)


def trainings(
    kinds: dict[str, Callable[[], VecEnv]], learn: Callable[[VecEnv], Any]
) -> dict[str, Callable[[], Trained]]:
    return {kind: partial(train, make, learn) for kind, make in kinds.items()}


ALGORITHMS: dict[str, tuple[str, int, Callable[[VecEnv], Any]]] = {
    "PPO": ("CartPole-v1", 4, lambda env: PPO("MlpPolicy", env, n_steps=128, seed=7).learn(1024)),
    "DQN": (
        "CartPole-v1",
        2,
        lambda env: DQN("MlpPolicy", env, learning_starts=200, train_freq=4, seed=7).learn(800),
    ),
    "SAC": (
        "Pendulum-v1",
        1,
        lambda env: SAC("MlpPolicy", env, learning_starts=200, batch_size=64, seed=7).learn(400),
    ),
    "PPO, images": (
        MIXED,
        2,
        lambda env: PPO("MultiInputPolicy", env, n_steps=32, n_epochs=1, seed=7).learn(64),
    ),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_weights_are_those_of_local_training(name: str, serve: Serve) -> None:
    gym_id, count, learn = ALGORITHMS[name]
    assert_all_the_same(f"{name}, {gym_id}", trainings(makers(gym_id, serve(gym_id), count), learn))


def test_children_that_have_imported_nothing_train_too(serve: Serve) -> None:
    kinds = makers("CartPole-v1", serve("CartPole-v1"), 2, "spawn")
    del kinds["DummyVecEnv"], kinds["RemoteVecEnv"]

    def learn(env: VecEnv) -> PPO:
        return PPO("MlpPolicy", env, n_steps=64, seed=7).learn(128)

    assert_all_the_same("PPO, spawn", trainings(kinds, learn))


def test_normalized_rewards_train_the_same(serve: Serve) -> None:
    kinds = makers("Pendulum-v1", serve("Pendulum-v1"), 4)
    # SB3's own SubprocVecEnv has rewards of float64, its DummyVecEnv of float32.
    del kinds["SubprocVecEnv"]

    def learn(env: VecEnv) -> PPO:
        return PPO("MlpPolicy", VecNormalize(env), n_steps=128, seed=7).learn(1024)

    assert_all_the_same("PPO, normalized, Pendulum-v1", trainings(kinds, learn))


def test_ppo_learns_to_balance_the_pole(serve: Serve) -> None:
    env = VecMonitor(RemoteVecEnv(serve("CartPole-v1"), 16))
    options = {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20}
    model = PPO("MlpPolicy", env, learning_rate=1e-3, seed=1, **options).learn(16_000)
    mean, _ = evaluate_policy(model, env, 16)
    print(f"PPO, CartPole-v1: a return of {mean:.0f}")
    assert mean > 150
    env.close()


def masked_learn(env: VecEnv) -> MaskablePPO:
    return MaskablePPO("MlpPolicy", env, n_steps=64, batch_size=128, seed=7).learn(1024)


def test_maskable_ppo_has_the_weights_of_local_training(serve: Serve) -> None:
    base_url = serve(CONNECT_FOUR)
    kinds: dict[str, Callable[[], VecEnv]] = {
        "local": lambda: DummyVecEnv([lambda: ActionMask(gym.make(CONNECT_FOUR))] * 4),
        "DummyVecEnv": lambda: DummyVecEnv(
            [lambda: ActionMask(gym.make("openenv/remote", base_url=base_url))] * 4
        ),
        "RemoteVecEnv": lambda: RemoteVecEnv(base_url, 4),
        "RemoteVecEnv, ActionMask": lambda: RemoteVecEnv(
            vector.ActionMask(RemoteVectorEnv(base_url, 4, autoreset_mode="SameStep"))
        ),
    }
    assert_all_the_same("MaskablePPO, connect-four", trainings(kinds, masked_learn))


def test_maskable_ppo_learns_to_win(serve: Serve) -> None:
    env = VecMonitor(RemoteVecEnv(serve(CONNECT_FOUR), 16))
    model = MaskablePPO("MlpPolicy", env, n_steps=64, batch_size=256, learning_rate=1e-3, gamma=0.95, seed=1)
    before, _ = evaluate_masked(model, env, 50, deterministic=False)
    model.learn(12_000)
    after, _ = evaluate_masked(model, env, 100)
    print(f"MaskablePPO, connect-four: {before:.2f} before, {after:.2f} after")
    assert after > 0.6
    env.close()


def test_rl_zoo_has_the_weights_of_local_training(serve: Serve, tmp_path: Path) -> None:
    config = tmp_path / "ppo.yml"
    config.write_text(
        "".join(
            f"{env}:\n  n_envs: 2\n  n_timesteps: 1024\n  policy: MlpPolicy\n  n_steps: 128\n"
            for env in ("CartPole-v1", "openenv/remote")
        )
    )
    policies = []
    for env_id, options in (
        ("CartPole-v1", ()),
        (
            "openenv/remote",
            ("--gym-packages", "openenv_gym", "--env-kwargs", f"base_url:'{serve('CartPole-v1')}'"),
        ),
    ):
        folder = tmp_path / env_id.replace("/", "-")
        command = [
            "--algo",
            "ppo",
            "--env",
            env_id,
            "--conf-file",
            str(config),
            "-f",
            str(folder),
            "--seed",
            "3",
        ]
        evaluation = ["--eval-freq", "-1", "--num-threads", "1"]
        done = subprocess.run(
            [sys.executable, "-m", "rl_zoo3.train", *command, *evaluation, *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (model,) = (path for path in folder.rglob("*.zip") if path.parent.name.endswith("_1"))
        policies.append(PPO.load(model).policy.state_dict())
    one, other = policies
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_any_environment_trains_with_flat_spaces(serve: Serve) -> None:
    gym_id = "tests.trainers.environments:Guess-v0"
    base_url = serve(gym_id)
    kinds: dict[str, Callable[[], VecEnv]] = {
        "local": lambda: DummyVecEnv([lambda: flatten_for_rl(gym.make(gym_id))] * 4),
        "RemoteVecEnv": lambda: RemoteVecEnv(
            flatten_for_rl(RemoteVectorEnv(base_url, 4, autoreset_mode="SameStep"))
        ),
    }

    def learn(env: VecEnv) -> PPO:
        return PPO("MlpPolicy", env, n_steps=32, seed=7).learn(256)

    assert_all_the_same("PPO, texts", trainings(kinds, learn))


def test_a_model_is_saved_and_loaded(serve: Serve, tmp_path: Path) -> None:
    env = RemoteVecEnv(serve("CartPole-v1"), 2)
    model = PPO("MlpPolicy", env, n_steps=32, seed=7).learn(64)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=env)
    observations = env.reset()
    one, other = (m.predict(observations, deterministic=True)[0] for m in (model, loaded))
    np.testing.assert_array_equal(one, other)
    loaded.learn(64)
    env.close()
