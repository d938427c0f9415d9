"""Elements of spaces from values that are nearly elements: of another dtype, or an array of one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError, excerpt


def cast(space: spaces.Space[Any], value: Any, path: str = "") -> Any:
    """Return a value as an element of a space.

    It is changed only if nothing is lost: a number or an array gets the space's dtype if the numbers stay the
    same (floats may be rounded to float32), and a number may be an array of one.

    Args:
        space: The space.
        value: An element, or what can be cast to one.
        path: The place of the value, for the error.

    Raises:
        SpaceError: It cannot be cast. The message names the part, and the dtype, shape or bound.
    """
    match space:
        case spaces.Discrete():
            return value if space.contains(value) else _integer(space, value, path)
        case spaces.Box() | spaces.MultiDiscrete() | spaces.MultiBinary():
            # Not `contains` first: Gymnasium warns of numbers that are no arrays.
            is_element = isinstance(value, np.ndarray) and space.contains(value)
            return value if is_element else _array(space, value, path)
        case spaces.Dict() if isinstance(value, dict) and value.keys() == space.spaces.keys():
            joint = "." if path else ""
            return {
                name: cast(part, value[name], f"{path}{joint}{name}") for name, part in space.spaces.items()
            }
        case spaces.Tuple() if isinstance(value, tuple) and len(value) == len(space.spaces):
            parts = zip(space.spaces, value, strict=True)
            return tuple(cast(part, item, f"{path}[{place}]") for place, (part, item) in enumerate(parts))
        case spaces.OneOf() if isinstance(value, tuple) and len(value) == 2:
            index = value[0]
            if isinstance(index, int | np.integer) and 0 <= index < len(space.spaces):
                return index, cast(space.spaces[int(index)], value[1], f"{path}|{index}")
        case spaces.Sequence() if isinstance(value, tuple) and not space.stack:
            value = tuple(
                cast(space.feature_space, item, f"{path}[{place}]") for place, item in enumerate(value)
            )
    if space.contains(value):
        return value
    raise _misfit(space, value, path, "")


def _integer(space: spaces.Discrete[Any], value: Any, path: str) -> Any:
    array = _as_array(space, value, path)
    if array.size != 1 or array.ndim > 1:
        raise _misfit(space, value, path, f"it has the shape {array.shape}, not ()")
    number = array.reshape(())[()]
    if array.dtype.kind not in "biuf" or number != number or number != np.floor(number):
        raise _misfit(space, value, path, f"its dtype is {array.dtype}, and it is not a whole number")
    first, last = int(space.start), int(space.start + space.n - 1)
    if not first <= number <= last:
        raise _misfit(space, value, path, f"it is not from {first} to {last}")
    return space.dtype.type(number)


def _array(space: Any, value: Any, path: str) -> np.ndarray[Any, Any]:
    array = _as_array(space, value, path)
    if array.shape != space.shape and not (space.shape == () and array.shape == (1,)):
        raise _misfit(space, value, path, f"its shape is {array.shape}, not {space.shape}")
    array = array.reshape(space.shape)
    if array.dtype != space.dtype:
        cast_array = _of_dtype(np.dtype(space.dtype), array)
        if cast_array is None:
            reason = f"its dtype is {array.dtype}, and not all of it can be {space.dtype}"
            raise _misfit(space, value, path, reason)
        array = cast_array
    if not space.contains(array):
        raise _misfit(space, value, path, _outside(space, array))
    return array


def _of_dtype(dtype: np.dtype[Any], array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Return an array with another dtype; None if it would lose more than precision."""
    if array.dtype.kind not in "biuf":
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        exact = array.astype(dtype)
    is_rounded = array.dtype.kind == dtype.kind == "f"
    if is_rounded:
        return exact if np.array_equal(np.isfinite(exact), np.isfinite(array)) else None
    return exact if np.array_equal(exact, array) else None


def _outside(space: Any, array: np.ndarray[Any, Any]) -> str:
    """Return which number is outside which bound."""
    if isinstance(space, spaces.Box):
        low, high = space.low, space.high
    elif isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    else:
        low, high = np.zeros(space.shape, np.int8), np.ones(space.shape, np.int8)
    wrong = ~((array >= low) & (array <= high))
    if not wrong.any():
        return ""
    place = np.unravel_index(int(np.argmax(wrong)), array.shape)
    where = f"[{', '.join(map(str, place))}]" if place else ""
    return f"its value{where} {array[place]} is not from {low[place]} to {high[place]}"


def _as_array(space: spaces.Space[Any], value: Any, path: str) -> np.ndarray[Any, Any]:
    if isinstance(value, str | bytes | dict) or value is None:
        raise _misfit(space, value, path, f"it is {type(value).__name__}")
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _misfit(space, value, path, str(error)) from error


def _misfit(space: spaces.Space[Any], value: Any, path: str, reason: str) -> SpaceError:
    place = f"{path}: " if path else ""
    return SpaceError(
        f"{place}{excerpt(value)} ({type(value).__name__}) is not in {excerpt(space)}"
        + (f": {reason}" if reason else "")
    )
