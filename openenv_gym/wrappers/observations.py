"""`FixedSizeObservation`: observations that Gymnasium's `FlattenObservation` can make one array of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatten, flatten_space
from gymnasium.vector.utils import iterate
from gymnasium.wrappers import TransformObservation

from openenv_gym.errors import SchemaError, SpaceError
from openenv_gym.spaces.custom import ordered_dict
from openenv_gym.spaces.declared import standard_space

# A `Discrete` of more values than this is one number, instead of one-hot.
_MOST_PLACES = 1024


class Fixed(NamedTuple):
    """A space of a fixed size, and the function that converts elements to it."""

    space: spaces.Space[Any]
    convert: Callable[[Any], Any]


class FixedSizeObservation(TransformObservation[Any, Any, Any]):
    """Converts texts and sequences to arrays of a fixed size. Everything else is unchanged.

    A text becomes its UTF-8 bytes plus one, padded with zeros: ``Box(0, 256, (max_text_bytes,), int32)``. So
    does an element of a space that is not one of Gymnasium's, if its samples are strings.
    A sequence becomes a `Tuple` of a mask of its items and the flattened items, padded with zeros. Longer
    texts and sequences are cut, with a warning the first time. A `Discrete` of more than 1,024 values becomes
    a `Box` of one number.

    Args:
        env: The environment.
        max_text_bytes: The length of each text, in bytes.
        max_items: The length of each sequence, in items.

    Raises:
        SpaceError: The observation space has a part without a fixed size, a `Graph`, or one that Gymnasium
            cannot flatten.
    """

    def __init__(self, env: gym.Env[Any, Any], *, max_text_bytes: int = 256, max_items: int = 16) -> None:
        fixed = fix(env.observation_space, max_text_bytes, max_items)
        super().__init__(env, fixed.convert, fixed.space)


def fix(space: spaces.Space[Any], max_text_bytes: int, max_items: int) -> Fixed:
    """Return the nearest space with a fixed size."""
    match space:
        case spaces.Text():
            return _fix_text(space, max_text_bytes)
        case spaces.Sequence():
            return _fix_sequence(space, max_text_bytes, max_items)
        case spaces.Dict():
            parts = {key: fix(part, max_text_bytes, max_items) for key, part in space.spaces.items()}
            return Fixed(
                ordered_dict({key: part.space for key, part in parts.items()}),
                lambda element: {key: part.convert(element[key]) for key, part in parts.items()},
            )
        case spaces.Tuple():
            places = [fix(part, max_text_bytes, max_items) for part in space.spaces]
            return Fixed(
                spaces.Tuple([place.space for place in places]),
                lambda element: tuple(p.convert(x) for p, x in zip(places, element, strict=True)),
            )
        case spaces.OneOf():
            kinds = [fix(part, max_text_bytes, max_items) for part in space.spaces]
            return Fixed(
                spaces.OneOf([kind.space for kind in kinds]),
                lambda element: (element[0], kinds[int(element[0])].convert(element[1])),
            )
        case spaces.Discrete() if space.n > _MOST_PLACES:
            last = int(space.start) + int(space.n) - 1
            return Fixed(
                spaces.Box(float(space.start), float(last), (1,), np.float64),
                lambda element: np.array([element], np.float64),
            )
        case spaces.MultiDiscrete() if int(space.nvec.sum()) > _MOST_PLACES:
            return Fixed(
                spaces.Box(
                    space.start.astype(np.float64),
                    (space.start + space.nvec - 1).astype(np.float64),
                    dtype=np.float64,
                ),
                lambda element: element.astype(np.float64),
            )
        case spaces.Graph():
            raise SpaceError(f"{space} has no fixed size.", advice="Pass an observation_space= without it.")
        case _ if flatten_space.dispatch(type(space)) is flatten_space.dispatch(object):
            return fix(_standard(space), max_text_bytes, max_items)
        case _:
            return Fixed(space, lambda element: element)


def _standard(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the space that stands for one that Gymnasium cannot flatten, such as MiniGrid's of texts."""
    try:
        return standard_space(space)
    except SchemaError as error:
        raise SpaceError(
            f"Gymnasium cannot flatten {type(space).__name__}.",
            advice="Wrap the environment so that it has another space: "
            "gymnasium.wrappers.TransformObservation(env, convert, Box(…)).",
        ) from error


def _fix_text(space: spaces.Text, max_text_bytes: int) -> Fixed:
    size = min(max_text_bytes, 4 * space.max_length)
    cut = _Cut(f"A text of more than {size} bytes was cut. Pass a larger max_text_bytes.")

    def convert(text: str) -> np.ndarray[Any, Any]:
        encoded = text.encode("utf-8", "surrogatepass")
        tokens = np.zeros(size, np.int32)
        kept = encoded[:size]
        tokens[: len(kept)] = np.frombuffer(kept, np.uint8)
        tokens[: len(kept)] += 1
        cut.warn_if(len(encoded) > size)
        return tokens

    return Fixed(spaces.Box(0, 256, (size,), np.int32), convert)


def _fix_sequence(space: spaces.Sequence, max_text_bytes: int, max_items: int) -> Fixed:
    longest = getattr(space, "max_length", None)
    size = max_items if longest is None else min(longest, max_items)
    item = fix(space.feature_space, max_text_bytes, max_items)
    flat = flatten_space(item.space)
    if not isinstance(flat, spaces.Box):
        raise SpaceError(f"{space} has items without a fixed size")
    cut = _Cut(f"A sequence of more than {size} items was cut. Pass a larger max_items.")
    low, high = np.minimum(flat.low, 0), np.maximum(flat.high, 0)
    rows_space = spaces.Box(np.tile(low, (size, 1)), np.tile(high, (size, 1)), dtype=flat.dtype.type)

    def convert(element: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        items: Sequence[Any] = (
            tuple(iterate(space.stacked_feature_space, element)) if space.stack else element
        )
        mask, rows = np.zeros(size, np.int8), np.zeros(rows_space.shape, rows_space.dtype)
        for i, part in enumerate(items[:size]):
            mask[i] = 1
            row: Any = flatten(item.space, item.convert(part))
            rows[i] = row
        cut.warn_if(len(items) > size)
        return mask, rows

    return Fixed(spaces.Tuple([spaces.MultiBinary(size), rows_space]), convert)


class _Cut:
    """Warns once that something was cut."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._has_warned = False

    def warn_if(self, is_cut: bool) -> None:
        if is_cut and not self._has_warned:
            self._has_warned = True
            gym.logger.warn(self._message)
