"""Spaces that Gymnasium lacks: ordered dicts, any text, texts of a form, JSON, and sequences with bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.error import CustomSpaceError
from gymnasium.spaces import Dict, Space, Text
from gymnasium.spaces import Sequence as SequenceSpace
from gymnasium.vector.utils.shared_memory import create_shared_memory

from openenv_gym.spaces.patterns import PRINTABLE, sampler_of

UNBOUNDED = 2**31 - 1
SAMPLED_EXTRA_CHARACTERS = 32
SAMPLED_EXTRA_ITEMS = 4
TRIES = 20


def ordered_dict(parts: Mapping[str, Space[Any]]) -> Dict:
    """Return a `Dict` space that keeps the order of its keys, in every supported Gymnasium."""
    space = Dict(list(parts.items()))
    space.sort_keys = False  # since Gymnasium 1.4, spaces that are derived from this one keep the order too
    return space


class BriefText(Text):
    """``gymnasium.spaces.Text`` with short samples, however long its elements may be."""

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a string of the alphabet, at most 32 characters longer than the minimum."""
        if mask is not None or probability is not None:
            return super().sample(mask, probability)
        longest = min(self.max_length, self.min_length + SAMPLED_EXTRA_CHARACTERS)
        length = self.np_random.integers(self.min_length, longest + 1)
        return "".join(self.np_random.choice(self.character_list, size=length))


class UnicodeText(BriefText):
    """Unicode strings, with bounds for their length in code points.

    ``gymnasium.spaces.Text`` is limited to an alphabet, and takes seconds to build with all of Unicode as its
    alphabet. This space contains any string and samples printable ones.

    Args:
        min_length: The minimum number of code points.
        max_length: The maximum number of code points; None for no bound.
        seed: Seeds the sampling.
    """

    def __init__(
        self,
        min_length: int = 0,
        max_length: int | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        longest = UNBOUNDED if max_length is None else max_length
        super().__init__(max_length=longest, min_length=min_length, charset=PRINTABLE, seed=seed)

    def contains(self, x: Any) -> bool:
        """Return whether ``x`` is a str with a length within the bounds."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length

    def __repr__(self) -> str:
        bound = "" if self.max_length == UNBOUNDED else f", max_length={self.max_length}"
        return f"{type(self).__name__}(min_length={self.min_length}{bound})"

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, UnicodeText)
            and self.min_length == other.min_length
            and self.max_length == other.max_length
        )

    # Spaces are mutable, and Gymnasium's are not hashable either.
    __hash__ = None  # type: ignore[assignment]


class ExampleText(UnicodeText):
    """Strings of a special form, such as dates; samples are drawn from examples.

    Args:
        examples: Strings that the server accepts.
        min_length: The minimum number of code points.
        max_length: The maximum number of code points; None for no bound.
        seed: Seeds the sampling.

    Raises:
        ValueError: ``examples`` is empty, or has other values than strings.
    """

    def __init__(
        self,
        examples: Sequence[str],
        min_length: int = 0,
        max_length: int | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(min_length, max_length, seed=seed)
        self.examples: tuple[str, ...] = tuple(examples)
        if not self.examples or not all(isinstance(example, str) for example in self.examples):
            raise ValueError("The examples must be strings, at least one")

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return one of the examples."""
        return self.examples[int(self.np_random.integers(len(self.examples)))]


class PatternText(UnicodeText):
    """Strings of a form that a regular expression describes; samples match it.

    The space contains other strings too: the dialect of the pattern is the server's, which alone decides.

    Args:
        pattern: The regular expression, which is searched for, as in JSON Schema.
        min_length: The minimum number of code points.
        max_length: The maximum number of code points; None for no bound.
        seed: Seeds the sampling.

    Raises:
        UnsupportedPatternError: The pattern's syntax is not supported, it is too complex, or nothing of such
            a length was found to match it.

    Attributes:
        work: The work that the first sample took, in units of about 10 µs.
    """

    def __init__(
        self,
        pattern: str,
        min_length: int = 0,
        max_length: int | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(min_length, max_length, seed=seed)
        self.pattern = pattern
        self._sampler = sampler_of(pattern, min_length, max_length)
        self.work: int = self._sampler.work

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a string that matches, at most 32 characters longer than the shortest."""
        if mask is not None or probability is not None:
            return super().sample(mask, probability)
        return self._sampler.sample(self.np_random)


class JsonText(ExampleText):
    """JSON documents as text, for values without a fixed structure. Samples are drawn from examples.

    Args:
        examples: JSON values that the server accepts.
        seed: Seeds the sampling.
    """

    def __init__(
        self, examples: Sequence[Any] = (None,), *, seed: int | np.random.Generator | None = None
    ) -> None:
        super().__init__([canonical_json(example) for example in examples], seed=seed)

    def contains(self, x: Any) -> bool:
        """Return whether ``x`` is a str with a JSON document."""
        if not isinstance(x, str):
            return False
        try:
            json.loads(x, parse_constant=_not_json, parse_float=_finite)
        except (ValueError, RecursionError):
            return False
        return True

    def __repr__(self) -> str:
        return "JsonText()"


class BoundedSequence(SequenceSpace):
    """Tuples of elements of one space, with bounds for their length.

    Args:
        space: The space of the items.
        min_length: The minimum number of items.
        max_length: The maximum number of items; None for no bound.
        seed: Seeds the sampling.
        unique: Whether samples repeat no item if they can; a set has no repetitions.

    Raises:
        ValueError: The minimum is larger than the maximum, or they are no integers.
    """

    def __init__(
        self,
        space: Space[Any],
        min_length: int = 0,
        max_length: int | None = None,
        seed: int | np.random.Generator | None = None,
        *,
        unique: bool = False,
    ) -> None:
        super().__init__(space, seed=seed)
        longest = UNBOUNDED if max_length is None else max_length
        if type(min_length) is not int or type(longest) is not int or not 0 <= min_length <= longest:
            raise ValueError(f"The lengths must be integers from 0 up, got {min_length} and {max_length}")
        self.unique = unique
        self.min_length = min_length
        self.max_length = max_length

    def sample(self, mask: Any = None, probability: Any = None) -> tuple[Any, ...]:
        """Return a tuple, at most 4 items longer than the minimum."""
        if mask is not None or probability is not None:
            sampled: tuple[Any, ...] = super().sample(mask, probability)
            return sampled
        longest = self.min_length + SAMPLED_EXTRA_ITEMS
        if self.max_length is not None:
            longest = min(longest, self.max_length)
        length = int(self.np_random.integers(self.min_length, longest + 1))
        items = [self.feature_space.sample() for _ in range(length)]
        if self.unique:
            different = {repr(item): item for item in items}
            for _ in range(TRIES * length):
                if len(different) == length:
                    break
                item = self.feature_space.sample()
                different[repr(item)] = item
            items = list(different.values())
        return tuple(items)

    def contains(self, x: Any) -> bool:
        """Return whether ``x`` is a tuple of elements, with a length within the bounds."""
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

    # Spaces are mutable, and Gymnasium's are not hashable either.
    __hash__ = None  # type: ignore[assignment]


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large for a float")
    return number


def canonical_json(value: Any) -> str:
    """Return the JSON text of a value, with sorted keys, no spaces and no needless escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@create_shared_memory.register(UnicodeText)
def _no_shared_memory(space: UnicodeText, n: int = 1, ctx: Any = None) -> Any:
    """Refuse shared memory, of which AsyncVectorEnv makes views once: a str cannot be a view.

    Gymnasium's own `Text` shows the first text forever there.
    """
    raise CustomSpaceError(f"{space} cannot be in shared memory; use AsyncVectorEnv(…, shared_memory=False)")
