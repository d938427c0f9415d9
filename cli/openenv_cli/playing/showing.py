"""Observations and states, so that a person can read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Arrays of as many numbers are shown whole.
_MOST_NUMBERS = 100
_MOST_IN_A_ROW = 16


def lines_of(value: Any, element: Any = None) -> Iterator[str]:
    """A JSON value, line by line: fields under their names, texts as they are, long arrays as a summary.

    Args:
        value: The value.
        element: The element of the space that it is; an array has its dtype from there.
    """
    if isinstance(element, np.ndarray) and element.ndim:
        yield from _array(element)
    elif isinstance(value, Mapping):
        parts = element if isinstance(element, Mapping) else {}
        for name, part in value.items():
            yield from _under(f"{name}:", list(lines_of(part, parts.get(name))))
    elif isinstance(value, list):
        yield from _list(value)
    elif isinstance(value, str):
        yield from value.split("\n") if value else ['""']
    elif isinstance(value, float):
        yield f"{value:.6g}"
    else:
        yield json.dumps(value)


def _under(name: str, lines: list[str]) -> Iterator[str]:
    """What belongs to a name: beside it where it is one line, else below."""
    if len(lines) == 1:
        yield f"{name} {lines[0]}"
        return
    yield name if lines else f"{name} {{}}"
    yield from (f"  {line}" for line in lines)


def _list(values: list[Any]) -> Iterator[str]:
    if not values:
        yield "[]"
        return
    array = _as_array(values)
    if array is not None:
        yield from _array(array)
        return
    for value in values:
        first, *others = list(lines_of(value)) or ["{}"]
        yield f"- {first}"
        yield from (f"  {line}" for line in others)


def _as_array(values: list[Any]) -> np.ndarray[Any, Any] | None:
    """Nested lists of numbers, as an array."""
    try:
        array = np.array(values)
    except ValueError:
        return None
    return array if array.dtype.kind in "iufb" else None


def _array(array: np.ndarray[Any, Any]) -> Iterator[str]:
    is_short = array.size <= _MOST_NUMBERS and array.shape[-1] <= _MOST_IN_A_ROW
    if array.ndim == 1 and is_short:
        yield f"[{' '.join(map(_number, array.tolist()))}]"
        return
    if array.ndim == 2 and is_short and array.size:
        cells = [[_number(value) for value in row] for row in array.tolist()]
        width = max(len(cell) for row in cells for cell in row)
        yield f"{array.dtype} {array.shape}"
        yield from (" ".join(f"{cell:>{width}}" for cell in row) for row in cells)
        return
    summary = ""
    if array.size:
        summary = f", {_number(array.min())} to {_number(array.max())}, mean {_number(array.mean())}"
    yield f"{array.dtype} {array.shape}{summary}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(int(value))
