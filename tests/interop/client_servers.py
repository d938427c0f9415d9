"""Serves the environments of `client_ways` with the installed `openenv`, until it is terminated.

The arguments are three ports: of a counter, of an environment with tools, and of a server with one session.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import uvicorn
from fastmcp import FastMCP

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Action, Observation, State


class Add(Action):
    amount: int
    sleep_s: float = 0.0


class Total(Observation):
    total: int
    history: list[float]
    padding: str


class Counter(Environment[Add, Total, State]):
    """Adds up, from 100 if no reset says otherwise. Amounts above 9 raise."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State(episode_id="none", step_count=0)
        self._history = [100.0]
        self._padding = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Total:
        self._state = State(episode_id=episode_id or "unnamed", step_count=0)
        self._history = [float(kwargs.get("start") or 0)]
        self._padding = int(kwargs.get("padding") or 0)
        return self._observation(
            None, {"seed": seed, "given": {name: kwargs[name] for name in sorted(kwargs)}}
        )

    def step(self, action: Add, timeout_s: float | None = None, **kwargs: Any) -> Total:
        time.sleep(action.sleep_s)
        if action.amount > 9:
            raise ValueError("too much")
        self._state.step_count += 1
        self._history.append(self._history[-1] + action.amount)
        return self._observation(float(action.amount), {"steps": self._state.step_count})

    def _observation(self, reward: float | None, metadata: dict[str, Any]) -> Total:
        total = int(self._history[-1])
        return Total(
            total=total,
            history=self._history,
            padding="x" * self._padding,
            done=total >= 200,
            reward=reward,
            metadata=metadata,
        )

    @property
    def state(self) -> State:
        return self._state


class Single(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = False


class Shelf(MCPEnvironment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        mcp: Any = FastMCP("shelf")
        self._state = State(episode_id="none", step_count=0)
        self._stock: dict[str, int] = {}

        @mcp.tool
        def put(item: str, count: int = 1) -> dict[str, int]:
            """Put something on the shelf"""
            self._stock[item] = self._stock.get(item, 0) + count
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
        return Observation(done=False, reward=0.0, metadata={"ready": True})

    def _step_impl(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        return Observation(done=False, reward=0.0)

    async def step_async(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        self._state.step_count += 1
        observation: Observation = await super().step_async(action, timeout_s=timeout_s, **kwargs)
        return observation

    @property
    def state(self) -> State:
        return self._state


if __name__ == "__main__":
    apps = (
        create_app(Counter, Add, Total, env_name="counter", max_concurrent_envs=100),
        create_app(Shelf, CallToolAction, CallToolObservation, env_name="shelf", max_concurrent_envs=100),
        create_app(Single, Add, Total, env_name="single", max_concurrent_envs=1),
    )
    for app, port in zip(apps, sys.argv[1:], strict=True):
        server = uvicorn.Server(uvicorn.Config(app, port=int(port), log_level="critical"))
        threading.Thread(target=server.run, daemon=True).start()
    threading.Event().wait()
