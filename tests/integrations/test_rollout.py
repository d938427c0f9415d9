"""`collect`, on servers of both versions of the protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from openenv_gym.errors import ConfigurationError
from openenv_gym.integrations.rollout import Episode, collect
from tests.integrations.environments import kitchen, waiting
from tests.support.model_server import model_server
from tests.support.servers import running, without_v2
from tests.trainers.recipes import recipes


@pytest.fixture(scope="module", params=["v1", "v2"])
def urls(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    wrap: Callable[[Any], Any] = without_v2 if request.param == "v1" else lambda app: app
    with running(wrap(waiting)) as first, running(wrap(kitchen)) as second:
        yield first, second


def _make(url: str, num_envs: int, **keywords: Any) -> Any:
    return gym.make_vec("openenv/remote", base_url=url, num_envs=num_envs, **keywords)


def test_episodes_are_returned_and_written(
    urls: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "episodes.jsonl"
    envs = _make(urls[0], 3)

    def policy(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
        assert all(not episode.done for episode in episodes)
        return [{"seconds": 0.001 * episode.number} for episode in episodes]

    played = collect(envs, policy, 8, seed=10, path=path)
    assert [episode.number for episode in played] == list(range(8))
    assert [episode.seed for episode in played] == list(range(10, 18))
    assert all(episode.terminated and episode.reward == 5.0 for episode in played)
    for episode in played:
        assert [step["observation"]["count"] for step in episode.steps] == [0, 1, 2, 3, 4]
        assert {step["observation"]["seed"] for step in episode.steps} == {episode.seed}
        assert episode.observation == {"count": 5, "seed": episode.seed}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(lines, key=lambda line: line["number"]) == [episode.to_json() for episode in played]
    assert capsys.readouterr() == ("", "")
    assert len(collect(envs, policy, 2, path=path)) == 2
    assert len(path.read_text().splitlines()) == 10
    envs.close()


def test_slow_slots_do_not_hold_back_the_others(urls: tuple[str, str]) -> None:
    envs = _make(urls[0], 4)
    ended: list[tuple[int, float]] = []

    def policy(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
        ended.extend((episode.number, time.perf_counter()) for episode in episodes)
        return [{"seconds": 0.4 if episode.number == 0 else 0.0} for episode in episodes]

    collect(envs, policy, 8)
    order = [number for number, _ in ended]
    assert order.index(7) < len(order) - 1 - order[::-1].index(0)
    envs.close()


def test_wrong_actions_are_errors_for_the_policy(urls: tuple[str, str]) -> None:
    envs = _make(urls[0], 2)
    errors: list[str] = []

    def policy(episodes: Sequence[Episode]) -> list[Any]:
        errors.extend(episode.error for episode in episodes if episode.error)
        wrong: list[Any] = ["no JSON", '{"seconds": "long"}', {"raises": "boom"}]
        return [
            wrong[len(episode.steps)] if episode.number == 0 and len(episode.steps) < 2 else {}
            for episode in episodes
        ]

    played = collect(envs, policy, 3)
    assert [episode.reward for episode in played] == [5.0] * 3
    assert len(played[0].steps) == 7
    assert "JSON" in errors[0]
    assert "seconds" in errors[1]
    envs.close()


@pytest.mark.parametrize(("action", "says"), [("no JSON", "JSON"), ({"raises": "boom"}, "boom")])
def test_three_wrong_actions_end_an_episode(action: Any, says: str, urls: tuple[str, str]) -> None:
    envs = _make(urls[0], 2)
    played = collect(envs, lambda episodes: [action] * len(episodes), 3)
    for episode in played:
        assert episode.truncated
        assert len(episode.steps) == 3
        assert says in episode.error
    envs.close()


def test_a_lost_session_ends_its_episode(urls: tuple[str, str]) -> None:
    envs = _make(urls[0], 2, step_timeout_s=0.5)

    def policy(episodes: Sequence[Episode]) -> list[Any]:
        return [{"seconds": 2.0 if episode.number == 0 else 0.0} for episode in episodes]

    played = collect(envs, policy, 4)
    assert played[0].truncated
    assert played[0].error
    assert played[-1].reward == 5.0
    envs.close()


def test_tools_are_called(urls: tuple[str, str]) -> None:
    envs = _make(urls[1], 2)

    def policy(episodes: Sequence[Episode]) -> list[Any]:
        items = ["egg", "bomb"]
        return [
            json.dumps({"tool_name": "put", "arguments": {"item": items[len(episode.steps)]}})
            for episode in episodes
        ]

    played = collect(envs, policy, 3, seed=1)
    assert [episode.reward for episode in played] == [2 + 3, 3 + 4, 4 + 5]
    assert played[0].steps[1]["observation"]["tool_name"] == "put"
    envs.close()


def test_gymnasium_episodes_are_those_of_the_local_environment(serve_gym: Callable[[str], str]) -> None:
    envs = _make(serve_gym("FrozenLake-v1"), 4)
    played = collect(
        envs, lambda episodes: [{"action": (e.number + len(e.steps)) % 4} for e in episodes], 10, seed=3
    )
    local = gym.make("FrozenLake-v1")
    for episode in played:
        observation, _ = local.reset(seed=episode.seed)
        for step in episode.steps:
            assert step["observation"] == {"observation": observation}
            observation, reward, terminated, truncated, _ = local.step(step["action"]["action"])
            assert step["reward"] == reward
        assert (episode.terminated, episode.truncated) == (terminated, truncated)
    envs.close()


def test_the_recipe_runs(
    serve_gym: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_MY_ENV_URL", serve_gym("FrozenLake-v1"))
    monkeypatch.chdir(tmp_path)
    (recipe,) = recipes("rollouts.md")
    with model_server('{"action": 3}', '{"action": 9}', '{"action": 1}') as model:
        space: dict[str, Any] = {}
        exec(recipe.replace("http://localhost:8001", model.base_url), space)
    assert len(space["played"]) == 100
    lines = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert len(lines) == 100
    assert any("error" in step for line in lines for step in line["steps"])


def test_what_cannot_work_is_refused(urls: tuple[str, str]) -> None:
    local = gym.make_vec("CartPole-v1", num_envs=2)
    with pytest.raises(ConfigurationError, match="make_vec"):
        collect(local, lambda episodes: [], 1)
    envs = _make(urls[0], 2, autoreset_mode="SameStep")
    with pytest.raises(ConfigurationError, match="SAME_STEP"):
        collect(envs, lambda episodes: [], 1)
    envs.close()
    envs = _make(urls[0], 2)
    with pytest.raises(ConfigurationError, match="returned 0 actions for 1 episodes"):
        collect(envs, lambda episodes: [], 1)
    envs.close()
