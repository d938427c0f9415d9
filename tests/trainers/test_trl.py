"""TRL's GRPO on tools, on a chat, on a Gymnasium environment and on programs that run; and the recipe."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openenv_gym.providers.process import ProcessProvider
from tests.integrations.environments import kitchen
from tests.support.servers import running
from tests.trainers.venvs import trainers_python

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


@pytest.fixture(scope="module")
def sockets() -> list[Any]:
    return []


@pytest.fixture(scope="module")
def trained(serve_gym: Callable[[str], str], sockets: list[Any]) -> dict[str, Any]:
    """What was logged on each environment, from one process: it takes long to import TRL."""

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            sockets.append(scope)
        await kitchen(scope, receive, send)

    with (
        running(counted) as url,
        ProcessProvider(str(ROOT / "envs" / "chat_env")) as chat,
        ProcessProvider(str(ROOT / "envs" / "coding_env")) as coding,
    ):
        urls = {
            "kitchen": url,
            "chat": chat.base_url,
            "lake": serve_gym("FrozenLake-v1"),
            "coding": coding.base_url,
        }
        done = subprocess.run(
            [trainers_python(), "-m", "tests.trainers.trl_training", json.dumps(urls)],
            cwd=ROOT,
            env={**os.environ, "OPENENV_MY_ENV_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ["kitchen", "chat", "lake", "coding"])
def test_grpo_trains(name: str, trained: dict[str, Any]) -> None:
    *steps, outcome = trained[name]
    assert len(steps) == 2
    assert outcome["changed"]
    assert len(outcome["seen"]) == 16
    for step in steps:
        assert step["tools/call_frequency"] >= 1
        assert step["tools/failure_frequency"] == 0
    rewards = [reward for reward, _, _ in outcome["seen"]]
    logged = [step["rewards/reward_func/mean"] for step in steps]
    assert [sum(rewards[:8]) / 8, sum(rewards[8:]) / 8] == pytest.approx(logged, rel=1e-5)


def test_rewards_are_those_of_the_environment(trained: dict[str, Any]) -> None:
    cooked = trained["kitchen"][-1]["seen"]
    assert all(reward > 1 and not done for reward, done, _ in cooked)
    assert all("missing a required argument: 'item'" in said for _, _, said in cooked)
    chatted = trained["chat"][-1]["seen"]
    assert all(done for _, done, _ in chatted)
    assert len({reward for reward, _, _ in chatted}) > 1
    walked = trained["lake"][-1]["seen"]
    assert {done for _, done, _ in walked} == {True, False}
    coded = trained["coding"][-1]["seen"]
    assert {reward for reward, _, _ in coded} == {0, 1}
    assert all(reward == done == ("print(6 * " in said) for reward, done, said in coded)
    assert all(("ZeroDivisionError" in said) == ("1 / 0" in said) for _, _, said in coded)


def test_a_batch_has_one_connection(trained: dict[str, Any], sockets: list[Any]) -> None:
    assert len(trained["kitchen"]) == 3
    assert len(sockets) == 2  # of the environment, and of the recipe


def test_the_recipe_runs(trained: dict[str, Any]) -> None:
    assert len(trained["recipe"]) == 2
    assert all(step["reward"] > 0 for step in trained["recipe"])
