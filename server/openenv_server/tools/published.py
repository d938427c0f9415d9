"""The tools of environments that are written against the published package.

There are two kinds: an environment with a FastMCP client of its tools (``mcp_client``, which the published
`MCPEnvironment` makes), and one whose `step` lists and calls tools by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from inspect import isawaitable
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from openenv_gym.tool_types import CallToolObservation, Tool, ToolError, ToolErrorType
from openenv_server.calls import EnvironmentCalls
from openenv_server.serialization import tool_actions
from openenv_server.tools.environment import CALL_TIMEOUT_S, MCPEnvironment

T = TypeVar("T")


class Tools(Protocol):
    """The tools of an environment. Called on the thread of its session."""

    def list_tools(self) -> list[Any]:
        """Return the tools, each with ``name``, ``description`` and ``input_schema``."""

    def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool; returns an observation with ``result`` and ``error``."""


class ClientTools:
    """The tools behind an environment's FastMCP client, on an event loop in the session's thread.

    Args:
        environment: It has ``mcp_client``, and perhaps ``mcp_session``, a context in which that is connected.
        stays_connected: Connect once, and not for each call. A method of the environment that calls tools on
            another event loop would block then.
    """

    def __init__(self, environment: Any, *, stays_connected: bool) -> None:
        self._connect: Callable[[], Any] = getattr(environment, "mcp_session", lambda: environment.mcp_client)
        self._client: Callable[[], Any] = lambda: environment.mcp_client
        self._stays_connected = stays_connected
        self._connection = AsyncExitStack()
        self._is_connected = False
        self._runner: asyncio.Runner | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the environment."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._connected(coroutine))

    def runs(self, method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
        """Return a function that runs a method's coroutine."""
        return lambda *arguments, **keywords: self.run(method(*arguments, **keywords))

    async def _connected(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._stays_connected and not self._is_connected:
            try:
                await self._connection.enter_async_context(self._connect())
            except BaseException:
                coroutine.close()
                raise
            self._is_connected = True
        return await coroutine

    def list_tools(self) -> list[Tool]:
        """Return the tools that can be called now."""

        async def list_them() -> list[Tool]:
            async with self._connect():
                return [
                    Tool(name=tool.name, description=tool.description or "", input_schema=tool.inputSchema)
                    for tool in await self._client().list_tools()
                ]

        return self.run(list_them())

    def call_tool(self, name: str, arguments: dict[str, Any]) -> CallToolObservation:
        """Call a tool. A call that fails is an observation with an ``error``."""

        async def call() -> CallToolObservation:
            async with self._connect():
                client = self._client()
                if name not in {tool.name for tool in await client.list_tools()}:
                    return _failed(name, ToolErrorType.TOOL_NOT_FOUND, f"Unknown tool: {name!r}")
                try:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        return CallToolObservation(
                            tool_name=name, result=await client.call_tool(name, arguments)
                        )
                except TimeoutError:
                    message = f"The tool {name!r} took more than {CALL_TIMEOUT_S:g} s"
                    return _failed(name, ToolErrorType.TIMEOUT, message)
                except Exception as error:
                    return _failed(name, ToolErrorType.EXECUTION_ERROR, str(error))

        return self.run(call())

    def close(self) -> None:
        """Disconnect, and release the event loop."""
        if self._runner is not None:
            try:
                self._runner.run(self._connection.aclose())
            finally:
                self._runner.close()
                self._runner = None


class StepTools:
    """The tools of an environment whose `step` takes actions that list and call them.

    Args:
        step: Takes an action.
        action_model: The server's action model, one of those two.
    """

    def __init__(self, step: Callable[[Any], Any], action_model: type[BaseModel]) -> None:
        self._step = step
        self._models = tool_actions(action_model)

    def list_tools(self) -> list[Any]:
        """Return the tools that can be called now."""
        tools: list[Any] = self._take(self._models["list_tools"]()).tools
        return tools

    def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool; returns the observation."""
        return self._take(self._models["call_tool"](tool_name=name, arguments=arguments))

    def _take(self, action: BaseModel) -> Any:
        observation = self._step(action)

        async def wait() -> Any:
            return await observation

        return asyncio.run(wait()) if isawaitable(observation) else observation


def tools_of(environment: Any, action_model: type[BaseModel], calls: EnvironmentCalls) -> Tools | None:
    """The tools of an environment; None if it has none.

    Args:
        environment: The environment.
        action_model: The server's action model.
        calls: How to call the environment.
    """
    if isinstance(environment, MCPEnvironment):
        return environment
    if getattr(environment, "mcp_client", None) is not None:
        return ClientTools(environment, stays_connected=calls.has_own_loop and calls.step_is_async)
    if hasattr(environment, "list_tools") and hasattr(environment, "call_tool"):
        tools: Tools = environment
        return tools
    if issubclass(action_model, (*tool_actions(action_model).values(),)):
        return StepTools(getattr(environment, calls.step_name), action_model)
    return None


def _failed(name: str, kind: ToolErrorType, message: str) -> CallToolObservation:
    return CallToolObservation(tool_name=name, error=ToolError(error_type=kind, message=message))
