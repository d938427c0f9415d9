"""A remote environment has the served one's metadata, limits of episodes and render modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RenderCollection, TimeAwareObservation
from openenv_server import create_app, gymnasium_factory

import openenv_gym
from openenv_gym import RemoteEnv, RemoteVectorEnv
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2
from tests.support.vectors import assert_equal

SPEC_FIELDS = ("max_episode_steps", "reward_threshold", "nondeterministic")


class Film(gym.Env[Any, Any]):
    """Each frame is filled with the number of the step, and an episode has four."""

    observation_space = spaces.Discrete(9)
    action_space = spaces.Discrete(2)
    metadata: ClassVar[dict[str, Any]] = {
        "render_modes": ["rgb_array", "depth_array"],
        "render_fps": np.int64(17),
        "sizes": (4, 4),
        "nested": {"deep": 1, "kind": int},
        "names": {"a"},
        "best": float("inf"),
    }

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.steps, 0.0, self.steps == 4, False, {}

    def render(self) -> Any:
        return np.full((4, 4) if self.render_mode == "depth_array" else (4, 4, 3), self.steps, np.uint8)


gym.register("Film-v0", Film, max_episode_steps=50, reward_threshold=3.5, nondeterministic=True)


def app_of(**keywords: Any) -> Any:
    return create_app(*_parts(**keywords))


def _parts(**keywords: Any) -> Any:
    factory, models = gymnasium_factory(lambda: gym.make("Film-v0", **keywords))
    return factory, *models


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(app_of(render_mode="rgb_array")) as base_url:
        yield base_url


def remote(url: str, **options: Any) -> gym.Env[Any, Any]:
    return gym.make("openenv/remote", base_url=url, **options)


def remote_vector(url: str, **options: Any) -> gym.vector.VectorEnv[Any, Any, Any]:
    return gym.make_vec("openenv/remote", base_url=url, num_envs=2, **options)


@pytest.mark.parametrize("make", [remote, remote_vector])
def test_spec_and_metadata_are_those_of_the_served_environment(make: Callable[[str], Any], url: str) -> None:
    with closing(make(url)) as env:
        assert [getattr(env.spec, name) for name in SPEC_FIELDS] == [50, 3.5, True]
        metadata = dict(env.metadata)
        assert metadata.pop("autoreset_mode", AutoresetMode.NEXT_STEP) is AutoresetMode.NEXT_STEP
        assert metadata == {
            "render_modes": ["rgb_array"],
            "render_fps": 17,
            "sizes": [4, 4],
            "nested": {"deep": 1},
        }


@pytest.mark.parametrize("gym_id", ["CartPole-v1", "MountainCar-v0", "FrozenLake-v1", "Blackjack-v1"])
def test_gymnasiums_own_environments(gym_id: str, serve_gym: Callable[[str], str]) -> None:
    base_url = serve_gym(gym_id)
    local = gym.make(gym_id)
    local_vector = gym.make_vec(gym_id, num_envs=2, vectorization_mode="sync")
    with closing(remote(base_url)) as env, closing(remote_vector(base_url)) as envs:
        for made, own in ((env, local), (envs, local_vector)):
            for name in SPEC_FIELDS:
                assert getattr(made.spec, name) == getattr(own.spec, name)
            its, theirs = dict(made.metadata), dict(own.metadata)
            for name in ("render_modes", "autoreset_mode"):  # before 1.4, Gymnasium's may have the vector's
                its.pop(name, None), theirs.pop(name, None)
            assert its == theirs
    local.close()
    local_vector.close()


def test_the_callers_limit_wins(url: str) -> None:
    with closing(remote(url, max_episode_steps=3)) as env:
        assert env.spec is not None
        assert env.spec.max_episode_steps == 3
        with closing(gym.make(env.spec)) as again:
            assert again.spec == env.spec
    with closing(remote_vector(url, max_episode_steps=3)) as envs:
        assert envs.spec is not None
        assert envs.spec.max_episode_steps == 3
    with closing(remote_vector(url)) as envs, closing(gym.make_vec(envs.spec)) as again_vector:  # type: ignore[arg-type]
        assert again_vector.spec.max_episode_steps == 50


def test_an_environment_made_without_a_spec_has_none(url: str) -> None:
    with closing(RemoteEnv(url)) as env:
        assert env.spec is None
        assert env.metadata["render_fps"] == 17


def test_other_servers_say_nothing() -> None:
    with (
        running(create_app(Counter, CountAction, CountObservation)) as base_url,
        closing(remote(base_url)) as env,
    ):
        assert env.metadata["render_fps"] == 30
        assert env.spec is not None
        assert env.spec.max_episode_steps is None


def test_time_aware_observations_know_the_limit(serve_gym: Callable[[str], str]) -> None:
    local = TimeAwareObservation(gym.make("CartPole-v1"), normalize_time=True)
    with closing(TimeAwareObservation(remote(serve_gym("CartPole-v1")), normalize_time=True)) as env:
        assert env.observation_space == local.observation_space
        assert_equal(local.reset(seed=1), env.reset(seed=1))
        for _ in range(5):
            assert_equal(local.step(1), env.step(1))
    local.close()


@pytest.mark.parametrize("served_as", ["rgb_array", "rgb_array_list"])
def test_a_list_of_frames(served_as: str) -> None:
    with running(app_of(render_mode=served_as)) as base_url:
        with closing(remote(base_url, render_mode="rgb_array_list")) as env:
            assert isinstance(env, RenderCollection)
            env.reset()
            env.step(0)
            env.step(0)
            assert shown(env.render()) == [0, 1, 2]
            assert shown(env.render()) == []
        with closing(remote(base_url, render_mode="rgb_array")) as env:
            env.reset()
            env.step(0)
            assert shown([env.render(), env.render()]) == [1, 1]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_list_of_frames_for_each_slot(mode: AutoresetMode, url: str) -> None:
    local = gym.make_vec(
        "Film-v0",
        num_envs=2,
        render_mode="rgb_array_list",
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
    )
    envs = remote_vector(url, render_mode="rgb_array_list", autoreset_mode=mode)
    with closing(local), closing(envs):
        assert envs.render_mode == local.render_mode
        assert "rgb_array_list" in envs.metadata["render_modes"]
        for made in (local, envs):
            made.reset(seed=1)
        for step in range(12):
            ended = [bool(made.step(np.zeros(2, np.int64))[2].any()) for made in (local, envs)]
            assert ended[0] == ended[1]
            if ended[0] and mode is AutoresetMode.DISABLED:
                for made in (local, envs):
                    made.reset(options={"reset_mask": np.ones(2, np.bool_)})
            if step % 3 == 2:
                theirs, ours = ([shown(frames) for frames in made.render()] for made in (local, envs))  # type: ignore[union-attr]
                assert theirs == ours, step


def shown(frames: Any) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


def test_send_does_not_collect_frames(url: str) -> None:
    with closing(RemoteVectorEnv(url, 2, render_mode="rgb_array_list")) as envs:
        envs.reset()
        with pytest.raises(openenv_gym.errors.UsageError, match="collects the frames of step"):
            envs.send(np.zeros(2, np.int64))


def test_another_mode_of_the_server() -> None:
    served = running(app_of(render_mode="depth_array"))
    with served as base_url, closing(RemoteEnv(base_url, render_mode="depth_array")) as env:
        assert env.metadata["render_modes"] == ["depth_array"]
        env.reset()
        assert env.render().shape == (4, 4)


def test_no_mode_of_the_server() -> None:
    with running(without_v2(app_of())) as base_url, closing(RemoteEnv(base_url)) as env:
        assert env.metadata["render_modes"] == []
