"""The bounds that a schema gives to numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SchemaError
from openenv_gym.spaces.schema import Node

_MOST_DISCRETE_VALUES = 2**31
# Gymnasium samples integers below high + 1, which has to be an int64 too.
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 2


def few_integers(node: Node) -> tuple[int, int] | None:
    """Both bounds of an integer, where there are few enough between them for a `Discrete`."""
    low, high = _integer_bounds(node)
    if low is None or high is None or high - low >= _MOST_DISCRETE_VALUES:
        return None
    if low > high:
        raise SchemaError(f"{node.where}: no integer lies between {low} and {high}")
    return (low, high) if low >= _LEAST_INTEGER and high <= _GREATEST_INTEGER else None


def _integer_bounds(node: Node) -> tuple[int | None, int | None]:
    schema = node.schema
    lows = [math.ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [math.floor(schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(schema["exclusiveMaximum"]) - 1)
    return max(lows, default=None), min(highs, default=None)


def box(node: Node, shape: tuple[int, ...]) -> spaces.Box[Any]:
    """The Box of an integer or a number, with the bounds that its schema has."""
    if node.schema.get("type") == "integer":
        low, high = _integer_bounds(node)
        return spaces.Box(
            _LEAST_INTEGER if low is None else max(_LEAST_INTEGER, low),
            _GREATEST_INTEGER if high is None else min(_GREATEST_INTEGER, high),
            shape,
            np.int64,
        )
    schema = node.schema
    lows = [-math.inf, schema.get("minimum", -math.inf)]
    highs = [math.inf, schema.get("maximum", math.inf)]
    if "exclusiveMinimum" in schema:
        lows.append(math.nextafter(schema["exclusiveMinimum"], math.inf))
    if "exclusiveMaximum" in schema:
        highs.append(math.nextafter(schema["exclusiveMaximum"], -math.inf))
    return spaces.Box(max(lows), min(highs), shape, np.float64)
