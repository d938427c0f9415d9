"""Columns: the elements of many slots as they travel in version 2 of the protocol.

On the wire, a column is an array with a leading axis over the slots, a map from names to columns, or a list
of one JSON payload a slot. A codec declares which one it sends (`Codec.travels_as`); a receiver takes all
three. In memory, a column is a batch, whose form follows from the space (see `batches`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError, excerpt
from openenv_gym.spaces.batches import ArrayBatch, batch_of
from openenv_gym.spaces.casting import cast
from openenv_gym.spaces.codecs.base import Codec, TravelsAs
from openenv_gym.wire.v2 import LARGE, Attachments

Rows = Sequence[int] | np.ndarray[Any, Any] | slice


def column_of(codec: Codec) -> Column:
    """Return the column of the elements that a codec codes."""
    return _FORMS[codec.travels_as](codec)


class Column:
    """A column that is sent as a list of payloads. Every codec can have one.

    ``allocate``, ``put``, ``batch``, ``take``, ``split`` and ``contains_fast`` are those of `Batch`.

    Args:
        codec: Codes the elements.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        held = self._held = batch_of(codec.space)
        self.allocate, self.put, self.batch = held.allocate, held.put, held.batch
        self.take, self.split, self.contains_fast = held.take, held.split, held.contains_fast

    def write(self, wire: Any, memory: Any, rows: Rows) -> None:
        """Write a column into some rows of a batch's memory.

        Raises:
            SpaceError: It is not a column of the space over so many rows.
        """
        if isinstance(rows, slice):
            count = _length(memory)
            rows = range((len(wire) if isinstance(wire, list) else 0) if count is None else count)[rows]
        for row, payload in zip(rows, payloads(wire, len(rows)), strict=True):
            self.put(self.codec.decode(payload), memory, row)

    def write_zero_copy(self, wire: Any, memory: Any) -> Any:
        """Return a batch's memory with a column of all its rows: views of the message if they are writable.

        The result is always writable, and never a view of an earlier message.

        Raises:
            SpaceError: As in `write`.
        """
        fresh = self.allocate(_length(memory) or 0)
        self.write(wire, fresh, slice(None))
        return fresh

    def read_batch(self, wire: Any, count: int) -> Any:
        """Return the batch of a column, in memory that nobody else has.

        Raises:
            SpaceError: As in `write`.
        """
        memory = self.allocate(count)
        self.write(wire, memory, slice(None))
        return self.batch(memory, copy=False)

    def element(self, wire: Any, place: int) -> Any:
        """Return one element of a column, in fresh memory.

        Raises:
            SpaceError: It is not an element of the space.
        """
        (payload,) = payloads(select(wire, [place]), 1)
        return self.codec.decode(payload)

    def cast(self, value: Any) -> Any:
        """Return a value as an element of the space, as `casting.cast` does.

        Raises:
            SpaceError: It cannot be cast.
        """
        return cast(self.codec.space, value)

    def from_batch(self, batch: Any, count: int, attachments: Attachments | None = None) -> Any:
        """Return the column of a batch. Large arrays are attached if there are ``attachments``.

        Raises:
            SpaceError: An array has another shape than the space. It is only checked with ``attachments``.
        """
        return [self.codec.encode(element) for element in self.split(batch, count)]

    def from_elements(self, elements: Sequence[Any], attachments: Attachments | None = None) -> Any:
        """Return the column of elements. Large arrays are attached if there are ``attachments``.

        Raises:
            SpaceError: An array has another shape or dtype than the space.
        """
        return [self.codec.encode(element) for element in elements]

    def elements(self, wire: Any, count: int) -> list[Any]:
        """Return the elements of a column, each in the space.

        Raises:
            SpaceError: It is not a column over ``count`` slots, or an element is not in the space.
        """
        elements = []
        for payload in payloads(wire, count):
            element = self.codec.decode(payload)
            if not self._is_element(element) and not self.codec.space.contains(element):
                raise SpaceError(f"{excerpt(payload)} is not in {excerpt(self.codec.space)}")
            elements.append(element)
        return elements

    def _is_element(self, value: Any) -> bool:
        """Return True if a cheap check proves that a value is in the space. False proves nothing."""
        return False


class ArrayColumn(Column):
    """A column that is sent as one array over the slots."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        if not isinstance(self._held, ArrayBatch):
            raise SpaceError(f"{type(codec).__name__} cannot travel as an array: {codec.space} has no dtype")
        self._is_of_scalars, self._bounds = self._held.is_of_scalars, self._held.bounds
        self._dtype, self._shape = self._held.dtype, self._held.shape
        self._nbytes = self._dtype.itemsize * math.prod(self._shape)
        self._number = float if self._dtype.kind == "f" else int

    def write(self, wire: Any, memory: Any, rows: Rows) -> None:
        if isinstance(wire, np.ndarray):
            self._check_array(wire, len(range(len(memory))[rows] if isinstance(rows, slice) else rows))
            memory[rows] = wire
        else:
            super().write(wire, memory, rows)

    def write_zero_copy(self, wire: Any, memory: Any) -> Any:
        if not isinstance(wire, np.ndarray):
            return super().write_zero_copy(wire, memory)
        self._check_array(wire, len(memory))
        flags = wire.flags
        if not flags.owndata and flags.writeable and flags.aligned:
            return wire
        if not memory.flags.owndata:
            return wire.copy()
        memory[:] = wire
        return memory

    def read_batch(self, wire: Any, count: int) -> Any:
        if not isinstance(wire, np.ndarray):
            return super().read_batch(wire, count)
        self._check_array(wire, count)
        return wire if wire.flags.owndata else wire.copy()

    def element(self, wire: Any, place: int) -> Any:
        if not isinstance(wire, np.ndarray):
            return super().element(wire, place)
        self._check_array(wire, len(wire) if wire.ndim else 0)
        return wire[place] if self._is_of_scalars else np.array(wire[place])

    def cast(self, value: Any) -> Any:
        return value if self._is_element(value) else super().cast(value)

    def from_batch(self, batch: Any, count: int, attachments: Attachments | None = None) -> Any:
        if attachments is None:
            return np.ascontiguousarray(batch, self._dtype)
        array = self._array(batch, (count, *self._shape))
        return attachments.attach_whole(array) if array.nbytes >= LARGE else array

    def from_elements(self, elements: Sequence[Any], attachments: Attachments | None = None) -> Any:
        if attachments is None and not self._shape:
            return [self._number(element) for element in elements]  # faster than an array of a few
        if attachments is not None and self._shape and self._nbytes * len(elements) >= LARGE:
            return attachments.attach([self._array(element, self._shape) for element in elements])
        if len(elements) == 1:
            return self._array(elements[0], self._shape)[np.newaxis]  # faster than to join a list of one
        return self._array(elements, (len(elements), *self._shape))

    def elements(self, wire: Any, count: int) -> list[Any]:
        if not isinstance(wire, np.ndarray):
            return super().elements(wire, count)
        self._check_array(wire, count)
        # A copy, as a message may be read-only, and an environment may write into its action.
        elements = self.split(wire.copy(), count)
        if not self.contains_fast(wire, count) and not all(map(self.codec.space.contains, elements)):
            raise SpaceError(f"Not all elements of the column are in {excerpt(self.codec.space)}")
        return elements

    def _is_element(self, value: Any) -> bool:
        if self._bounds is None:
            return False
        low, high = self._bounds
        if self._is_of_scalars:
            return type(value) in (int, self._dtype.type) and bool(low <= value <= high)
        return (
            type(value) is np.ndarray
            and value.dtype == self._dtype
            and value.shape == self._shape
            and int(np.count_nonzero((value >= low) & (value <= high))) == value.size
        )

    def _array(self, values: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Return an element, or a list of them, as an array of the space's dtype."""
        try:
            if self._number is int:
                array = _whole(values, self._dtype)
            else:
                array = np.asarray(values, self._dtype, order="C")
        except (TypeError, ValueError, OverflowError) as error:
            raise SpaceError(f"Not in {excerpt(self.codec.space)}: {error}") from error
        if array.shape != shape:
            raise SpaceError(f"Expected the shape {shape} for {excerpt(self.codec.space)}, got {array.shape}")
        return array

    def _check_array(self, wire: np.ndarray[Any, Any], count: int) -> None:
        shape = (count, *self._shape)
        if wire.dtype != self._dtype or wire.shape != shape:
            raise SpaceError(
                f"A column of {count} of {excerpt(self.codec.space)} has dtype {self._dtype} and "
                f"shape {shape}, not {wire.dtype} and {wire.shape}"
            )


class PartsColumn(Column):
    """A column that is sent as a map of columns, one a part: "0", "1", … if the elements are tuples."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self._are_tuples = isinstance(codec.space, spaces.Tuple)
        self._parts = [
            (name, place if self._are_tuples else name, column_of(part))
            for place, (name, part) in enumerate(codec.parts.items())
        ]

    def write(self, wire: Any, memory: Any, rows: Rows) -> None:
        if not isinstance(wire, dict):
            super().write(wire, memory, rows)
            return
        for name, key, column in self._parts:
            column.write(_part(wire, name), memory[key], rows)

    def write_zero_copy(self, wire: Any, memory: Any) -> Any:
        if not isinstance(wire, dict):
            return super().write_zero_copy(wire, memory)
        return self._joined(
            {key: column.write_zero_copy(_part(wire, name), memory[key]) for name, key, column in self._parts}
        )

    def element(self, wire: Any, place: int) -> Any:
        if not isinstance(wire, dict):
            return super().element(wire, place)
        return self._joined(
            {key: column.element(_part(wire, name), place) for name, key, column in self._parts}
        )

    def from_batch(self, batch: Any, count: int, attachments: Attachments | None = None) -> Any:
        return {name: column.from_batch(batch[key], count, attachments) for name, key, column in self._parts}

    def from_elements(self, elements: Sequence[Any], attachments: Attachments | None = None) -> Any:
        return {
            name: column.from_elements([element[key] for element in elements], attachments)
            for name, key, column in self._parts
        }

    def elements(self, wire: Any, count: int) -> list[Any]:
        if not isinstance(wire, dict):
            return super().elements(wire, count)
        parts = {key: column.elements(_part(wire, name), count) for name, key, column in self._parts}
        rows = zip(*parts.values(), strict=True)
        return list(rows) if self._are_tuples else [dict(zip(parts, row, strict=True)) for row in rows]

    def _joined(self, parts: dict[Any, Any]) -> Any:
        return tuple(parts.values()) if self._are_tuples else parts


class FieldColumn(Column):
    """A column that is sent as a map of one column, which holds the elements themselves."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        ((self._name, part),) = codec.parts.items()
        self._column = column_of(part)

    def write(self, wire: Any, memory: Any, rows: Rows) -> None:
        if self._is_column(wire):
            self._column.write(wire[self._name], memory, rows)
        else:
            super().write(wire, memory, rows)

    def write_zero_copy(self, wire: Any, memory: Any) -> Any:
        if self._is_column(wire):
            return self._column.write_zero_copy(wire[self._name], memory)
        return super().write_zero_copy(wire, memory)

    def read_batch(self, wire: Any, count: int) -> Any:
        if self._is_column(wire):
            return self._column.read_batch(wire[self._name], count)
        return super().read_batch(wire, count)

    def element(self, wire: Any, place: int) -> Any:
        if self._is_column(wire):
            return self._column.element(wire[self._name], place)
        return super().element(wire, place)

    def cast(self, value: Any) -> Any:
        return self._column.cast(value)

    def from_batch(self, batch: Any, count: int, attachments: Attachments | None = None) -> Any:
        return {self._name: self._column.from_batch(batch, count, attachments)}

    def from_elements(self, elements: Sequence[Any], attachments: Attachments | None = None) -> Any:
        return {self._name: self._column.from_elements(elements, attachments)}

    def elements(self, wire: Any, count: int) -> list[Any]:
        if self._is_column(wire):
            return self._column.elements(wire[self._name], count)
        return super().elements(wire, count)

    def _is_column(self, wire: Any) -> bool:
        return isinstance(wire, dict) and self._name in wire


def _whole(values: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return numbers as an array of bools or integers.

    Raises:
        ValueError: The dtype does not hold them as they are: fractions, NaN, too large or too small ones.
    """
    parts = values if type(values) is list else [values]
    if set(map(type, parts)) == {int} and dtype.kind != "b":
        return np.asarray(values, dtype, order="C")  # NumPy raises by itself
    if all(getattr(part, "dtype", None) == dtype for part in parts):
        return np.asarray(values, dtype, order="C")
    array = np.asarray(values, order="C")
    with np.errstate(invalid="ignore"):
        whole = array.astype(dtype)
    changed = np.flatnonzero(whole != array)
    if changed.size:
        raise ValueError(f"{array.flat[changed[0]]} ({array.dtype}) is no {dtype}")
    return whole


_FORMS: dict[TravelsAs, type[Column]] = {
    "payloads": Column,
    "array": ArrayColumn,
    "parts": PartsColumn,
    "field": FieldColumn,
}


def payloads(wire: Any, count: int) -> list[Any]:
    """Return the JSON payload of each slot in a column, whatever its form.

    Parts that are named "0", "1", … are those of a list, as the protocol has it.

    Raises:
        SpaceError: It is not a column over ``count`` slots.
    """
    match wire:
        case list() if len(wire) == count:
            return wire
        case np.ndarray() if wire.ndim and len(wire) == count:
            listed: list[Any] = wire.tolist()
            return listed
        case dict() if wire:
            parts = [payloads(part, count) for part in wire.values()]
            if all(name == str(place) for place, name in enumerate(wire)):
                return [list(row) for row in zip(*parts, strict=True)]
            return [dict(zip(wire, row, strict=True)) for row in zip(*parts, strict=True)]
    raise SpaceError(f"Expected a column over {count} slots, got {type(wire).__name__}")


def select(wire: Any, places: Sequence[int]) -> Any:
    """Return the column of some of a column's slots.

    Raises:
        SpaceError: It is not a column, or has no such slots.
    """
    if isinstance(wire, dict):
        return {name: select(part, places) for name, part in wire.items()}
    try:
        if isinstance(wire, np.ndarray):
            return wire[list(places)]
        if isinstance(wire, list):
            return [wire[place] for place in places]
    except IndexError:
        pass
    raise SpaceError(f"Expected a column with the places {list(places)}, got {type(wire).__name__}")


def _part(wire: dict[str, Any], name: str) -> Any:
    try:
        return wire[name]
    except KeyError:
        raise SpaceError(f"The column has no {name!r}; it has {sorted(map(str, wire))}") from None


def _length(memory: Any) -> int | None:
    """Return the number of rows in a batch's memory; None if it holds nothing, as for an empty `Dict`."""
    if not isinstance(memory, dict | tuple):
        return len(memory)
    parts = memory.values() if isinstance(memory, dict) else memory
    return next((length for part in parts if (length := _length(part)) is not None), None)
