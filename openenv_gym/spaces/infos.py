"""Infos of many slots: one for each, or one dict of arrays, as Gymnasium's vector environments have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_NUMBERS = (int, float, bool)
# Elements of other dtypes stay NumPy's, so that they are batched with their dtype again.
_LIKE_PYTHON = frozenset(map(np.dtype, (np.int64, np.float64, np.bool_, np.object_)))


def batch_infos(infos: Mapping[int, Mapping[str, Any]], size: int) -> dict[str, Any]:
    """Return one dict of arrays over the slots; ``_key`` is the mask of the slots that have ``key``.

    Like Gymnasium's own: numbers of one type become an array, zero for slots without one; arrays of one shape
    are stacked; dicts are batched recursively; anything else becomes an array of objects. If the type of a
    value differs between slots, Gymnasium's own casts all to the first. Here integers and floats become
    floats, and anything else an array of objects.

    Args:
        infos: The slots' own infos, by slot.
        size: The number of slots.
    """
    values: dict[str, dict[int, Any]] = {}
    for slot, info in infos.items():
        for key, value in info.items():
            values.setdefault(key, {})[slot] = value
    batched: dict[str, Any] = {}
    for key, by_slot in values.items():
        mask = np.zeros(size, np.bool_)
        mask[list(by_slot)] = True
        batched[key], batched[f"_{key}"] = _batch(key, by_slot, size), mask
    return batched


def split_infos(infos: Mapping[str, Any], size: int) -> list[dict[str, Any]]:
    """Return the slots' own infos, which `batch_infos` has batched.

    Args:
        infos: The batch, which may be of any Gymnasium vector environment.
        size: The number of slots.
    """
    split: list[dict[str, Any]] = [{} for _ in range(size)]
    for key, values in infos.items():
        if str(key).startswith("_") and key[1:] in infos:
            continue
        each: Any
        if isinstance(values, Mapping):
            each = split_infos(values, size)
        elif isinstance(values, np.ndarray) and values.shape[:1] == (size,):
            each = values.tolist() if values.ndim == 1 and values.dtype in _LIKE_PYTHON else values
        elif isinstance(values, Sequence) and not isinstance(values, str | bytes) and len(values) == size:
            each = values
        else:
            each = [values] * size  # of all together
        have = infos.get(f"_{key}")
        for slot in range(size) if have is None else np.flatnonzero(have).tolist():
            split[slot][key] = each[slot]
    return split


def info_columns(columns: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return columns that have arrived as Gymnasium has them: lists become arrays of objects."""
    arrays: dict[str, Any] = {}
    for key, values in columns.items():
        if isinstance(values, dict):
            arrays[key] = info_columns(values, size)
        elif isinstance(values, list) and len(values) == size:
            arrays[key] = _objects(dict(enumerate(values)), size)
        else:
            arrays[key] = values
    return arrays


def _batch(key: str, by_slot: Mapping[int, Any], size: int) -> Any:
    kinds = {type(value) for value in by_slot.values()}
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else object
    first = next(iter(by_slot.values()))
    if key == "final_obs":
        return _objects(by_slot, size)
    if issubclass(kind, dict):
        return batch_infos(by_slot, size)
    if kind in _NUMBERS or issubclass(kind, np.number):
        try:
            return _filled(np.zeros(size, kind), by_slot)
        except OverflowError:
            return _objects(by_slot, size)
    if issubclass(kind, np.ndarray) and len({(a.shape, a.dtype) for a in by_slot.values()}) == 1:
        return _filled(np.zeros((size, *first.shape), first.dtype), by_slot)
    return _objects(by_slot, size)


def _objects(by_slot: Mapping[int, Any], size: int) -> np.ndarray[Any, Any]:
    return _filled(np.full(size, None, dtype=object), by_slot)


def _filled(array: np.ndarray[Any, Any], by_slot: Mapping[int, Any]) -> np.ndarray[Any, Any]:
    for slot, value in by_slot.items():
        array[slot] = value
    return array
