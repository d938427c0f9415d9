"""An action with a field of every kind."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from openenv_gym.types import Action, Array


class Suit(StrEnum):
    CLUBS = "clubs"
    HEARTS = "hearts"
    SPADES = "spades"


class Click(BaseModel):
    """Press a mouse button at a point."""

    kind: Literal["click"]
    x: int = Field(ge=0, lt=1280)
    y: int = Field(ge=0, lt=720)


class TypeText(BaseModel):
    """Type on the keyboard."""

    kind: Literal["type"]
    text: str = Field(min_length=1)


class Point(BaseModel):
    x: float = 0
    y: float = 0


class Tree(BaseModel):
    name: str
    children: list[Tree] = Field(default=[])


class Every(Action):
    """One of each."""

    name: str = Field(description="Who acts", max_length=20)
    code: str = Field("print(1)", description="Python code")
    speed: float = Field(0.5, ge=0, le=1, description="How fast")
    count: int = Field(2, ge=1, le=9)
    weight: float = 0
    suit: Suit = Suit.HEARTS
    level: Literal[1, 2, 3, 4, 5, 6, 7, 8] = 1
    ready: bool = False
    amount: int | None = Field(None, ge=1, description="How much to bet")
    do: Annotated[Click | TypeText, Field(discriminator="kind")]
    value: int | str = 0
    tags: list[str] = Field([], max_length=3, description="Words")
    path: list[Point] = Field(default=[])
    at: Point
    pair: tuple[int, str] = (1, "a")
    torques: Annotated[np.ndarray, Array(np.float32, (3,), low=-1, high=1)]
    grid: Annotated[np.ndarray, Array(np.int64, (2, 3))]
    extra: dict[str, Any] = Field(default_factory=dict)
    tree: Tree | None = None
