"""Spaces of strings that hold every string, not only those of a small alphabet."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import CustomSpaceError
from gymnasium.spaces import Text
from gymnasium.vector.utils.shared_memory import create_shared_memory

UNBOUNDED = 2**31 - 1
_SAMPLED_EXTRA_CHARACTERS = 32
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "


class UnicodeText(Text):
    """Every Unicode string whose length, in code points, lies within the bounds.

    ``gymnasium.spaces.Text`` refuses "" and blanks unless told otherwise, and takes seconds to build with
    every character as its alphabet. This one holds any string and samples printable ones.

    Args:
        min_length: The least number of code points.
        max_length: The greatest number of code points, or None for no bound.
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
        super().__init__(max_length=longest, min_length=min_length, charset=_PRINTABLE, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A printable string, at most a few dozen characters longer than the least length."""
        if mask is not None or probability is not None:
            return super().sample(mask, probability)
        longest = min(self.max_length, self.min_length + _SAMPLED_EXTRA_CHARACTERS)
        length = self.np_random.integers(self.min_length, longest + 1)
        return "".join(self.np_random.choice(self.character_list, size=length))

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a str of a length within the bounds."""
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

    # Spaces are mutable, and none of Gymnasium's can be hashed.
    __hash__ = None  # type: ignore[assignment]


class ExampleText(UnicodeText):
    """Strings of a form that a length does not describe (a date, an address); samples are examples of it.

    Args:
        examples: Strings that the server accepts; samples are drawn from them.
        min_length: The least number of code points.
        max_length: The greatest number of code points, or None for no bound.
        seed: Seeds the sampling.
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
        self.examples = tuple(examples)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """One of the examples."""
        return self.examples[int(self.np_random.integers(len(self.examples)))]


class JsonText(ExampleText):
    """JSON documents, as text: the space of values that have no shape of their own.

    Args:
        examples: JSON values that the server accepts; samples are drawn from them.
        seed: Seeds the sampling.
    """

    def __init__(
        self, examples: Sequence[Any] = (None,), *, seed: int | np.random.Generator | None = None
    ) -> None:
        super().__init__([canonical_json(example) for example in examples], seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a str that holds a JSON document."""
        if not isinstance(x, str):
            return False
        try:
            json.loads(x, parse_constant=_not_json, parse_float=_finite)
        except (ValueError, RecursionError):
            return False
        return True

    def __repr__(self) -> str:
        return "JsonText()"


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is larger than a float can be")
    return number


def canonical_json(value: Any) -> str:
    """The JSON text of a value: sorted keys, no blanks, no escapes that are not needed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@create_shared_memory.register(UnicodeText)
def _no_shared_memory(space: UnicodeText, n: int = 1, ctx: Any = None) -> Any:
    """AsyncVectorEnv reads its shared memory once, and then has views; a str cannot be one.

    Gymnasium's own `Text` shows the first text for ever there.
    """
    raise CustomSpaceError(f"{space} cannot be in shared memory; use AsyncVectorEnv(…, shared_memory=False)")
