"""PettingZoo's classics on a server: in a trainer they are what they are without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pettingzoo
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory
from openenv_server.gymnasium_maker import GymnasiumMaker
from pettingzoo.test import parallel_api_test

from openenv_gym.errors import ConfigurationError, ResetNeededError
from openenv_gym.integrations.pettingzoo import JointEnv, RemoteParallelEnv, make_joint_env, parallel_env
from tests.support.servers import running, without_v2
from tests.support.vectors import assert_equal

pytestmark = pytest.mark.filterwarnings("ignore:Live agent was not given")

# Arrays; images and continuous actions; numbers.
GAMES = {
    "knights, archers, zombies": (
        "butterfly/knights_archers_zombies-v11",
        {"max_cycles": 60},
    ),
    "pistonball": ("butterfly/pistonball-v6", {"max_cycles": 15, "n_pistons": 4}),
    "rock, paper, scissors": ("classic/rps-v2", {"max_cycles": 10}),
}


def served(game: str, version: int = 2, **keywords: Any) -> Any:
    env, its_own = GAMES[game]
    make = GymnasiumMaker("PettingZoo-v0", {"env": env, **its_own, **keywords})
    factory, models = gymnasium_factory(make)
    app = create_app(factory, models.action, models.observation)
    return running(app if version == 2 else without_v2(app))


@pytest.fixture(params=GAMES, scope="module")
def game(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(game: str) -> Iterator[str]:
    with served(game) as url:
        yield url


def local(game: str) -> Any:
    env, keywords = GAMES[game]
    return pettingzoo.make("parallel", env, **keywords)


def in_plain_types(by_agent: dict[str, Any]) -> dict[str, Any]:
    """Arrays without dimensions, NumPy's numbers and Python's are all the same to PettingZoo."""
    return {agent: value if np.ndim(value) else np.asarray(value).item() for agent, value in by_agent.items()}


def assert_same(left: tuple[dict[str, Any], ...], right: tuple[dict[str, Any], ...]) -> None:
    *left_values, left_infos = left
    *right_values, right_infos = right
    assert_equal([*map(in_plain_types, left_values)], [*map(in_plain_types, right_values)])
    assert_equal(left_infos, right_infos)


def assert_same_episodes(left: Any, right: Any, episodes: int = 2) -> None:
    """Play both with the same actions."""
    for seed in range(episodes):
        assert_same(left.reset(seed=seed), right.reset(seed=seed))
        while left.agents:
            assert right.agents == left.agents
            actions = {agent: left.action_space(agent).sample() for agent in left.agents}
            assert_same(left.step(dict(actions)), right.step(dict(actions)))
        assert right.agents == []


@pytest.mark.parametrize("version", [1, 2])
def test_episodes_are_those_without_a_server(game: str, version: int) -> None:
    env = local(game)
    for agent in env.possible_agents:
        env.action_space(agent).seed(3)
    with served(game, version) as url, closing(parallel_env(url)) as remote:
        assert remote.possible_agents == env.possible_agents
        assert_same_episodes(env, remote)


def test_pettingzoo_finds_no_fault_in_it(game: str, url: str) -> None:
    with closing(parallel_env(url)) as env:
        parallel_api_test(env, num_cycles=60)


def test_gymnasium_sees_one_environment(url: str, game: str) -> None:
    with closing(gym.make("openenv/remote", base_url=url)) as env:
        joint = JointEnv(local(game))
        assert env.observation_space == joint.observation_space
        assert env.action_space == joint.action_space
        joint.action_space.seed(1)
        assert_same(env.reset(seed=1), joint.reset(seed=1))
        ended = False
        while not ended:
            action = joint.action_space.sample()
            observation, *rest = joint.step(action)
            remote_observation, *remote_rest = env.step(action)
            assert_equal(in_plain_types(remote_observation), in_plain_types(observation))
            assert_equal(remote_rest, rest)
            ended = rest[1] or rest[2]


def test_many_games_at_once(url: str, game: str) -> None:
    envs = gym.make_vec("openenv/remote", num_envs=3, base_url=url)
    with closing(envs):
        _, infos = envs.reset(seed=1)
        agents = infos["agents"][0]
        _, rewards, *_, infos = envs.step(envs.action_space.sample())
        by_agent = sum(infos["rewards"][agent] for agent in agents)
        assert_equal(np.asarray(by_agent, np.float64), rewards)


def test_frames() -> None:
    with (
        served("pistonball", render_mode="rgb_array") as url,
        closing(parallel_env(url, render_mode="rgb_array")) as env,
    ):
        assert env.metadata["render_fps"] == 20
        env.reset(seed=1)
        frame = env.render()
        assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)


class Latecomers(pettingzoo.ParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """One agent begins; the second comes later, and the first leaves by truncation, then the second ends."""

    def __init__(self) -> None:
        self.possible_agents: list[Any] = ["first", "second"]
        self.metadata: dict[str, Any] = {}
        self.agents: list[str] = []
        self.given: list[dict[str, Any]] = []

    def observation_space(self, agent: str) -> gym.Space[Any]:
        return spaces.Box(1.0, 2.0, (2,))

    def action_space(self, agent: str) -> gym.Space[Any]:
        return spaces.Discrete(3, start=5)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents, self.given = ["first"], []
        return {"first": np.ones(2, np.float32)}, {"first": {}}

    def step(self, actions: dict[str, Any]) -> Any:
        self.given.append(actions)
        acted, turn = self.agents, len(self.given)
        self.agents = [["first", "second"], ["second"], []][turn - 1]
        seen = {agent: np.full(2, 1 + turn / 10, np.float32) for agent in {*acted, *self.agents}}
        return (
            seen,
            dict.fromkeys(seen, 0.5),
            dict.fromkeys(seen, turn == 3),
            {agent: turn == 2 and agent == "first" for agent in seen},
            {agent: {"turn": turn} for agent in seen},
        )


def test_agents_that_come_later_and_leave_earlier() -> None:
    game = Latecomers()
    env = JointEnv(game)
    before, info = env.reset()
    assert (before in env.observation_space, info["agents"]) == (True, ["first"])
    action = {"first": 6, "second": 7}
    _, reward, *ended, info = env.step(action)
    assert (reward, ended, info["agents"]) == (1.0, [False, False], ["first", "second"])
    last, *_ = env.step(action)
    observation, reward, *ended, info = env.step(action)
    assert (reward, ended, info["agents"]) == (0.5, [True, False], [])
    assert game.given == [{"first": 6}, action, {"second": 7}]
    assert_equal(observation["first"], last["first"])
    assert_equal(env.reset()[0], before)


@pytest.mark.parametrize("version", [1, 2])
def test_agents_come_and_go_on_a_server(version: int) -> None:
    factory, models = gymnasium_factory(lambda: JointEnv(Latecomers()))
    app = create_app(factory, models.action, models.observation)
    with running(app if version == 2 else without_v2(app)) as url, closing(parallel_env(url)) as env:
        assert_same_episodes(Latecomers(), env)


def test_what_has_no_agents_is_said() -> None:
    nameless = Latecomers()
    nameless.possible_agents = [1, 2]
    with pytest.raises(
        ConfigurationError, match=r"has no list of names as its possible_agents, but \[1, 2\]"
    ):
        JointEnv(nameless)
    with pytest.raises(ConfigurationError, match="PettingZoo cannot make butterfly/nothing"):
        make_joint_env("butterfly/nothing")
    with pytest.raises(ConfigurationError, match="json:nothing cannot be imported"):
        make_joint_env("json:nothing")
    with pytest.raises(ConfigurationError, match="has one agent"):
        RemoteParallelEnv(gym.make("CartPole-v1"))
    env = RemoteParallelEnv(JointEnv(Latecomers()))
    with pytest.raises(ResetNeededError, match="No agent is there"):
        env.step({})
