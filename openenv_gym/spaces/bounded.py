"""A `Sequence` whose length lies within bounds, which Gymnasium's has not."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Sequence, Space

_SAMPLED_EXTRA_ITEMS = 4


class BoundedSequence(Sequence):
    """Tuples of elements of one space, of a length within the bounds.

    Args:
        space: The space of the items.
        min_length: The least number of items.
        max_length: The greatest number of items, or None for no bound.
        seed: Seeds the sampling.
    """

    def __init__(
        self,
        space: Space[Any],
        min_length: int = 0,
        max_length: int | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(space, seed=seed)
        self.min_length = min_length
        self.max_length = max_length

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Any, ...]:
        """A tuple at most a few items longer than the least length."""
        if mask is not None or probability is not None:
            sampled: tuple[Any, ...] = super().sample(mask, probability)
            return sampled
        longest = self.min_length + _SAMPLED_EXTRA_ITEMS
        if self.max_length is not None:
            longest = min(longest, self.max_length)
        length = int(self.np_random.integers(self.min_length, longest + 1))
        return tuple(self.feature_space.sample() for _ in range(length))

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a tuple of elements, of a length within the bounds."""
        return super().contains(x) and self._is_long_enough(len(x))

    def _is_long_enough(self, length: int) -> bool:
        return self.min_length <= length and (self.max_length is None or length <= self.max_length)

    def __repr__(self) -> str:
        bound = "" if self.max_length is None else f", max_length={self.max_length}"
        return f"BoundedSequence({self.feature_space}, min_length={self.min_length}{bound})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BoundedSequence)
            and super().__eq__(other)
            and self.min_length == other.min_length
            and self.max_length == other.max_length
        )

    # Spaces are mutable, and none of Gymnasium's can be hashed.
    __hash__ = None  # type: ignore[assignment]
