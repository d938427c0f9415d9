"""Clients of the Model Context Protocol, and the published tool client, on our server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from openenv_gym import RemoteEnv
from openenv_gym.errors import RemoteEnvironmentError
from openenv_gym.tool_client import ToolClient
from openenv_gym.tool_types import CallToolAction, CallToolObservation, ListToolsAction, ListToolsObservation
from tests.interop.tool_environment import app
from tests.support.peer import peer_server
from tests.support.servers import running, status_of, without_v2

pytestmark = [pytest.mark.timeout(300)]
NAMES = ["put", "look", "drop"]


@pytest.fixture(scope="module")
def kitchen() -> Iterator[str]:
    with running(app) as base_url:
        yield base_url


@pytest.fixture(autouse=True)
def _leaves_no_session(kitchen: str) -> Iterator[None]:
    yield
    for _ in range(100):
        if status_of(f"{kitchen}/health")[1]["active_sessions"] == 0:
            return
        threading.Event().wait(0.05)
    pytest.fail("a session is still open")


def test_the_official_client_uses_tools_while_a_trainer_steps(kitchen: str) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def use() -> None:
        async with (
            streamable_http_client(f"{kitchen}/mcp") as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            started = await session.initialize()
            assert started.server_info.name == "Kitchen"
            assert [tool.name for tool in (await session.list_tools()).tools] == NAMES
            for count in (1, 2, 3):
                put = await session.call_tool("put", {"item": "egg"})
                assert put.structured_content == {"egg": count}, "a session keeps its state"
            failed = await session.call_tool("drop", {"why": "slippery"})
            assert failed.is_error
            assert "slippery" in failed.content[0].text  # type: ignore[union-attr]

    steps, stop = 0, threading.Event()

    def train() -> None:
        nonlocal steps
        env = RemoteEnv(kitchen)
        env.reset()
        put = env.action_from_json({"tool_name": "put", "arguments": {"item": "pea"}})
        while not stop.is_set() or steps < 20:
            steps += 1
            assert json.loads(env.step(put)[0]["data"]) == {"pea": steps}
        env.close()

    trainer = threading.Thread(target=train)
    trainer.start()
    asyncio.run(use())
    stop.set()
    trainer.join(timeout=60)
    assert steps >= 20


def test_fastmcp_s_client_uses_tools(kitchen: str) -> None:
    from fastmcp import Client
    from fastmcp.exceptions import ToolError

    async def use() -> None:
        async with Client(f"{kitchen}/mcp") as first, Client(f"{kitchen}/mcp") as second:
            await first.call_tool("put", {"item": "egg"})
            assert (await first.call_tool("look", {})).content[0].text == "1 egg"
            assert (await second.call_tool("look", {})).content[0].text == "nothing"
            with pytest.raises(ToolError, match="hot"):
                await first.call_tool("drop", {"why": "hot"})
            with pytest.raises(Exception, match="Unknown tool"):
                await first.call_tool("eat", {})

    asyncio.run(use())


def rpc(base_url: str, method: str, request_id: Any = 1, **params: Any) -> Any:
    request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    status, response = status_of(f"{base_url}/mcp", request)
    assert status == 200
    assert response["id"] == request_id
    return response


def test_published_requests_over_http(kitchen: str) -> None:
    tools = rpc(kitchen, "tools/list")["result"]["tools"]
    assert [tool["name"] for tool in tools] == NAMES
    assert tools[0]["inputSchema"]["required"] == ["item"]
    called = rpc(kitchen, "tools/call", name="put", arguments={"item": "egg"})["result"]
    assert called["data"] == called["structured_content"] == called["structuredContent"] == {"egg": 1}
    assert (called["is_error"], called["isError"]) == (False, False)
    session = rpc(kitchen, "openenv/session/create", "a")["result"]["session_id"]
    for count in (1, 2):
        arguments: Any = {"name": "put", "arguments": {"item": "egg"}, "session_id": session}
        assert rpc(kitchen, "tools/call", **arguments)["result"]["data"] == {"egg": count}
    assert rpc(kitchen, "openenv/session/close", session_id=session)["result"]["closed"] is True
    assert rpc(kitchen, "tools/list", session_id=session)["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "prompts/list"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "eat"}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": [1]}, -32602),
        ([1], -32600),
        ({"id": 1}, -32600),
    ],
)
def test_bad_requests_have_the_code_of_json_rpc(kitchen: str, request_: Any, code: int) -> None:
    assert status_of(f"{kitchen}/mcp", request_)[1]["error"]["code"] == code


def test_tools_over_websockets(kitchen: str) -> None:
    look = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "look"}}
    put = {
        "jsonrpc": "2.0",
        "id": 8,
        "method": "tools/call",
        "params": {"name": "put", "arguments": {"item": "egg"}},
    }
    bare = websocket.create_connection(kitchen.replace("http", "ws") + "/mcp", timeout=10)
    inside = websocket.create_connection(kitchen.replace("http", "ws") + "/ws", timeout=10)
    for request in (put, look):
        bare.send(json.dumps(request))
        inside.send(json.dumps({"type": "mcp", "data": request}))
        answers = json.loads(bare.recv()), json.loads(inside.recv())
        assert answers[1] == {"type": "mcp", "data": answers[0]}
    assert answers[0]["result"]["content"][0]["text"] == "1 egg"
    for nonsense in ("{", "", "[" * 100_000):
        bare.send(nonsense)
        assert json.loads(bare.recv())["error"]["code"] == -32700
    bare.send_binary(b"\xff")
    assert json.loads(bare.recv())["error"]["code"] == -32700
    bare.send_binary(json.dumps(look).encode())
    assert json.loads(bare.recv()) == answers[0], "the frame's kind does not matter"
    bare.close()
    inside.close()


@pytest.mark.parametrize("v2", [True, False])
def test_our_tool_client(v2: bool) -> None:
    with running(app if v2 else without_v2(app)) as base_url:
        with ToolClient(base_url) as client:
            assert [tool.name for tool in client.list_tools()] == NAMES
            assert client.call_tool("look") == "nothing", "a first step may come before the reset"
            assert client.call_tool("put", item="egg", count=2) == {"egg": 2}
            with pytest.raises(RemoteEnvironmentError, match="too hot") as caught:
                client.call_tool("drop", why="too hot")
            assert isinstance(caught.value, RuntimeError)
            assert client.has_tool("put")
            assert client.get_tool("eat") is None
            assert client.reset(seed=4).metadata == {"seed": 4}
            observation = client.step(CallToolAction(tool_name="look")).observation
            assert isinstance(observation, CallToolObservation)
            assert observation.result["data"] == "nothing"
            listed = client.step(ListToolsAction()).observation
            assert isinstance(listed, ListToolsObservation)
            assert [tool.name for tool in listed.tools] == NAMES

        async def use() -> Any:
            async with ToolClient(base_url) as client:
                tools: Any = client
                await tools.list_tools()
                return await tools.call_tool("put", item="fig")

        assert asyncio.run(use()) == {"fig": 1}


THEIRS = """
import asyncio, sys
from openenv.core.mcp_client import MCPToolClient

async def main():
    async with MCPToolClient(base_url=sys.argv[1]) as client:
        print([tool.name for tool in await client.list_tools()])
        print(await client.call_tool("put", item="egg", count=2))
        print(await client.call_tool("look"))
        try:
            await client.call_tool("drop", why="too hot")
        except RuntimeError as error:
            print("too hot" in str(error))
        await client.reset()
        print(await client.call_tool("look"))

asyncio.run(main())
"""


def test_the_published_tool_client_finds_on_our_server_what_it_finds_on_its_own(
    kitchen: str, peer_python: Path, tmp_path: Path
) -> None:
    uvicorn = ("uvicorn", "tool_environment:app", "--port", "PORT", "--log-level", "warning")
    with peer_server(peer_python, "-m", *uvicorn, cwd=Path(__file__).parent) as theirs:
        found = []
        for base_url in (kitchen, theirs):
            command = [str(peer_python), "-P", "-c", THEIRS, base_url]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            found.append(done.stdout.splitlines())
    assert found[0][:4] == [str(NAMES), "{'egg': 2}", "2 egg", "True"]
    assert found[0] == found[1]
