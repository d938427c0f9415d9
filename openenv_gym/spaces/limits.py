"""Limits for the schemas of servers that are not trusted: for time and memory, whatever a schema says.

Three limits are enough. `check_size` bounds what is read, a `Document` bounds what is made of it, and
`check_samples` bounds what the space samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from openenv_gym.errors import SchemaError, excerpt
from openenv_gym.spaces.custom import (
    SAMPLED_EXTRA_CHARACTERS,
    SAMPLED_EXTRA_ITEMS,
    TRIES,
    BoundedSequence,
    BriefText,
    ExampleText,
)

# Twice as many as the bounds of a Box of shape (640, 480, 3).
_MOST_VALUES = 2**21
_FEW_OBJECTS, _MOST_OBJECTS = 2**10, 2**17
_MOST_LEVELS_OF_JSON = 400
_LONGEST_PATH = 200
MOST_LEVELS = 64
MOST_PARTS = 20_000
# A unit of work takes about 10 µs.
_MOST_WORK = 200_000
_BYTES_OF_A_UNIT = 2**10
# As the values of lists, numbers take eight times the memory.
_LISTED_BYTES_OF_A_UNIT = 2**7
# In bytes. A value of Python takes as long to sample as an array of 1 KiB, or as 16 characters.
_MOST_SAMPLED = 2**27
_SAMPLED_VALUE = 2**10
_SAMPLED_CHARACTER = 2**6
# Gymnasium's sequences have this many items on average, and its graphs have at most so many nodes and edges.
_ITEMS, _NODES, _EDGES = 4, 10, 90


def shown_path(path: str) -> str:
    """Return a path for an error: cut, if it is long."""
    if len(path) > _LONGEST_PATH:
        return f"{path[:_LONGEST_PATH]}…"
    return path or "the schema"


def check_size(document: Any, path: str = "") -> bool:
    """Check how many values a JSON document has, and how deep it is, without recursion.

    Returns:
        Whether it has references or many objects, so that it may have too many parts.

    Raises:
        SchemaError: It is too large.
    """
    values = objects = levels = 0
    has_references = False
    level = [document]
    while level:
        levels += 1
        if levels > _MOST_LEVELS_OF_JSON:
            raise too_deep(path)
        inner: list[Any] = []
        for container in level:
            values += len(container)
            if values > _MOST_VALUES:
                raise SchemaError(f"{shown_path(path)}: the schema has more than {_MOST_VALUES:,} values")
            if isinstance(container, Mapping):
                objects += 1
                has_references = has_references or "$ref" in container
                container = container.values()
            inner += [value for value in container if type(value) in (dict, list)]
        if objects > _MOST_OBJECTS:
            raise too_many_parts(path)
        level = inner
    return has_references or objects > _FEW_OBJECTS


def too_deep(path: str) -> SchemaError:
    """Return the error for a schema with too many levels."""
    return SchemaError(f"{shown_path(path)}: the schema has more than {MOST_LEVELS} levels")


def too_many_parts(path: str) -> SchemaError:
    """Return the error for a schema with too many parts."""
    return SchemaError(f"{shown_path(path)}: the schema has more than {MOST_PARTS:,} parts")


class Document:
    """A whole schema, which references point into, and how much work may still be done for it.

    Args:
        schema: The schema.
        within: The document that it is a part of: they share the work.

    Raises:
        SchemaError: It is too large.

    Attributes:
        may_be_large: Whether its parts must be counted before spaces are made of them.
    """

    def __init__(self, schema: Mapping[str, Any], within: Document | None = None) -> None:
        self.may_be_large: bool = check_size(schema)
        self.schema = schema
        self._within = within
        self._left = _MOST_WORK

    def spend(self, work: int, path: str) -> None:
        """Count work.

        Args:
            work: How much, in units of about 10 µs.
            path: The place that needs it, for the error.

        Raises:
            SchemaError: The schema needs too much.
        """
        if self._within is not None:
            self._within.spend(work, path)
        self._left -= work
        if self._left < 0:
            raise SchemaError(f"{shown_path(path)}: the schema is too complex to make a space of")

    def spend_on_array(self, size: int, path: str) -> None:
        """Count the work for an array of so many bytes. Raises SchemaError like `spend`."""
        if size > _MOST_SAMPLED:
            raise SchemaError(
                f"{shown_path(path)}: an array of {size:,} bytes is larger than {_MOST_SAMPLED:,}"
            )
        self.spend(size // _BYTES_OF_A_UNIT, path)

    def spend_on_sample(self, space: spaces.Space[Any], path: str) -> None:
        """Count the work for the payload of a sample. Raises SchemaError like `spend`."""
        self.spend(check_samples(space, path) // _LISTED_BYTES_OF_A_UNIT, path)


def check_samples(space: spaces.Space[Any], path: str) -> int:
    """Check how large the samples of a space are.

    Returns:
        About how many bytes a sample costs.

    Raises:
        SchemaError: A sample takes too much time and memory.
    """
    size = _sampled(space)
    if size > _MOST_SAMPLED:
        raise SchemaError(
            f"{shown_path(path)}: a sample of {excerpt(space)} takes about {size // 2**20:,} MiB, "
            f"more than {_MOST_SAMPLED // 2**20}; limit the lengths in the schema"
        )
    return size


def _sampled(space: spaces.Space[Any]) -> int:
    """Return what a sample costs, in bytes: with all alternatives at their largest, on average."""
    match space:
        case spaces.Dict():
            return _SAMPLED_VALUE + sum(map(_sampled, space.spaces.values()))
        case spaces.Tuple():
            return _SAMPLED_VALUE + sum(map(_sampled, space.spaces))
        case spaces.OneOf():
            return _SAMPLED_VALUE + max(map(_sampled, space.spaces), default=0)
        case BoundedSequence():
            longest = space.min_length + SAMPLED_EXTRA_ITEMS
            length = longest if space.max_length is None else min(longest, space.max_length)
            tries = 1 + TRIES if space.unique else 1
            return _SAMPLED_VALUE + length * tries * _sampled(space.feature_space)
        case spaces.Sequence():
            return _SAMPLED_VALUE + _ITEMS * _sampled(space.feature_space)
        case spaces.Graph():
            edges = 0 if space.edge_space is None else _EDGES * _sampled(space.edge_space)
            return _NODES * _sampled(space.node_space) + edges
        case ExampleText():
            return _SAMPLED_VALUE
        case BriefText():
            shortest = space.min_length + SAMPLED_EXTRA_CHARACTERS
            return _SAMPLED_VALUE + min(shortest, space.max_length) * _SAMPLED_CHARACTER
        case spaces.Text():
            return _SAMPLED_VALUE + space.max_length * _SAMPLED_CHARACTER
    if space.shape is None or space.dtype is None:
        return _SAMPLED_VALUE
    return _SAMPLED_VALUE + math.prod(space.shape) * space.dtype.itemsize
