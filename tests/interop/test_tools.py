"""Environments whose actions call tools: the same file on the published server, and on ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ActionOutsideSpaceError
from openenv_gym.integrations.trl import environment_factory
from openenv_gym.wrappers import flatten_for_rl
from tests.interop.tool_environment import app
from tests.support.peer import peer_server
from tests.support.servers import running, without_v2

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["theirs", "ours", "ours, version 1"])
def kitchen(request: pytest.FixtureRequest, peer_python: Path) -> Iterator[str]:
    if request.param == "theirs":
        uvicorn = ("uvicorn", "tool_environment:app", "--port", "PORT", "--log-level", "warning")
        with peer_server(peer_python, "-m", *uvicorn, cwd=Path(__file__).parent) as base_url:
            yield base_url
        return
    with running(app if request.param == "ours" else without_v2(app)) as base_url:
        yield base_url


def test_each_tool_is_an_alternative_of_the_action_space(kitchen: str) -> None:
    env = gym.make("openenv/remote", base_url=kitchen)
    tools = env.unwrapped.tools  # type: ignore[attr-defined]
    assert [(tool.name, tool.description) for tool in tools] == [
        ("put", "Put something on the shelf, and see what is there"),
        ("look", "Look at the shelf"),
        ("drop", "Drop it all"),
    ]
    assert tools[0].input_schema["required"] == ["item"]
    assert isinstance(env.action_space, spaces.OneOf)
    assert [list(part) for part in env.action_space.spaces] == [["item", "count"], [], ["why"]]
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_each_tool_is_a_method_for_trl(kitchen: str) -> None:
    kind = environment_factory(kitchen)
    one: Any = kind()
    other: Any = kind()
    assert (one.reset(seed=3), other.reset()) == ("", "")
    assert json.loads(one.put(item="egg", count=2)) == {"egg": 2}
    assert (one.look(), other.look()) == ("2 egg", "nothing")
    assert one.drop(why="too hot").startswith("Error: ")
    assert "count" in one.put(item="egg", count="many")
    assert "missing a required argument: 'item'" in one.put(count=2)
    assert (one.reward, one.done) == (0.0, False)
    kind.server.close()


def test_a_tool_s_answer_has_its_text_its_data_and_its_error(kitchen: str) -> None:
    env = RemoteEnv(kitchen)
    nothing = {"tool": "", "text": "", "data": "null", "error": ""}
    assert env.reset(seed=3) == (nothing, {"seed": 3})
    put = env.action_from_json({"tool_name": "put", "arguments": {"item": "egg", "count": 2}})
    assert env.action_space.contains(put)
    observation = env.step(put)[0]
    assert (observation["tool"], json.loads(observation["text"]), observation["error"]) == (
        "put",
        {"egg": 2},
        "",
    )
    assert json.loads(observation["data"]) == {"egg": 2}
    look = env.action_from_json('{"type": "call_tool", "tool_name": "look"}')
    observation = env.step(look)[0]
    assert (observation["text"], observation["data"]) == ("2 egg", '"2 egg"')
    assert env.observation_to_json(observation)["result"]["content"] == [{"type": "text", "text": "2 egg"}]
    observation = env.step((np.int64(2), {"why": "too hot"}))[0]
    assert observation["text"] == ""
    assert observation["error"].startswith("execution_error: ")
    assert "too hot" in observation["error"]
    for written, problem in [
        ({"tool_name": "eat"}, "tool_name: 'eat' is not one of put, look, drop"),
        ({"tool_name": "put", "arguments": {"item": 3}}, "arguments.item: 3 is not text"),
        ({"tool_name": "put", "arguments": {}}, "arguments.item: is missing"),
        ({"tool_name": "look", "arguments": {"far": 1}}, "arguments.far: is not one of the fields"),
        ({"tool_name": "look", "argument": {}}, "argument: is not one of the fields"),
    ]:
        with pytest.raises(ActionOutsideSpaceError) as caught:
            env.action_from_json(written)
        assert problem in str(caught.value)
    env.close()


def test_tools_that_change_are_reported(kitchen: str, caplog: pytest.LogCaptureFixture) -> None:
    env = RemoteEnv(kitchen)
    env.reset()
    env.step(env.action_from_json({"tool_name": "look"}))
    assert "tools_changed" not in env.reset()[1]
    env.step(env.action_from_json({"tool_name": "put", "arguments": {"item": "key"}}))
    assert env.reset()[1]["tools_changed"] == {"added": ["unlock"], "removed": []}
    assert "unlock" in caplog.text
    env.close()


def test_a_vector_environment_knows_tools(kitchen: str) -> None:
    envs = RemoteVectorEnv(kitchen, 3)
    envs.reset(seed=1)
    calls = [{"tool_name": "put", "arguments": {"item": "pea", "count": count}} for count in (1, 2, 3)]
    observations = envs.step(envs.actions_from_json(calls))[0]
    assert envs.observation_space.contains(observations)
    assert [json.loads(data) for data in observations["data"]] == [{"pea": 1}, {"pea": 2}, {"pea": 3}]
    envs.step(envs.action_space.sample())
    envs.close()


def test_flat_spaces_know_tools(kitchen: str) -> None:
    env = flatten_for_rl(gym.make("openenv/remote", base_url=kitchen))
    env.reset(seed=1)
    for _ in range(5):
        observation, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
    env.close()


def openenv(*arguments: str, typed: str = "") -> str:
    command = [sys.executable, "-m", "openenv_cli", *arguments]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_know_tools(kitchen: str) -> None:
    shown = openenv("spaces", kitchen)
    assert "put " in shown
    assert "the arguments of a tool" in shown
    assert "what a tool said" in shown
    assert "tools\tput, look, drop\n" in openenv("info", kitchen)
    whole = json.dumps({"tool_name": "put", "arguments": {"item": "fig"}})
    played = openenv("play", kitchen, typed=f"put\negg\n2\nlook\n{whole}\nlook\n:quit\n")
    assert "2 egg" in played
    assert "1 fig" in played
