"""`RemoteEnv` behaves as Gymnasium and its users expect."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from openenv_server import create_app

from openenv_gym import RemoteEnv
from openenv_gym.errors import ResetNeededError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


@pytest.fixture(scope="module")
def counter_url() -> Iterator[str]:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        yield base_url


@pytest.mark.parametrize("gym_id", ["CartPole-v1", "FrozenLake-v1", "Pendulum-v1"])
def test_check_env_passes(gym_id: str, serve_gym: Callable[[str], str]) -> None:
    env = RemoteEnv(serve_gym(gym_id))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Said of Pendulum's and of CartPole's own spaces, which are the same here.
        warnings.filterwarnings("ignore", message=".*Box (observation|action) space (minimum|maximum).*")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized space.*")
        warnings.filterwarnings("ignore", message=".*not have.*spec.*|.*spec.*render.*|.*env.spec.*")
        check_env(env, skip_render_check=True)
    env.close()


def test_typed_fields_become_a_space_and_metadata_becomes_info(counter_url: str) -> None:
    env = RemoteEnv(counter_url)
    assert isinstance(env.action_space, gym.spaces.Box)
    assert env.action_space.dtype == np.int64
    observation, info = env.reset(seed=3, options={"start": 2})
    assert observation == 5
    assert info == {"fresh": True}
    observation, reward, terminated, truncated, info = env.step(np.array(4, np.int64))
    assert (observation, reward, terminated, truncated, info) == (9, 4.0, False, False, {})
    assert env.step(np.array(1, np.int64))[2:4] == (True, False)
    env.close()


def test_reward_of_none_is_zero(counter_url: str) -> None:
    class Unpaid(Counter):
        def step(self, action: CountAction) -> CountObservation:
            return CountObservation(total=1)

    with running(create_app(Unpaid, CountAction, CountObservation)) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        reward = env.step(np.array(1, np.int64))[1]
        assert reward == 0.0
        assert isinstance(reward, float)
        env.close()


def test_numpy_seeds_work(serve_gym: Callable[[str], str]) -> None:
    env = RemoteEnv(serve_gym("CartPole-v1"))
    first, _ = env.reset(seed=np.int64(7))  # type: ignore[arg-type]
    again, _ = env.reset(seed=7)
    assert np.array_equal(first, again)
    assert not np.shares_memory(first, again)
    env.close()


def test_a_time_limit_on_the_server_truncates(serve_gym: Callable[[str], str]) -> None:
    env = RemoteEnv(serve_gym("MountainCar-v0"))
    env.reset(seed=1)
    flags = [env.step(1)[2:4] for _ in range(200)]
    assert flags[:-1] == [(False, False)] * 199
    assert flags[-1] == (False, True)
    env.close()


def test_making_takes_no_session_and_reset_takes_one() -> None:
    with running(create_app(Counter, CountAction, CountObservation, max_concurrent_envs=1)) as base_url:
        first, second = RemoteEnv(base_url), RemoteEnv(base_url)
        first.reset()
        first.close()
        second.reset()
        second.close()


@pytest.mark.parametrize("vector", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_eight_sessions_in_gymnasiums_vector_envs(
    vector: Callable[..., gym.vector.VectorEnv[Any, Any, Any]], serve_gym: Callable[[str], str]
) -> None:
    base_url = serve_gym("CartPole-v1")

    def remote() -> gym.Env[Any, Any]:
        env = gym.make("openenv/remote", base_url=base_url)
        return RecordEpisodeStatistics(TimeLimit(env, max_episode_steps=15))

    def local() -> gym.Env[Any, Any]:
        env = gym.make("CartPole-v1", max_episode_steps=-1)
        return RecordEpisodeStatistics(TimeLimit(env, max_episode_steps=15))

    theirs = gym.vector.SyncVectorEnv([local] * 8)
    ours = vector([remote] * 8)
    try:
        theirs.action_space.seed(5)
        assert np.array_equal(theirs.reset(seed=5)[0], ours.reset(seed=5)[0])
        finished = 0
        for _ in range(60):
            action = theirs.action_space.sample()
            expected, actual = theirs.step(action), ours.step(action)
            for one, other in zip(expected[:4], actual[:4], strict=True):
                assert np.array_equal(one, other)
            if "episode" in expected[4]:
                finished += 1
                for key in ("r", "l"):
                    assert np.array_equal(expected[4]["episode"][key], actual[4]["episode"][key])
        assert finished > 0
    finally:
        ours.close()
        theirs.close()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_has_the_configuration_and_no_session(
    clone: Callable[[RemoteEnv], RemoteEnv], serve_gym: Callable[[str], str]
) -> None:
    env = RemoteEnv(serve_gym("CartPole-v1"))
    env.reset(seed=1)
    twin = clone(env)
    assert twin.observation_space == env.observation_space
    with pytest.raises(ResetNeededError):
        twin.step(0)
    assert np.array_equal(twin.reset(seed=2)[0], env.reset(seed=2)[0])
    env.step(0)
    twin.close()
    env.step(0)
    env.close()


def test_after_a_fork_the_child_opens_a_session_of_its_own(serve_gym: Callable[[str], str]) -> None:
    env = RemoteEnv(serve_gym("CartPole-v1"))
    expected = env.reset(seed=4)[0].tolist()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=use_in_child, args=(env, answers))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 0
    assert answers.get() == ["ResetNeededError", expected]
    # The parent's session is as it was.
    assert env.step(0)[0] in env.observation_space
    env.close()


def use_in_child(env: RemoteEnv, answers: Any) -> None:
    try:
        env.step(0)
        first = "no error"
    except ResetNeededError as error:
        first = type(error).__name__
    answers.put([first, env.reset(seed=4)[0].tolist()])
    env.close()
