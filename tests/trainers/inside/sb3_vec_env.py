"""`RemoteVecEnv` beside SB3's own `DummyVecEnv` over local environments."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app, gymnasium_factory
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

import openenv_gym
from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import ConfigurationError, LocalAttributeError, OpenEnvError, SpaceError
from openenv_gym.integrations.sb3 import RemoteVecEnv
from openenv_gym.wrappers import flatten_for_rl
from tests.trainers.inside.serving import Serve, serving

MIXED = "tests.trainers.environments:Mixed-v0"
CONNECT_FOUR = "tests.trainers.environments:ConnectFour-v0"
TAXI = next(gym_id for gym_id in ("Taxi-v4", "Taxi-v3") if gym_id in gym.registry)  # Gymnasium 1.2 has v3
COUNT = 3


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    with serving() as serve:
        yield serve


def local(gym_id: str, count: int = COUNT, **keywords: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda: gym.make(gym_id, **keywords)] * count)


def assert_same(left: Any, right: Any, where: str = "result") -> None:
    """Compare results, with the types of all their parts."""
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape), where
        np.testing.assert_array_equal(left, right, where)
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    else:
        assert left == right, where


def play_both(ours: VecEnv, theirs: VecEnv, steps: int = 60) -> int:
    """Step both with the same actions, and compare everything; return how many episodes have ended."""
    ended = 0
    theirs.action_space.seed(0)
    for env in (ours, theirs):
        env.seed(5)
    assert_same(ours.reset(), theirs.reset())
    assert_same(ours.reset_infos, theirs.reset_infos)
    for _ in range(steps):
        actions = np.array([theirs.action_space.sample() for _ in range(theirs.num_envs)])
        one, other = ours.step(actions), theirs.step(actions)
        assert_same(one, other)
        assert_same(ours.reset_infos, theirs.reset_infos)
        ended += int(one[2].sum())
    return ended


@pytest.mark.parametrize("gym_id", ["CartPole-v1", "Pendulum-v1", TAXI, MIXED])
def test_it_gives_what_a_dummy_vec_env_gives(gym_id: str, serve: Serve) -> None:
    ours, theirs = RemoteVecEnv(serve(gym_id), COUNT), local(gym_id)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ended = play_both(ours, theirs, 210)
    assert ended > 0
    ours.close()


def test_the_same_over_version_1_of_the_protocol() -> None:
    from tests.support.servers import running, without_v2

    factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
    app = create_app(factory, models.action, models.observation, max_concurrent_envs=8)
    with running(without_v2(app)) as base_url:
        ours = RemoteVecEnv(base_url, COUNT)
        assert play_both(ours, local("CartPole-v1")) > 0
        ours.close()


def test_a_step_limit_truncates(serve: Serve) -> None:
    ours = RemoteVecEnv(serve("CartPole-v1"), 2, max_episode_steps=4)
    theirs = local("CartPole-v1", 2, max_episode_steps=4)
    assert play_both(ours, theirs) >= 20
    ours.reset()
    infos = [ours.step(np.array([0, 1]))[3] for _ in range(4)][-1]
    assert [info["TimeLimit.truncated"] for info in infos] == [True, True]
    assert all(info["terminal_observation"].shape == (4,) for info in infos)
    ours.close()


def test_it_takes_names_sources_and_vector_environments(serve: Serve) -> None:
    base_url = serve("CartPole-v1")
    made = RemoteVectorEnv(base_url, 2, autoreset_mode="SameStep")
    wrapped = gym.wrappers.vector.TransformReward(
        RemoteVectorEnv(base_url, 2, autoreset_mode="SameStep"), lambda reward: 2 * reward
    )
    for ours, reward in (
        (RemoteVecEnv("openenv/remote", 2, base_url=base_url), 1),
        (RemoteVecEnv("openenv_gym:openenv/remote", num_envs=2, base_url=base_url), 1),
        (RemoteVecEnv(base_url=base_url, num_envs=2), 1),
        (RemoteVecEnv([base_url], 2), 1),
        (RemoteVecEnv(gym="CartPole-v1", num_envs=2), 1),
        (RemoteVecEnv(made), 1),
        (RemoteVecEnv(wrapped, 2), 2),
    ):
        assert ours.num_envs == 2
        assert ours.reset().shape == (2, 4)
        assert ours.step(np.array([0, 1]))[1].tolist() == [reward, reward]
        ours.close()
    openenv_gym.register("sb3-cart-pole", base_url=base_url)
    ours = RemoteVecEnv("openenv/sb3-cart-pole", 2)
    assert ours.reset().shape == (2, 4)
    ours.close()


def test_what_cannot_work_says_so(serve: Serve) -> None:
    base_url = serve("CartPole-v1")
    with pytest.raises(ConfigurationError, match="SameStep"):
        RemoteVecEnv(RemoteVectorEnv(base_url, 2))
    with pytest.raises(ConfigurationError, match="made already"):
        RemoteVecEnv(RemoteVectorEnv(base_url, 2, autoreset_mode="SameStep"), 3)
    with pytest.raises(ConfigurationError, match="autoreset_mode"):
        RemoteVecEnv(base_url, 2, autoreset_mode="NextStep")
    for wrong in ([lambda: gym.make("CartPole-v1")], gym.make("CartPole-v1"), local("CartPole-v1")):
        with pytest.raises(ConfigurationError, match="DummyVecEnv"):
            RemoteVecEnv(wrong)  # type: ignore[arg-type]


def test_spaces_that_sb3_does_not_support_are_refused(serve: Serve) -> None:
    for gym_id in ("Guess-v0", "FromOne-v0"):
        with pytest.raises(SpaceError, match="flatten_for_rl"):
            RemoteVecEnv(serve(f"tests.trainers.environments:{gym_id}"), 2)


@pytest.mark.parametrize("gym_id", ["Guess-v0", "FromOne-v0"])
def test_spaces_are_flattened_as_those_of_one_environment(gym_id: str, serve: Serve) -> None:
    gym_id = f"tests.trainers.environments:{gym_id}"
    envs = RemoteVectorEnv(serve(gym_id), COUNT, autoreset_mode="SameStep", max_episode_steps=9)
    ours = RemoteVecEnv(flatten_for_rl(envs))
    theirs = DummyVecEnv([lambda: flatten_for_rl(gym.make(gym_id, max_episode_steps=9))] * COUNT)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    assert play_both(ours, theirs) > 0
    ours.close()


def test_seeds_and_options_are_used_once(serve: Serve) -> None:
    ours, theirs = RemoteVecEnv(serve(MIXED), COUNT), local(MIXED)
    for options in ({"start": 3}, [{"start": 1}, {}, {"start": 1}], [{"start": i} for i in range(COUNT)]):
        for env in (ours, theirs):
            assert env.seed(11) == [11, 12, 13]
            env.set_options(options)
        assert_same(ours.reset(), theirs.reset())
        assert_same(ours.reset_infos, theirs.reset_infos)
        assert_same(ours.reset(), theirs.reset())
        assert [info["start"] for info in ours.reset_infos] == [0, 0, 0]
    fresh = RemoteVecEnv(serve(MIXED), COUNT)
    fresh.set_options([{"start": i} for i in range(COUNT)])
    fresh.reset()
    assert [info["start"] for info in fresh.reset_infos] == [0, 1, 2]
    for env in (ours, fresh):
        env.close()


def test_a_step_is_sent_at_once_and_a_reset_drops_it(serve: Serve) -> None:
    ours = RemoteVecEnv(serve("CartPole-v1"), 2)
    ours.seed(1)
    first = ours.reset()
    ours.step_async(np.array([0, 0]))
    assert ours.envs._results.pending.all()  # type: ignore[attr-defined]
    ours.seed(1)
    np.testing.assert_array_equal(ours.reset(), first)
    ours.close()


def test_attributes_and_methods(serve: Serve) -> None:
    ours = RemoteVecEnv(serve(CONNECT_FOUR), COUNT)
    assert ours.has_attr("action_masks")
    assert ours.has_attr("state")
    ours.seed(3)
    ours.reset()
    assert ours.get_attr("render_mode") == [None] * COUNT
    assert ours.get_attr("np_random_seed", [0, 2]) == [3, 5]
    assert [state["step_count"] for state in ours.get_attr("state", indices=[1])] == [0]
    assert ours.get_attr("action_space", 1) == [ours.action_space]
    assert ours.env_method("action_masks", indices=1)[0].tolist() == [True] * 7
    assert [method().sum() for method in ours.get_attr("action_masks")] == [7, 7, 7]
    ours.step(np.array([0, 1, 2]))
    ((observation, info),) = ours.env_method("reset", indices=[1], seed=9)
    assert observation.sum() == 0
    assert info["action_mask"].tolist() == [1] * 7
    observations = ours.step(np.array([0, 1, 2]))[0]
    assert [int((board == 1).sum()) for board in observations] == [2, 1, 2]
    assert ours.env_is_wrapped(Monitor) == [False] * COUNT
    assert ours.env_is_wrapped(Monitor, indices=0) == [False]
    assert not ours.has_attr("gravity")
    with pytest.raises(LocalAttributeError, match="only on the server"):
        ours.get_attr("gravity")
    with pytest.raises(LocalAttributeError, match="cannot be set"):
        ours.set_attr("gravity", 3)
    with pytest.raises(LocalAttributeError, match="compute_reward cannot be called"):
        ours.env_method("compute_reward", 1)
    ours.close()


def test_masks_follow_the_environments(serve: Serve) -> None:
    ours, theirs = RemoteVecEnv(serve(CONNECT_FOUR), COUNT), local(CONNECT_FOUR)
    rng = np.random.default_rng(0)
    for env in (ours, theirs):
        env.seed(0)
        env.reset()
    seen_full = ended = 0
    for _ in range(150):
        masks = ours.action_masks()
        boards = [env.unwrapped.board for env in theirs.envs]  # type: ignore[attr-defined]
        np.testing.assert_array_equal(masks, [board[0] == 0 for board in boards])
        seen_full += int((~masks).sum())
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        one, other = ours.step(actions), theirs.step(actions)
        assert_same(one, other)
        ended += int(one[2].sum())
    assert seen_full > 0
    assert ended > 0
    ours.close()


def test_an_environment_without_masks_has_none(serve: Serve) -> None:
    ours = RemoteVecEnv(serve("CartPole-v1"), 2)
    ours.reset()
    assert not ours.has_attr("action_masks")
    with pytest.raises(LocalAttributeError, match="action_mask"):
        ours.action_masks()
    ours.close()
    pendulum = RemoteVecEnv(serve("Pendulum-v1"), 2)
    assert not pendulum.has_attr("action_masks")
    pendulum.close()


def test_images(serve: Serve, tmp_path: Path) -> None:
    ours = RemoteVecEnv(serve(MIXED, "rgb_array"), 4, render_mode="rgb_array")
    ours.seed(2)
    ours.reset()
    assert ours.metadata["render_fps"] == 7
    assert [image.shape for image in ours.get_images()] == [(32, 48, 3)] * 4
    assert ours.render().shape == (64, 96, 3)
    (image,) = ours.env_method("render", indices=2)
    assert image.max() == 0
    video = VecVideoRecorder(ours, str(tmp_path), lambda step: step == 0, video_length=5)
    video.reset()
    for _ in range(6):
        video.step(np.zeros((4, 2), np.int64))
    video.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]
    silent = RemoteVecEnv(serve("CartPole-v1"), 2)
    assert silent.get_images() == [None, None]
    silent.close()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: VecNormalize(env, gamma=0.9),
        lambda env: VecFrameStack(env, 3),
        lambda env: VecNormalize(VecFrameStack(env, 2)),
    ],
)
def test_wrappers_of_sb3_give_the_same(wrap: Callable[[VecEnv], VecEnv], serve: Serve) -> None:
    ours = wrap(RemoteVecEnv(serve("CartPole-v1"), COUNT))
    assert play_both(ours, wrap(local("CartPole-v1"))) > 0
    ours.close()


def test_dicts_with_images_are_wrapped_too(serve: Serve) -> None:
    ours = VecTransposeImage(RemoteVecEnv(serve(MIXED), COUNT))
    assert play_both(ours, VecTransposeImage(local(MIXED))) > 0
    ours.close()


def test_a_monitor_counts_returns(serve: Serve) -> None:
    class Left:
        def predict(self, observations: Any, **_: Any) -> tuple[Any, None]:
            return np.zeros(len(observations), np.int64), None

    ours, theirs = RemoteVecEnv(serve("CartPole-v1"), 2), local("CartPole-v1", 2)
    for env in (ours, theirs):
        env.seed(4)
    results = [
        evaluate_policy(Left(), VecMonitor(env), 6, return_episode_rewards=True) for env in (ours, theirs)
    ]
    assert results[0] == results[1]
    ours.close()


@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_a_pickled_one_opens_its_own_sessions(pickler: Any, serve: Serve) -> None:
    ours = RemoteVecEnv(serve("CartPole-v1"), 2)
    ours.seed(1)
    first = ours.reset()
    other = pickler.loads(pickler.dumps(ours))
    other.seed(1)
    np.testing.assert_array_equal(other.reset(), first)
    other.step(np.array([1, 1]))
    other.close()
    ours.step(np.array([1, 1]))
    ours.close()


def test_close_ends_the_sessions(serve: Serve) -> None:
    ours = RemoteVecEnv(serve("CartPole-v1"), 2)
    ours.reset()
    ours.close()
    ours.close()
    with pytest.raises(OpenEnvError, match=re.escape("was closed")):
        ours.reset()
