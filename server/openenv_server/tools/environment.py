"""`MCPEnvironment`: an environment whose tools are functions of a FastMCP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from openenv_gym.contract import ServerMode
from openenv_gym.errors import ConfigurationError, MissingExtraError
from openenv_gym.tool_types import (
    RESERVED_TOOL_NAMES,
    CallToolAction,
    CallToolObservation,
    ListToolsAction,
    ListToolsObservation,
    Tool,
    ToolError,
    ToolErrorType,
)
from openenv_gym.types import Action, Observation, State
from openenv_server.environment import Environment, Transform

# How long a call may take if its client sets no limit, in seconds.
CALL_TIMEOUT_S = 30.0

T = TypeVar("T")


class MCPEnvironment(Environment[Any, Any, State]):
    """An environment whose actions list and call tools.

    The tools are functions of a FastMCP server that each instance makes for itself, so they share the
    instance's state. A subclass implements `reset` and `state`, and `_step_impl` for actions of another kind.

    Args:
        mcp_server: A ``fastmcp.FastMCP`` with the tools; by default an empty one, for `tool`.
        transform: As in `Environment`.

    Raises:
        MissingExtraError: FastMCP is not installed.
        ConfigurationError: A tool has the name of one of an environment's own methods.

    Example:
        >>> class Shelf(MCPEnvironment):
        ...     def __init__(self) -> None:
        ...         super().__init__()
        ...         self.items: list[str] = []
        ...
        ...         @self.tool()
        ...         def put(item: str) -> int:
        ...             "Put an item on the shelf; returns how many there are."
        ...             self.items.append(item)
        ...             return len(self.items)
    """

    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = True
    supports_code_mode = True

    # The mode whose tools are there beside those of all modes. A subclass or an instance sets it.
    _mode: str | None = None

    def __init__(self, mcp_server: Any = None, transform: Transform[Any] | None = None) -> None:
        super().__init__(transform)
        if mcp_server is None:
            mcp_server = _fastmcp().FastMCP(type(self).__name__)
        self.mcp_server = mcp_server
        self._servers_of_modes: dict[str, Any] = {}
        self._runner: asyncio.Runner | None = None
        self._check_names([tool.name for tool in self.list_tools()])

    def tool(self, mode: str | None = None) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Make a tool of a function, as a decorator. Its arguments, types and docstring describe the tool.

        Args:
            mode: ``"simulation"`` or ``"production"`` for a tool that is only there if the environment's
                ``_mode`` is that one. By default, it is there in every mode.

        Raises:
            ConfigurationError: The mode is unknown, or the name is one of an environment's own.
        """
        if mode is not None and mode not in {known.value for known in ServerMode}:
            raise ConfigurationError(
                f"Unknown mode {mode!r}: it is {' or '.join(known.value for known in ServerMode)}."
            )

        def add(function: Callable[..., T]) -> Callable[..., T]:
            self._check_names([function.__name__])
            if mode is not None and mode not in self._servers_of_modes:
                self._servers_of_modes[mode] = _fastmcp().FastMCP(type(self).__name__)
            (self.mcp_server if mode is None else self._servers_of_modes[mode]).tool(function)
            return function

        return add

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """List the tools, call one, or take an action of another kind."""
        if isinstance(action, ListToolsAction | CallToolAction):
            return self._run(self._use_tools(action, timeout_s))
        return self._step_impl(action, timeout_s=timeout_s, **kwargs)

    async def step_async(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Take an action as `step` does, without blocking the event loop. For subclasses to override."""
        if isinstance(action, ListToolsAction | CallToolAction):
            return await self._use_tools(action, timeout_s)
        return await asyncio.to_thread(self._step_impl, action, timeout_s=timeout_s, **kwargs)

    async def _use_tools(self, action: ListToolsAction | CallToolAction, timeout_s: float | None) -> Any:
        if isinstance(action, ListToolsAction):
            tools = [_described(tool) for tool in await self._visible_tools()]
            return self._apply_transform(ListToolsObservation(tools=tools))
        return self._apply_transform(await self._call(action.tool_name, action.arguments, timeout_s))

    def _step_impl(self, action: Action, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        """Take an action that is not about tools. Override it if there are such actions."""
        raise TypeError(f"{type(self).__name__} takes no {type(action).__name__}, only calls of tools")

    def list_tools(self) -> list[Tool]:
        """Return the tools that can be called now."""
        return [_described(tool) for tool in self._run(self._visible_tools())]

    def call_tool(
        self, name: str, arguments: dict[str, Any], timeout_s: float | None = None
    ) -> CallToolObservation:
        """Call a tool. A call that fails is an observation with an ``error``.

        Args:
            name: The tool.
            arguments: Its arguments.
            timeout_s: How long it may take, in seconds; by default 30.
        """
        return self._run(self._call(name, arguments, timeout_s))

    def get_callables(self) -> dict[str, Callable[..., Any]]:
        """Return the functions of the tools that can be called now, by name."""
        tools = self._run(self._visible_tools())
        return {tool.name: tool.fn for tool in tools if callable(getattr(tool, "fn", None))}

    def execute_code(self, code: str) -> Observation:
        """Run Python code that calls the tools as functions.

        The code runs in this process and may do everything that it may do. Give it only to environments
        that run in a container.

        Args:
            code: The code. What it assigns to ``result`` is returned.

        Returns:
            An observation with ``result`` in its metadata; with ``error`` if the code raised.
        """
        names: dict[str, Any] = dict(self.get_callables())
        try:
            exec(code, names)
        except SyntaxError as error:
            return Observation(reward=0.0, metadata={"error": f"Syntax error: {error}"})
        except Exception as error:
            return Observation(reward=0.0, metadata={"error": str(error)})
        return Observation(reward=0.0, metadata={"result": names.get("result")})

    @cached_property
    def mcp_client(self) -> Any:
        """A client of the tools, a ``fastmcp.Client``, for an environment that calls its own."""
        return _fastmcp().Client(self.mcp_server)

    @asynccontextmanager
    async def mcp_session(self) -> AsyncIterator[Any]:
        """Connect `mcp_client`, for as long as the context lasts."""
        async with self.mcp_client as client:
            yield client

    def _servers(self) -> list[Any]:
        of_mode = self._servers_of_modes.get(self._mode or "")
        return [self.mcp_server] if of_mode is None else [self.mcp_server, of_mode]

    async def _visible_tools(self) -> list[Any]:
        tools: dict[str, Any] = {}
        for server in self._servers():
            for tool in await server.list_tools():
                tools.setdefault(tool.name, tool)
        return [*tools.values()]

    async def _call(
        self, name: str, arguments: dict[str, Any], timeout_s: float | None
    ) -> CallToolObservation:
        limit_s = CALL_TIMEOUT_S if timeout_s is None else timeout_s
        exceptions = _fastmcp().exceptions
        server, *of_mode = self._servers()
        if of_mode and await server.get_tool(name) is None:
            server = of_mode[0]
        try:
            async with asyncio.timeout(limit_s):
                result = await server.call_tool(name, arguments)
        except exceptions.NotFoundError as error:
            return _failed(name, ToolErrorType.TOOL_NOT_FOUND, error)
        except exceptions.ValidationError as error:
            return _failed(name, ToolErrorType.INVALID_ARGS, error)
        except TimeoutError:
            message = f"The tool {name!r} took more than {limit_s:g} s"
            return _failed(name, ToolErrorType.TIMEOUT, message)
        except Exception as error:
            return _failed(name, ToolErrorType.EXECUTION_ERROR, error)
        data = structured = result.structured_content
        if ((result.meta or {}).get("fastmcp") or {}).get("wrap_result"):
            data = structured["result"]
        content = {
            "content": [part.model_dump(mode="json") for part in result.content],
            "structured_content": structured,
            "data": data,
            "is_error": False,
        }
        return CallToolObservation(tool_name=name, result=content)

    def close(self) -> None:
        """Release the event loop of the tools. A subclass that overrides it calls it too."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of FastMCP, with or without an event loop in this thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._runner is None:
                self._runner = asyncio.Runner()
            return self._runner.run(coroutine)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, coroutine).result()

    def _check_names(self, names: list[str]) -> None:
        if reserved := sorted(RESERVED_TOOL_NAMES.intersection(names)):
            raise ConfigurationError(
                f"{type(self).__name__} has a tool named {', '.join(reserved)}, "
                "which is a name of an environment's own.",
                advice="Give the tool another name.",
            )


def _described(tool: Any) -> Tool:
    return Tool(name=tool.name, description=tool.description or "", input_schema=tool.parameters)


def _failed(name: str, kind: ToolErrorType, reason: object) -> CallToolObservation:
    return CallToolObservation(tool_name=name, error=ToolError(error_type=kind, message=str(reason)))


def _fastmcp() -> Any:
    try:
        import fastmcp
        import fastmcp.exceptions
    except ImportError as error:
        raise MissingExtraError("FastMCP", "mcp") from error
    return fastmcp
