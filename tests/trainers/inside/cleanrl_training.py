"""PPO in the style of single-file scripts trains on remote environments, with the weights of local ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
import minigrid
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from gymnasium.wrappers.vector import (
    ClipAction,
    ClipReward,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
)
from minigrid.wrappers import ImgObsWrapper

from openenv_gym.wrappers import flatten_for_rl
from tests.trainers.inside.cleanrl_ppo import Settings, train
from tests.trainers.inside.comparison import Trained, assert_all_the_same
from tests.trainers.inside.serving import Serve, serving

gym.register_envs(ale_py)
gym.register_envs(minigrid)

REMOTE = "openenv_gym:openenv/remote"
MINIGRID = "MiniGrid-Empty-5x5-v0"
NEXT_STEP, SAME_STEP = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP
PREPROCESSING = ("gymnasium.wrappers:AtariPreprocessing", {"noop_max": 10})
STACK = ("gymnasium.wrappers:FrameStackObservation", {"stack_size": 4})
Envs = VectorEnv[Any, Any, Any]
Make = Callable[[], Envs]

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    train(gym.make_vec("CartPole-v1", 2), Settings(updates=1))  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve


def assert_weights_are_local(
    what: str,
    makers: dict[str, Make],
    settings: Settings,
    wrap: Callable[[Envs], Envs] = lambda envs: envs,
) -> None:
    """Train with each kind of vector environment, the local one first."""

    def trained(make: Make) -> Trained:
        envs = wrap(make())
        training = train(envs, settings)
        envs.close()
        return Trained(training.agent.state_dict(), training.fps)

    assert_all_the_same(what, {kind: partial(trained, make) for kind, make in makers.items()})


def makers(
    gym_id: str, base_url: str, count: int, mode: AutoresetMode = NEXT_STEP, **keywords: Any
) -> dict[str, Make]:
    """Return what makes each kind of vector environment, the local one first."""
    remote = partial(gym.make, REMOTE, base_url=base_url)
    return {
        "local": lambda: SyncVectorEnv([partial(gym.make, gym_id, **keywords)] * count, autoreset_mode=mode),
        "make_vec": lambda: gym.make_vec(
            "openenv/remote", num_envs=count, base_url=base_url, autoreset_mode=mode
        ),
        "SyncVectorEnv": lambda: SyncVectorEnv([remote] * count, autoreset_mode=mode),
        "AsyncVectorEnv, fork": lambda: AsyncVectorEnv([remote] * count, context="fork", autoreset_mode=mode),
        "AsyncVectorEnv, spawn": lambda: AsyncVectorEnv(
            [remote] * count, context="spawn", autoreset_mode=mode
        ),
    }


def some(kinds: dict[str, Make], *wanted: str) -> dict[str, Make]:
    return {kind: kinds[kind] for kind in ("local", *wanted)}


def test_all_vector_environments_train_the_same(serve: Serve) -> None:
    kinds = makers("CartPole-v1", serve("CartPole-v1"), 4)
    assert_weights_are_local("PPO, CartPole-v1", kinds, Settings(updates=2, learning_rate=1e-3))


def test_a_reset_in_the_same_step_trains_the_same(serve: Serve) -> None:
    limit = {"max_episode_steps": 15}  # the value of the last observation counts where it truncates
    kinds = makers("CartPole-v1", serve("CartPole-v1", **limit), 4, SAME_STEP, **limit)
    kinds = some(kinds, "make_vec", "SyncVectorEnv", "AsyncVectorEnv, fork")
    assert_weights_are_local("PPO, CartPole-v1, SameStep", kinds, Settings(updates=2, learning_rate=1e-3))


def test_make_vec_makes_the_vector_environments_of_gymnasium_too(serve: Serve) -> None:
    base_url = serve("CartPole-v1")
    make = partial(gym.make_vec, REMOTE, num_envs=2, base_url=base_url)
    kinds = {
        **some(makers("CartPole-v1", base_url, 2)),
        "sync": partial(make, vectorization_mode="sync"),
        "async": partial(make, vectorization_mode="async", vector_kwargs={"context": "spawn"}),
    }
    assert_weights_are_local("PPO, CartPole-v1, make_vec", kinds, Settings(updates=1))


def test_ppo_learns_to_balance_the_pole(serve: Serve) -> None:
    envs = RecordEpisodeStatistics(gym.make_vec("openenv/remote", num_envs=8, base_url=serve("CartPole-v1")))
    returns = train(envs, Settings(updates=30, learning_rate=1e-3)).returns
    print(f"PPO, CartPole-v1: a return of {np.mean(returns[-50:]):.0f} at the end")
    assert np.mean(returns[:50]) < 40
    assert np.mean(returns[-50:]) > 120
    assert list(envs.return_queue) == returns[-100:]
    envs.close()


@pytest.mark.parametrize(
    ("gym_id", "keywords"),
    [("HalfCheetah-v5", {}), ("LunarLander-v3", {"continuous": True}), ("LunarLander-v3", {})],
    ids=["HalfCheetah", "LunarLander, continuous", "LunarLander"],
)
def test_physics(
    gym_id: str,
    keywords: dict[str, Any],
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into a file there
    kinds = makers(gym_id, serve(gym_id, **keywords), 4, **keywords)

    def wrap(envs: Envs) -> Envs:
        envs = NormalizeReward(NormalizeObservation(RecordEpisodeStatistics(envs)))
        return ClipAction(envs) if isinstance(envs.single_action_space, gym.spaces.Box) else envs

    settings = Settings(updates=2, minibatches=8)
    what = f"PPO, {request.node.callspec.id}"
    assert_weights_are_local(what, some(kinds, "make_vec", "AsyncVectorEnv, fork"), settings, wrap)


def test_atari_with_frames_stacked_on_either_side(serve: Serve) -> None:
    pong = partial(gym.make, "ALE/Pong-v5", frameskip=1)
    stacked = serve("ALE/Pong-v5", wrappers=[PREPROCESSING, STACK], frameskip=1)
    single = partial(gym.make, REMOTE, base_url=serve("ALE/Pong-v5", wrappers=[PREPROCESSING], frameskip=1))
    kinds: dict[str, Make] = {
        "local": lambda: SyncVectorEnv(
            [lambda: FrameStackObservation(AtariPreprocessing(pong(), noop_max=10), 4)] * 4
        ),
        "make_vec": lambda: gym.make_vec("openenv/remote", num_envs=4, base_url=stacked),
        "SyncVectorEnv, stacked here": lambda: SyncVectorEnv(
            [lambda: FrameStackObservation(single(), 4)] * 4
        ),
        "AsyncVectorEnv, stacked here": lambda: AsyncVectorEnv(
            [lambda: FrameStackObservation(single(), 4)] * 4, context="spawn"
        ),
    }

    def wrap(envs: Envs) -> Envs:
        return ClipReward(RecordEpisodeStatistics(envs), -1, 1)

    assert_weights_are_local("PPO, ALE/Pong-v5", kinds, Settings(updates=2, steps=32, epochs=1), wrap)


def test_minigrid_images(serve: Serve) -> None:
    base_url = serve(MINIGRID, wrappers=["minigrid.wrappers:ImgObsWrapper"])
    kinds = {
        **some(makers(MINIGRID, base_url, 4), "make_vec", "AsyncVectorEnv, fork"),
        "local": lambda: SyncVectorEnv([lambda: ImgObsWrapper(gym.make(MINIGRID))] * 4),
    }
    assert_weights_are_local(f"PPO, {MINIGRID}, images", kinds, Settings(updates=2))


def test_minigrid_with_flat_spaces(serve: Serve) -> None:
    kinds = some(makers(MINIGRID, serve(MINIGRID), 4), "make_vec", "SyncVectorEnv")
    assert_weights_are_local(f"PPO, {MINIGRID}, flat", kinds, Settings(updates=2), flatten_for_rl)
