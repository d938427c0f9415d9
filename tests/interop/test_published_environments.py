"""Environments of the published package on our server, with both packages installed."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import pytest

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.tool_client import ToolClient
from tests.support.peer import both_python
from tests.support.servers import status_of

pytestmark = [pytest.mark.timeout(300)]
HERE = Path(__file__).parent
FOLDER = HERE / "published" / "cart_env"


class Served(NamedTuple):
    """The base URLs of the folder on both servers, and those of `apps` on ours."""

    ours: str
    theirs: str
    apps: dict[str, str]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    python = str(both_python())
    serve = [python, "-m", "openenv_cli", "serve", str(FOLDER), "--port", "0"]
    commands = [serve, [*serve, "--server", "published"], [python, "-m", "published"]]
    servers = [subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        ours, theirs, apps = [server.stdout.readline().strip() for server in servers if server.stdout]
        yield Served(ours, theirs, json.loads(apps))
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(timeout=20)


def episode(base_url: str) -> list[Any]:
    """A reset, steps and the state, as a typed client sees them."""
    with GenericEnvClient(base_url) as client:
        results = [client.reset(seed=1, episode_id="e", unknown=3)]
        results += [client.step({"push": push}) for push in (-1, 1, 1, 1)]
        state = client.state()
    return [*[(r.observation, r.reward, r.done) for r in results], state]


def test_a_folder_is_served_by_our_server_unless_theirs_is_asked_for(served: Served) -> None:
    assert "max_sessions" in status_of(f"{served.ours}/health")[1]
    assert status_of(f"{served.theirs}/health")[1] == {"status": "healthy"}
    assert status_of(f"{served.ours}/health")[1]["max_sessions"] == 8


def test_an_episode_is_the_same_on_both(served: Served) -> None:
    ours, theirs = episode(served.ours), episode(served.theirs)
    assert ours[-1] == theirs[-1]
    for (observation, *rest), (their_observation, *their_rest) in zip(ours[:-1], theirs[:-1], strict=True):
        assert rest == their_rest
        assert observation["position"] == their_observation["position"]
    assert [reward for _, reward, _ in ours[1:-1]] == [-1, 1, 1, 1]


def test_it_is_a_gymnasium_environment(served: Served) -> None:
    env = gym.make("openenv/remote", base_url=served.ours)
    observation, info = env.reset(seed=1, options={"unknown": 3})
    assert int(observation["position"]) == 1
    assert info["ignored_options"] == ["unknown"]
    assert env.observation_space.contains(observation)
    observation, reward, terminated, _, info = env.step(env.unwrapped.action_from_json({"push": 1}))  # type: ignore[attr-defined]
    assert (int(observation["position"]), reward, terminated) == (2, 1.0, False)
    assert info["pushes"] == 1
    env.close()
    envs = RemoteVectorEnv(served.ours, 4)
    envs.reset(seed=[0, 1, 2, 3])
    observations, rewards, *_ = envs.step(envs.actions_from_json([{"push": push} for push in (1, 0, -1, 1)]))
    assert observations["position"].tolist() == [1, 1, 1, 4]
    assert rewards.tolist() == [1, 0, -1, 1]
    envs.close()


def test_the_routes_answer_as_theirs_do(served: Served) -> None:
    for path, body in [
        ("/state", None),
        ("/reset", {"seed": 2}),
        ("/reset", None),
        ("/list_environments", None),
        ("/cart_env/splits", None),
        ("/other/splits", None),
        ("/step", {"action": {"push": 5}}),
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "nothing"}),
    ]:
        (status, ours), (their_status, theirs) = (
            status_of(url + path, body) for url in (served.ours, served.theirs)
        )
        assert status == their_status, path
        if status == 200 and path != "/mcp":
            assert theirs == {key: ours.get(key) for key in theirs} if isinstance(ours, dict) else ours, path
    assert status_of(f"{served.ours}/")[1] == {"page": "the author's"}
    # Theirs fails, because a field has no JSON Schema.
    assert status_of(f"{served.ours}/schema")[0] == 200
    assert "where" in status_of(f"{served.ours}/schema")[1]["state"]["properties"]
    with pytest.raises(ValueError, match="Expecting value"):
        status_of(f"{served.theirs}/schema")


def test_every_route_of_theirs_is_here(served: Served) -> None:
    ours, theirs = (status_of(f"{url}/openapi.json")[1]["paths"] for url in (served.ours, served.theirs))
    methods = {path: set(operations) for path, operations in ours.items()}
    assert {
        path for path, operations in theirs.items() if not set(operations) <= methods.get(path, set())
    } == set()
    assert methods.keys() - theirs.keys() == {"/live", "/metrics", "/ready"}


def test_published_tools_are_listed_and_called(served: Served) -> None:
    url = served.apps["counted"]
    with ToolClient(url) as client:
        assert [tool.name for tool in client.list_tools()] == ["shout", "rest", "plain"]
        client.reset(episode_id="e")
        assert client.call_tool("shout", text="egg") == "EGG"
        assert client.call_tool("plain") == 4
    env = RemoteEnv(url)
    env.reset()
    observation = env.step(env.action_from_json({"tool_name": "shout", "arguments": {"text": "pea"}}))[0]
    assert (observation["text"], observation["error"]) == ("PEA", "")
    env.close()


def test_what_the_author_overrides_is_called_once_a_step(served: Served) -> None:
    with GenericEnvClient(served.apps["counted"]) as client:
        client.reset()
        for action in (
            {"type": "list_tools"},
            {"type": "call_tool", "tool_name": "shout", "arguments": {"text": "a"}},
            {"type": "call_tool", "tool_name": "none"},
        ):
            result = client.step(action)
        assert result.observation["error"]["error_type"] == "tool_not_found"
        assert client.state()["step_count"] == 3


def test_a_slow_published_tool_does_not_hold_back_other_sessions(served: Served) -> None:
    def rest() -> None:
        with GenericEnvClient(served.apps["counted"]) as slow:
            slow.reset()
            slow.step({"type": "call_tool", "tool_name": "rest", "arguments": {"seconds": 3}})
            ended.set()

    ended = threading.Event()
    thread = threading.Thread(target=rest)
    with GenericEnvClient(served.apps["counted"]) as client:
        client.reset()
        thread.start()
        time.sleep(0.5)
        for _ in range(5):
            client.step({"type": "call_tool", "tool_name": "plain"})
        assert not ended.is_set()
    thread.join(timeout=30)
    assert ended.is_set()


@pytest.mark.parametrize(("name", "tool"), [("counted", "shout"), ("echo", "echo"), ("steps", "count")])
def test_any_mcp_client_uses_the_tools(served: Served, name: str, tool: str) -> None:
    from fastmcp import Client

    arguments, answer = ({"to": 3}, "[0, 1, 2]") if name == "steps" else ({"text": "HI"}, "HI")

    async def use() -> None:
        async with Client(f"{served.apps[name]}/mcp") as client:
            assert tool in [found.name for found in await client.list_tools()]
            result = await client.call_tool(tool, arguments)
            assert result.content[0].text == answer

    asyncio.run(use())


def test_actions_of_its_own_beside_tools(served: Served) -> None:
    with GenericEnvClient(served.apps["echo"]) as client:
        assert client.reset().observation["text"] == "ready"
        assert client.step({"text": "four"}).reward == pytest.approx(0.4)


def test_tasks_of_a_published_environment(served: Served) -> None:
    url = served.apps["steps"]
    assert status_of(f"{url}/steps/splits") == (200, [{"name": "train", "type": "train"}])
    body = {"split": "train", "index": 4}
    assert status_of(f"{url}/steps/task", body) == (200, {"task": body})
    assert status_of(f"{url}/steps/num_tasks", {"split": "train"})[0] == 501


def test_an_application_with_routes_of_its_own(served: Served) -> None:
    url = served.apps["routes"]
    assert status_of(f"{url}/reset", {})[1] == {"reset": "the author's"}
    assert status_of(f"{url}/step", {"action": {"text": "a"}})[0] == 404
    with GenericEnvClient(url) as client:
        assert client.reset().observation["text"] == "ready"
