"""Trainers that are written for the published package, with our client and our server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openenv_server import Action, Environment, Observation, State, create_app

from tests.interop.tool_environment import app as kitchen
from tests.support.model_server import model_server
from tests.support.servers import running
from tests.trainers.recipes import LIBRARIES
from tests.trainers.venvs import trainers_python

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)  # once, the libraries are installed


class Say(Action):
    message: str


class Echoed(Observation):
    echoed_message: str
    message_length: int = 0


class Echo(Environment):
    """Echoes messages, and rewards long ones."""

    def reset(self) -> Echoed:
        return Echoed(echoed_message="Ready")

    def step(self, action: Say) -> Echoed:
        length = len(action.message)
        return Echoed(echoed_message=action.message, message_length=length, reward=0.1 * length)

    @property
    def state(self) -> State:
        return State()


echo = create_app(Echo, Say, Echoed, env_name="echo_env")


def test_trl_trains_on_an_environment() -> None:
    with running(echo) as base_url:
        done = subprocess.run(
            [trainers_python(), "-m", "tests.trainers.trl_echo", base_url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads(done.stdout.splitlines()[-1])
    assert len(steps) == 2
    for step in steps:
        assert (step["tools/call_frequency"], step["tools/failure_frequency"]) == (1.0, 0.0)
        assert step["reward"] > 0


@pytest.mark.parametrize(
    ("app", "replies", "reward"),
    [
        (echo, ["Hello", '{"message": "Hello again"}'], 1.6),
        (kitchen, ['{"type": "call_tool", "tool_name": "put", "arguments": {"item": "egg"}}'], 0.0),
    ],
)
def test_verifiers_plays_an_episode(app: Any, replies: list[str], reward: float, tmp_path: Path) -> None:
    # The empty reply at the end ends the episode.
    with running(app) as base_url, model_server(*replies, "") as model:
        (recipe,) = re.findall(r"```toml\n(.*?)```", (LIBRARIES / "verifiers.md").read_text(), re.DOTALL)
        for old, new in (
            ("http://localhost:8000", base_url),
            ("http://localhost:8001", model.base_url),
            ("{seed = 1}, {seed = 2}", "{seed = 7}"),
        ):
            assert old in recipe
            recipe = recipe.replace(old, new)
        config = tmp_path / "eval.toml"
        config.write_text(recipe)
        done = subprocess.run(
            [trainers_python().with_name("vf-eval"), "@", str(config), "-o", str(tmp_path / "runs")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "MODEL_KEY": "k"},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (traces,) = tmp_path.rglob("traces.jsonl")
    episode = json.loads(traces.read_text())
    assert episode["ok"], done.stdout + done.stderr
    assert episode["traces"][0]["rewards"]["openenv_reward"]["score"] == pytest.approx(reward)
    said = [json.loads(asked.body["messages"][-1]["content"]) for asked in model.asked]
    assert len(said) == len(replies) + 1
    if app is kitchen:
        assert [tool["name"] for tool in said[0]["action_schema"]["available_tools"]] == [
            "put",
            "look",
            "drop",
        ]
        assert said[-1]["observation"]["result"]["data"] == {"egg": 1}
    else:
        assert said[-1]["observation"]["echoed_message"] == "Hello again"
