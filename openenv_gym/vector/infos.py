"""The infos of many sessions as one, as Gymnasium's vector environments have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_NUMBERS = (int, float, bool)


def batch_infos(infos: Mapping[int, Mapping[str, Any]], size: int) -> dict[str, Any]:
    """One dict of arrays over the slots; ``_key`` is the mask of the slots that have ``key``.

    As Gymnasium's own: numbers of one type become an array of it, zero where a slot has none; arrays of one
    shape are stacked; dicts are gone into; all else is an array of objects. Where slots differ in the type of
    a value, Gymnasium's own cuts all to the first one's. Here integers and floats are floats, and all else is
    an array of objects.

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
