"""Environments for language models: tools of all kinds, and one whose steps take time."""

from __future__ import annotations

import time
from typing import Any, Literal

from openenv_server import Action, Environment, MCPEnvironment, Observation, State, create_app
from pydantic import BaseModel, Field

from openenv_gym.tool_types import CallToolAction, CallToolObservation


class Address(BaseModel):
    street: str
    number: int = 1


class Kitchen(MCPEnvironment):
    """A shelf to put things on."""

    def __init__(self) -> None:
        super().__init__()
        self.stock: dict[str, int] = {}

        @self.tool()
        def put(item: str, count: int = 1) -> dict[str, int]:
            """Put something on the shelf.

            Args:
                item: What to put there: an egg, say.
                count: How many.

            Returns:
                All that is there.
            """
            self.stock[item] = self.stock.get(item, 0) + count
            return self.stock

        @self.tool()
        def drop(why: str) -> str:
            """Drop it all."""
            raise ValueError(why)

        @self.mcp_server.tool(name="send-to")  # type: ignore[misc]
        def send(to: Address, parts: list[Address], how: Literal["fast", "slow"] = "fast") -> str:
            """Send what is there."""
            return f"{how} to {to.street} {to.number + len(parts)}"

        @self.tool()
        def done(mark: float | None = None, why: dict[str, int] | None = None) -> str:
            return f"{mark} {why}"

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Observation:
        self.stock = {"egg": seed} if seed else {}
        return Observation()

    def step(self, action: Any, timeout_s: float | None = None, **options: Any) -> Any:
        observation = super().step(action, timeout_s=timeout_s, **options)
        observation.reward = float(sum(self.stock.values()))
        observation.done = self.stock.get("bomb", 0) > 0
        return observation

    @property
    def state(self) -> State:
        return State()


kitchen = create_app(
    Kitchen, CallToolAction, CallToolObservation, reset_observation_cls=Observation, max_concurrent_envs=40
)


class Wait(Action):
    """Wait."""

    seconds: float = Field(default=0.0, ge=0, description="How long")
    raises: str = ""


class Waited(Observation):
    count: int = 0
    seed: int | None = None


class Waiting(Environment[Wait, Waited, State]):
    """Waits as long as it is told to; rewards each step with 1, and ends after five."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.seed: int | None = None

    def reset(self, seed: int | None = None, episode_id: str | None = None) -> Waited:
        self.count, self.seed = 0, seed
        return Waited(seed=seed)

    def step(self, action: Wait) -> Waited:
        if action.raises:
            raise ValueError(action.raises)
        time.sleep(action.seconds)
        self.count += 1
        return Waited(count=self.count, seed=self.seed, reward=1.0, done=self.count == 5)

    @property
    def state(self) -> State:
        return State(step_count=self.count)


waiting = create_app(Waiting, Wait, Waited, max_concurrent_envs=40)
