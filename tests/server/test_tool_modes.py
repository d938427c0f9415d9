"""Tools of one mode, and code that calls tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from openenv_server import MCPEnvironment, Observation, State, create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import ConfigurationError
from openenv_gym.tool_types import CallToolAction, CallToolObservation, ListToolsAction
from tests.support.servers import running


def paying(money: str) -> Callable[[int], str]:
    def pay(amount: int) -> str:
        """Pay"""
        return f"paid {amount}{money}"

    return pay


class Desk(MCPEnvironment):
    def __init__(self, mode: str | None = None) -> None:
        super().__init__()
        self._mode = mode
        self.notes: list[str] = []
        self.calls = 0

        @self.tool()
        def note(text: str) -> int:
            """Write something down"""
            self.notes.append(text)
            return len(self.notes)

        self.tool(mode="simulation")(paying(" in play money"))
        self.tool(mode="production")(paying(""))

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Observation:
        self.notes = []
        return Observation()

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        self.calls += 1
        return super().step(action, timeout_s, **kwargs)

    async def step_async(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        self.calls += 1
        return await super().step_async(action, timeout_s, **kwargs)

    @property
    def state(self) -> State:
        return State(step_count=self.calls)


@pytest.mark.parametrize(
    ("mode", "answer"), [("simulation", "paid 3 in play money"), ("production", "paid 3"), (None, None)]
)
def test_a_mode_has_tools_besides(mode: str | None, answer: str | None) -> None:
    desk = Desk(mode)
    tools = {tool.name: tool for tool in desk.step(ListToolsAction()).tools}
    assert [*tools] == (["note"] if mode is None else ["note", "pay"])
    paid = desk.call_tool("pay", {"amount": 3})
    if mode is None:
        assert paid.error is not None
        assert paid.error.error_type == "tool_not_found"
    else:
        assert tools["pay"].input_schema["required"] == ["amount"]
        assert paid.result["data"] == answer
    wrong = desk.call_tool("note", {"text": 1}).error
    assert wrong is not None
    assert wrong.error_type == "invalid_args"
    desk.close()


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown mode 'training': it is simulation or production"):
        Desk().tool(mode="training")


def test_a_tool_of_a_mode_cannot_have_a_name_of_the_environment_s() -> None:
    def reset() -> None: ...

    with pytest.raises(ConfigurationError, match="a tool named reset"):
        Desk().tool(mode="simulation")(reset)


def test_code_calls_tools() -> None:
    desk = Desk("simulation")
    assert desk.supports_code_mode
    assert set(desk.get_callables()) == {"note", "pay"}
    code = "def twice(text):\n    note(text)\n    return note(text)\nresult = [twice('egg'), pay(2)]"
    assert desk.execute_code(code).metadata == {"result": [2, "paid 2 in play money"]}
    assert desk.notes == ["egg", "egg"]
    assert desk.execute_code("note('pea')").metadata == {"result": None}
    assert desk.execute_code("1 +").metadata["error"].startswith("Syntax error: ")
    assert desk.execute_code("pay('x' / 2)").metadata["error"].startswith("unsupported operand")
    desk.close()


def test_an_environment_calls_its_own_tools() -> None:
    desk = Desk()

    async def use() -> Any:
        async with desk.mcp_session() as client:
            await client.call_tool("note", {"text": "a"})
            return (await desk.mcp_client.call_tool("note", {"text": "b"})).data

    assert asyncio.run(use()) == 2
    desk.close()


def test_an_async_step_calls_tools_once() -> None:
    with (
        running(create_app(Desk, CallToolAction, CallToolObservation)) as url,
        GenericEnvClient(url) as client,
    ):
        client.reset()
        assert client.step({"type": "list_tools"}).observation["tools"][0]["name"] == "note"
        action = {"type": "call_tool", "tool_name": "note", "arguments": {"text": "a"}}
        assert client.step(action).observation["result"]["data"] == 1
        assert client.state()["step_count"] == 2
