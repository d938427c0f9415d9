"""What every codec has, and what they share."""

from __future__ import annotations

import math
from typing import Any, Protocol

from gymnasium import spaces

from openenv_gym.errors import SpaceError


class Codec(Protocol):
    """What every codec has."""

    space: spaces.Space[Any]

    def encode(self, element: Any) -> Any:
        """The JSON payload of an element of the space."""

    def decode(self, payload: Any) -> Any:
        """The element of the space that a JSON payload stands for."""


def named_infinities(payload: Any) -> Any:
    """Nested lists of numbers, with a string in the place of each infinity and NaN."""
    if isinstance(payload, list):
        return [named_infinities(part) for part in payload]
    if isinstance(payload, float) and not math.isfinite(payload):
        return "NaN" if math.isnan(payload) else "Infinity" if payload > 0 else "-Infinity"
    return payload


def misfit(payload: Any, space: spaces.Space[Any]) -> SpaceError:
    """The error for a payload that stands for no element of the space."""
    shown = repr(payload)
    return SpaceError(f"{shown[:200]}{'…' if len(shown) > 200 else ''} does not fit {space}")
