"""The models."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from openenv.core.env_server.types import Action, Observation, State


class Mark:
    """Something that has no JSON Schema."""


class CartAction(Action):
    push: int = Field(ge=-1, le=1)


class CartObservation(Observation):
    position: int
    mark: Mark | None = None


class CartState(State):
    pushes: list[int] = Field(default_factory=list)
    where: Any = None
