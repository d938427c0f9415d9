"""Applications with tools, tasks, and additional routes."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from fastmcp import Client, FastMCP

from openenv.core.env_server import Environment, HTTPEnvServer, MCPEnvironment, create_app, create_fastapi_app
from openenv.core.env_server.mcp_types import (
    CallToolAction,
    CallToolObservation,
    ListToolsAction,
    ListToolsObservation,
    Tool,
)
from openenv.core.env_server.types import Action, Observation, ServerMode, State


class Say(Action):
    text: str


class Said(Observation):
    text: str = ""


class Counted(MCPEnvironment):
    """Its class overrides `step` and `step_async`, as the published example does."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        mcp: Any = FastMCP("counted")

        @mcp.tool
        def shout(text: str) -> str:
            """Say it louder"""
            return text.upper()

        @mcp.tool
        async def rest(seconds: float) -> str:
            """Wait"""
            time.sleep(seconds)
            return "awake"

        super().__init__(mcp)
        self._state = State(episode_id="none", step_count=0)

        @self.tool(mode="production")
        def deploy() -> str:
            return "done"

        @self.tool()
        def plain(number: int = 2) -> int:
            """Double it"""
            return 2 * number

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Observation:
        self._state = State(episode_id=episode_id or "named", step_count=0)
        return Observation(done=False, reward=0.0)

    def _step_impl(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        return Observation(done=False, reward=0.0, metadata={"error": type(action).__name__})

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        self._state.step_count += 1
        return super().step(action, timeout_s=timeout_s, **kwargs)

    async def step_async(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        self._state.step_count += 1
        return await super().step_async(action, timeout_s=timeout_s, **kwargs)

    @property
    def state(self) -> State:
        return self._state


class Echo(Environment):
    """It has its own client of its tools, and its own actions, without `MCPEnvironment`."""

    def __init__(self) -> None:
        mcp: Any = FastMCP("echo")

        @mcp.tool
        def echo(text: str) -> str:
            """Say it back"""
            return text

        self.mcp_client = Client(mcp)

    def reset(self, **kwargs: Any) -> Said:
        return Said(text="ready")

    def step(self, action: Say, **kwargs: Any) -> Said:
        return Said(text=action.text, reward=0.1 * len(action.text))

    @property
    def state(self) -> State:
        return State()


class Steps(Environment):
    """Its `step` lists and calls tools by itself."""

    def reset(self, seed: int | None = None, **kwargs: Any) -> Observation:
        return Observation()

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        if isinstance(action, ListToolsAction):
            schema = {"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]}
            return ListToolsObservation(tools=[Tool(name="count", description="Count", input_schema=schema)])
        assert isinstance(action, CallToolAction)
        return CallToolObservation(tool_name=action.tool_name, result=[*range(action.arguments["to"])])

    @property
    def state(self) -> State:
        return State()

    def list_splits(self) -> list[str]:
        return ["train"]

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        return {"split": split, "index": index}


counted = create_app(Counted, CallToolAction, CallToolObservation, env_name="counted", max_concurrent_envs=8)
echo = create_fastapi_app(Echo, Say, Said, 1, env_name="echo")
steps = create_app(lambda: Steps(), CallToolAction, CallToolObservation, env_name="steps")
routes = FastAPI(title="the author's")


@routes.post("/reset")
def reset() -> dict[str, str]:
    return {"reset": "the author's"}


HTTPEnvServer(env=Echo, action_cls=Say, observation_cls=Said).register_routes(
    routes, mode=ServerMode.PRODUCTION
)
