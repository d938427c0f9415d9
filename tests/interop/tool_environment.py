"""An MCP environment for the published package: its tools are functions of a FastMCP server."""

from __future__ import annotations

from typing import Any

from fastmcp import FastMCP

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Observation, State


class Kitchen(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        mcp: Any = FastMCP("kitchen")
        self._state = State(episode_id="first", step_count=0)
        self._stock: dict[str, int] = {}

        def unlock() -> str:
            """Unlock the cellar"""
            return "open"

        @mcp.tool
        def put(item: str, count: int = 1) -> dict[str, int]:
            """Put something on the shelf, and see what is there"""
            self._stock[item] = self._stock.get(item, 0) + count
            if item == "key":
                mcp.tool(unlock)
            return dict(self._stock)

        @mcp.tool
        def look() -> str:
            """Look at the shelf"""
            return ", ".join(f"{count} {item}" for item, count in self._stock.items()) or "nothing"

        @mcp.tool
        def drop(why: str) -> str:
            """Drop it all"""
            raise ValueError(why)

        super().__init__(mcp)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Observation:
        self._stock = {}
        self._state = State(episode_id=episode_id, step_count=0)
        return Observation(done=False, reward=0.0, metadata={"seed": seed})

    def _step_impl(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        return Observation(done=False, reward=0.0, metadata={"error": f"no {type(action).__name__} here"})

    @property
    def state(self) -> State:
        return self._state


app = create_app(Kitchen, CallToolAction, CallToolObservation, env_name="kitchen", max_concurrent_envs=40)
