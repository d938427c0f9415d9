"""`FlatAction`: any action space as a `Discrete`, a `MultiDiscrete` or a flat `Box`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from gymnasium.wrappers import TransformAction

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.custom import ExampleText

_MOST_COLUMNS = 100_000
# A choice of more values than this is one number, instead of one score for each value.
_MOST_SCORES = 1024


class Choice(NamedTuple):
    """One of n values: an integer from 0 to n - 1."""

    n: int


class Range(NamedTuple):
    """A number with bounds."""

    low: float
    high: float


Column = Choice | Range


class Columns(NamedTuple):
    """A space as a row of choices and numbers, and the function that builds an element from their values."""

    columns: list[Column]
    build: Callable[[Sequence[Any]], Any]


class FlatAction(TransformAction[Any, Any, Any]):
    """Takes actions as one flat array and builds the original actions from it.

    The parts of the action space become columns:

    - a `Discrete` is one choice, and each number of a `Box` one number;
    - a `OneOf` is the choice of an alternative, then the columns of all of them, most of which are ignored;
    - a sequence is the choice of its length, then the columns of each item;
    - a text is the choice of a character, or of none, for each place;
    - a text with examples (a date, free JSON) is the choice of an example.

    If all columns are choices, the space is a `MultiDiscrete`, or a `Discrete` if there is only one. If all
    are numbers, it is a `Box`. Otherwise it is a `Box` in which each choice has a score in [0, 1] for each of
    its values, and the highest wins. A choice of more than 1,024 values is one number from 0 to n - 1, which
    is rounded.

    Args:
        env: The environment.
        max_text_length: The maximum number of characters in a text.
        max_items: The maximum number of items in a sequence.

    Raises:
        SpaceError: The action space has a `Graph`, or more than 100,000 columns.
    """

    def __init__(self, env: gym.Env[Any, Any], *, max_text_length: int = 32, max_items: int = 4) -> None:
        columns, build = columns_of(env.action_space, max_text_length, max_items)
        space, read = _space_of(columns)
        super().__init__(env, lambda action: build(read(action)), space)


def columns_of(space: spaces.Space[Any], max_text_length: int, max_items: int) -> Columns:
    """Return a space as columns."""
    match space:
        case spaces.Discrete():
            return Columns([Choice(int(space.n))], lambda row: space.dtype.type(space.start + row[0]))
        case spaces.MultiDiscrete():
            return Columns(
                [Choice(int(n)) for n in space.nvec.flat],
                lambda row: np.array(row, space.dtype).reshape(space.shape) + space.start,
            )
        case spaces.MultiBinary():
            return Columns(
                [Choice(2)] * math.prod(space.shape),
                lambda row: np.array(row, space.dtype).reshape(space.shape),
            )
        case spaces.Box():
            return _box_columns(space)
        case ExampleText():
            return Columns([Choice(len(space.examples))], lambda row: space.examples[int(row[0])])
        case spaces.Text():
            return _text_columns(space, max_text_length)
        case spaces.Dict():
            parts = [columns_of(part, max_text_length, max_items) for part in space.spaces.values()]
            return _joined(parts, lambda elements: dict(zip(space.spaces, elements, strict=True)))
        case spaces.Tuple():
            parts = [columns_of(part, max_text_length, max_items) for part in space.spaces]
            return _joined(parts, tuple)
        case spaces.OneOf():
            kinds = [columns_of(part, max_text_length, max_items) for part in space.spaces]
            chosen = Columns([Choice(len(kinds))], lambda row: int(row[0]))
            return _joined([chosen, *kinds], lambda parts: (np.int64(parts[0]), parts[1 + parts[0]]))
        case spaces.Sequence():
            return _sequence_columns(space, max_text_length, max_items)
        case _:
            raise SpaceError(
                f"{space} cannot be made of choices and numbers.",
                advice="Pass an action_space= without it.",
            )


def _joined(parts: Sequence[Columns], combine: Callable[[list[Any]], Any]) -> Columns:
    columns = [column for part in parts for column in part.columns]
    _check_width(len(columns))
    ends = np.cumsum([len(part.columns) for part in parts]).tolist()
    slices = [slice(end - len(part.columns), end) for part, end in zip(parts, ends, strict=True)]

    def build(row: Sequence[Any]) -> Any:
        return combine([part.build(row[where]) for part, where in zip(parts, slices, strict=True)])

    return Columns(columns, build)


def _box_columns(space: spaces.Box[Any]) -> Columns:
    lows, highs = space.low.ravel().tolist(), space.high.ravel().tolist()
    is_whole = space.dtype.kind in "iu"

    def build(row: Sequence[Any]) -> Any:
        # A float32 cannot represent every bound, so a number may be slightly outside.
        numbers = [
            min(max(round(x) if is_whole else float(x), low), high)
            for x, low, high in zip(row, lows, highs, strict=True)
        ]
        return np.array(numbers, space.dtype).reshape(space.shape)

    return Columns([Range(low, high) for low, high in zip(lows, highs, strict=True)], build)


def _text_columns(space: spaces.Text, max_text_length: int) -> Columns:
    characters = space.character_list
    size = min(max(max_text_length, space.min_length), space.max_length)

    def build(row: Sequence[Any]) -> str:
        text = "".join(characters[int(token) - 1] for token in row if token > 0)
        return text.ljust(space.min_length, characters[0]) if len(text) < space.min_length else text

    return Columns([Choice(len(characters) + 1)] * size, build)


def _sequence_columns(space: spaces.Sequence, max_text_length: int, max_items: int) -> Columns:
    shortest = getattr(space, "min_length", 0)
    longest = getattr(space, "max_length", None)
    size = max(shortest, max_items if longest is None else min(longest, max_items))
    item_space = space.feature_space
    item = columns_of(item_space, max_text_length, max_items)
    length = Columns([Choice(size - shortest + 1)], lambda row: shortest + int(row[0]))

    def combine(parts: list[Any]) -> Any:
        items = tuple(parts[1 : 1 + parts[0]])
        if not space.stack:
            return items
        out: Any = create_empty_array(item_space, len(items))
        return concatenate(item_space, items, out) if items else out

    return _joined([length, *[item] * size], combine)


def _space_of(columns: Sequence[Column]) -> tuple[spaces.Space[Any], Callable[[Any], Sequence[Any]]]:
    """Return the flat space of columns, and the function that reads their values from its elements."""
    choices = [column for column in columns if isinstance(column, Choice)]
    if len(choices) == len(columns):
        if len(choices) == 1:
            return spaces.Discrete(choices[0].n), lambda action: [action]
        return spaces.MultiDiscrete([choice.n for choice in choices]), lambda action: action.tolist()
    lows: list[float] = []
    highs: list[float] = []
    places: list[slice] = []
    for column in columns:
        begin = len(lows)
        low, high = _bounds(column)
        lows += low
        highs += high
        places.append(slice(begin, len(lows)))
        _check_width(len(lows))

    def read(action: Any) -> list[Any]:
        return [_value(column, action[place]) for column, place in zip(columns, places, strict=True)]

    return spaces.Box(np.array(lows, np.float32), np.array(highs, np.float32), dtype=np.float32), read


def _check_width(columns: int) -> None:
    if columns > _MOST_COLUMNS:
        raise SpaceError(
            f"The action space has more than {_MOST_COLUMNS:,} columns.", advice="Pass smaller limits."
        )


def _bounds(column: Column) -> tuple[list[float], list[float]]:
    match column:
        case Range(low, high):
            return [low], [high]
        case Choice(n) if n <= _MOST_SCORES:
            return [0.0] * n, [1.0] * n
        case Choice(n):
            return [0.0], [n - 1.0]


def _value(column: Column, numbers: np.ndarray[Any, Any]) -> int | float:
    match column:
        case Range():
            return float(numbers[0])
        case Choice(n) if n <= _MOST_SCORES:
            return int(np.argmax(numbers))
        case Choice(n):
            return min(max(round(float(numbers[0])), 0), n - 1)
