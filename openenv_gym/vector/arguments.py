"""What the methods of a vector environment take: seeds, masks and slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from openenv_gym.errors import UsageError, excerpt


def seeds_of(seed: Any, count: int) -> list[int | None]:
    """A seed for each slot: none, ``seed + i``, or the ones given.

    Raises:
        ValueError: As many seeds as slots were expected.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(count)]
    seeds = [None if part is None else int(part) for part in seed]
    if len(seeds) != count:
        raise ValueError(f"{count} slots take {count} seeds, not {len(seeds)}")
    return seeds


def mask_of(mask: Any, count: int) -> np.ndarray[Any, Any]:
    """The slots to reset, a bool array of shape (count,); all of them where there is no mask.

    Raises:
        UsageError: It is no such array, or has no True.
    """
    if mask is None:
        return np.ones(count, np.bool_)
    if not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (count,)):
        raise UsageError(f"reset_mask is a bool array of shape ({count},), not {excerpt(mask)}")
    if not mask.any():
        raise UsageError("reset_mask has no True, so there is nothing to reset")
    return mask


def slots_of(slots: Sequence[int] | np.ndarray[Any, Any], count: int) -> list[int]:
    """The numbers of some slots.

    Raises:
        UsageError: One is named twice, or is not there.
    """
    numbers = [int(number) for number in slots]
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong or len(set(numbers)) != len(numbers):
        raise UsageError(f"The slots are 0 to {count - 1}, each once, not {numbers}")
    return numbers
