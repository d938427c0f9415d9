"""A client of environments whose actions call tools."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, cast

from pydantic import ConfigDict

from openenv_gym.client import EnvClient
from openenv_gym.errors import ConfigurationError, RemoteEnvironmentError, RemoteError
from openenv_gym.session.responses import sentence
from openenv_gym.tool_types import CallToolAction, CallToolObservation, ListToolsObservation, Tool, ToolError
from openenv_gym.types import Observation, State, StepResult

log = logging.getLogger("openenv_gym")


class GenericObservation(Observation):
    """An observation of any kind, with the fields that the environment sent."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


class ToolClient(EnvClient[Any, Any, State]):
    """A session on an environment whose actions call tools. The arguments are those of `EnvClient`.

    Its actions are `CallToolAction` and `ListToolsAction`, or whatever else the environment takes. Entered
    with ``async with``, its methods are awaitable, like those of every client.

    Example:
        >>> with ToolClient(base_url="http://localhost:8000") as client:
        ...     client.reset()
        ...     client.call_tool("put", item="egg", count=2)
        {'egg': 2}
    """

    def __init__(
        self,
        base_url: str | None = None,
        connect_timeout_s: float = 10.0,
        message_timeout_s: float = 60.0,
        websocket_ping_interval_s: float | None = 20.0,
        websocket_ping_timeout_s: float | None = 20.0,
        provider: Any = None,
        mode: str | None = "production",
        *args: Any,
        **options: Any,
    ) -> None:
        if mode is not None and mode.lower() != "production":
            raise ConfigurationError(
                f"A client of tools has no mode but 'production', got mode={mode!r}.",
                advice="GenericEnvClient takes mode='simulation'.",
            )
        # The published client has them in this order.
        options.update(zip(("max_message_size_mb", "headers"), args, strict=False))
        super().__init__(
            base_url,
            connect_timeout_s,
            message_timeout_s,
            websocket_ping_interval_s=websocket_ping_interval_s,
            websocket_ping_timeout_s=websocket_ping_timeout_s,
            provider=provider,
            mode="production",
            **options,
        )

    def list_tools(self, use_cache: bool = True) -> list[Tool]:
        """Return the environment's tools. They can be listed before the first reset.

        If the environment says that it has none, the list is empty, and the log has what it said.

        Args:
            use_cache: Whether the list of an earlier call will do.

        Raises:
            OpenEnvError: As `step`.
        """
        return self._call(self._list_tools, use_cache)

    def call_tool(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool, as one step; return its data, or its text if it gave no data.

        Args:
            name: The tool's name, given by position, because a tool may have an argument ``name`` too.
            **arguments: Its arguments.

        Raises:
            RemoteEnvironmentError: The call failed, a RuntimeError too. The session continues.
        """
        return self._call(self._call_tool, name, arguments)

    def get_tool(self, name: str) -> Tool | None:
        """Return a tool; None if there is none of that name."""
        return self._call(self._get_tool, name)

    def has_tool(self, name: str) -> bool:
        """Return whether there is a tool of that name."""
        return self._call(self._has_tool, name)

    _tools: list[Tool] | None = None

    async def _list_tools(self, use_cache: bool) -> list[Tool]:
        if self._tools is None or not use_cache:
            session = await self._usable()
            try:
                tools = await session.list_tools()
            except RemoteError as error:
                if error.operation != "tools/list":
                    raise
                log.warning("%s", error)
                tools = []
            self._tools = [
                Tool(
                    name=str(tool.get("name")),
                    description=str(tool.get("description") or ""),
                    input_schema=tool.get("inputSchema") or tool.get("input_schema") or {},
                )
                for tool in tools
            ]
        return self._tools

    async def _call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        result = await self._step_async(CallToolAction(tool_name=name, arguments=arguments))
        observation = result.observation
        error = getattr(observation, "error", None)
        if isinstance(error, ToolError):
            raise RemoteEnvironmentError(
                f"{self.endpoint}: the tool {name!r} failed: {sentence(error.message)}",
                code=error.error_type.value,
                endpoint=self.endpoint.base_url,
                operation=f"call_tool {name}",
            )
        answer = getattr(observation, "result", None)
        if not isinstance(answer, dict) or "content" not in answer:
            return answer
        if answer.get("data") is not None:
            return answer["data"]
        texts = [str(part.get("text") or "") for part in answer["content"] if isinstance(part, dict)]
        return "\n".join(filter(None, texts))

    async def _get_tool(self, name: str) -> Tool | None:
        return next((tool for tool in await self._list_tools(True) if tool.name == name), None)

    async def _has_tool(self, name: str) -> bool:
        return await self._get_tool(name) is not None

    def _step_payload(self, action: Any) -> dict[str, Any]:
        if isinstance(action, dict):
            return action
        return cast(dict[str, Any], action.model_dump(mode="json"))

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[Any]:
        fields = payload["observation"]
        kind: type[Observation] = GenericObservation
        if "tools" in fields:
            kind = ListToolsObservation
        elif "tool_name" in fields:
            kind = CallToolObservation
        beside = {name: payload[name] for name in ("reward", "done", "metadata")}
        known = {
            name: fields[name] for name in fields if kind is GenericObservation or name in kind.model_fields
        }
        observation = kind(**{**known, **beside})
        return StepResult(observation, payload["reward"], payload["done"], payload["metadata"])

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State.model_validate(payload)
