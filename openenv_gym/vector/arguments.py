"""The arguments of a vector environment's calls: seeds, reset masks and slots, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from openenv_gym.errors import ConfigurationError, ResetMaskError, UsageError, excerpt


def seeds_of(seed: Any, count: int) -> list[int | None]:
    """Return a seed for each slot: none, ``seed + i``, or the ones given.

    Raises:
        ConfigurationError: As many seeds as slots were expected.
        gymnasium.error.Error: A seed is negative.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        seed = [int(seed) + i for i in range(count)]
    seeds = [None if part is None else int(part) for part in seed]
    if len(seeds) != count:
        raise ConfigurationError(f"seed= must be None, an integer or {count} seeds, got {len(seeds)} seeds.")
    for part in seeds:
        if part is not None and part < 0:
            seeding.np_random(part)  # raises Gymnasium's own error
    return seeds


def checked_mask(mask: Any, count: int) -> np.ndarray[Any, Any]:
    """Return the slots to reset, a bool array of shape (count,).

    Raises:
        ResetMaskError: It is no such array, or has no True.
    """
    must = "`options['reset_mask']` must"  # Gymnasium's own words
    if not isinstance(mask, np.ndarray):
        raise ResetMaskError(f"{must} be a numpy array, got {type(mask)}")
    if mask.shape != (count,):
        raise ResetMaskError(f"{must} have shape `({count},)`, got {mask.shape}")
    if mask.dtype != np.bool_:
        raise ResetMaskError(f"{must} have `dtype=np.bool_`, got {mask.dtype}")
    if not mask.any():
        raise ResetMaskError(
            f"{must} contain a boolean array with at least one True value, got reset_mask={mask}"
        )
    return mask.copy()


def slots_of(slots: Sequence[int] | np.ndarray[Any, Any], count: int) -> list[int]:
    """Return the numbers of some slots.

    Raises:
        UsageError: One is named twice, or is not there.
    """
    numbers = [int(number) for number in slots]
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong:
        raise UsageError(f"The slots are 0 to {count - 1}; there are no slots {excerpt(wrong)}.")
    if len(set(numbers)) != len(numbers):
        raise UsageError(f"slots= names a slot twice: {excerpt(numbers)}.")
    return numbers
