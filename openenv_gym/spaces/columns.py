"""Columns: the elements of many slots as they travel in version 2 of the protocol.

A column has one of three forms, and its receiver takes each of them: an array with a leading axis over the
slots, a map from names to columns, or a list with one JSON payload a slot, as the space's codec makes it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import codecs
from openenv_gym.wire.arrays import LARGE, Attachments

Rows = Sequence[int] | np.ndarray[Any, Any] | slice


class Column(Protocol):
    """The elements of one space, or of one part of it, over many slots.

    A batch is what Gymnasium's vector environments hand out and take: an element of ``batch_space``.
    """

    def empty(self, count: int) -> Any:
        """Memory for a batch."""

    def write(self, wire: Any, batch: Any, rows: Rows) -> None:
        """Writes a column into some rows of a batch's memory. Raises `SpaceError` where it does not fit."""

    def adopt(self, wire: Any, batch: Any) -> Any:
        """Return a batch's memory with a column of all its rows: views of the message if they are writable.

        The result is always writable, and never a view of an earlier message.
        """

    def put(self, element: Any, batch: Any, row: int) -> None:
        """Writes one element into a batch's memory."""

    def batch(self, memory: Any, *, copy: bool) -> Any:
        """The batch that the memory holds."""

    def take(self, memory: Any, rows: np.ndarray[Any, Any]) -> Any:
        """The batch of some rows, in fresh memory."""

    def row(self, wire: Any, place: int) -> Any:
        """One element of a column, in fresh memory. Raises `SpaceError` where it does not fit."""

    def surely_holds(self, batch: Any, count: int) -> bool:
        """Whether a batch is quickly seen to hold elements of the space. If not, it may all the same."""

    def from_batch(self, batch: Any, count: int) -> Any:
        """The column of a batch."""

    def from_elements(self, elements: Sequence[Any], attachments: Attachments) -> Any:
        """The column of elements; what is large is attached. Raises `SpaceError` where a shape is another."""

    def elements(self, wire: Any, count: int) -> list[Any]:
        """The elements of a column, each in its space. Raises `SpaceError` where one is not."""


def column_of(codec: codecs.Codec) -> Column:
    """The column of what a codec codes."""
    match codec:
        case codecs.FieldCodec():
            return FieldColumn(codec, column_of(codec.codec))
        case codecs.DictCodec() if not any(
            isinstance(part, codecs.OptionalCodec) for part in codec.codecs.values()
        ):
            return DictColumn(codec, {name: column_of(part) for name, part in codec.codecs.items()})
        case codecs.TupleCodec():
            return TupleColumn(codec, [column_of(part) for part in codec.codecs])
        case codecs.BooleanArrayCodec() | codecs.BooleanCodec() | codecs.LabelCodec() | codecs.NullCodec():
            return CodedColumn(codec)
        case codecs.ArrayCodec() | codecs.IntegerCodec() | codecs.NumberCodec():
            return ArrayColumn(codec)
        case _:
            return ObjectColumn(codec)


class _PayloadColumn(ABC):
    """What all columns have in common: each takes a list of payloads."""

    def __init__(self, codec: codecs.Codec) -> None:
        self.codec = codec

    @abstractmethod
    def empty(self, count: int) -> Any: ...

    @abstractmethod
    def put(self, element: Any, batch: Any, row: int) -> None: ...

    def write(self, wire: Any, batch: Any, rows: Rows) -> None:
        numbers = _numbers(rows, _length(batch))
        for row, payload in zip(numbers, self._payloads(wire, len(numbers)), strict=True):
            self.put(self.codec.decode(payload), batch, row)

    def adopt(self, wire: Any, batch: Any) -> Any:
        fresh = self.empty(_length(batch))
        self.write(wire, fresh, slice(None))
        return fresh

    def row(self, wire: Any, place: int) -> Any:
        if not isinstance(wire, list) or place >= len(wire):
            raise SpaceError(f"{type(wire).__name__} is no column of {self.codec.space}")
        return self.codec.decode(wire[place])

    def elements(self, wire: Any, count: int) -> list[Any]:
        return [self._checked(payload) for payload in self._payloads(wire, count)]

    def surely_holds(self, batch: Any, count: int) -> bool:
        return False

    def _payloads(self, wire: Any, count: int) -> list[Any]:
        if not isinstance(wire, list) or len(wire) != count:
            raise SpaceError(f"{type(wire).__name__} is no column of {count} of {self.codec.space}")
        return wire

    def _checked(self, payload: Any) -> Any:
        element = self.codec.decode(payload)
        if not self.codec.space.contains(element):
            raise SpaceError(f"{str(payload)[:200]} is not in {self.codec.space}")
        return element


class ObjectColumn(_PayloadColumn):
    """Elements of any space, one payload each; their batch is a tuple."""

    def empty(self, count: int) -> Any:
        return [None] * count

    def put(self, element: Any, batch: Any, row: int) -> None:
        batch[row] = element

    def batch(self, memory: Any, *, copy: bool) -> Any:
        return deepcopy(tuple(memory)) if copy else tuple(memory)

    def take(self, memory: Any, rows: np.ndarray[Any, Any]) -> Any:
        return deepcopy(tuple(memory[row] for row in rows))

    def from_batch(self, batch: Any, count: int) -> Any:
        return [
            self.codec.encode(element) for element in iterate(batch_space(self.codec.space, count), batch)
        ]

    def from_elements(self, elements: Sequence[Any], attachments: Attachments) -> Any:
        return [self.codec.encode(element) for element in elements]


class CodedColumn(ObjectColumn):
    """Elements that are arrays or numbers here, and on the wire something else: labels, booleans, null."""

    def __init__(self, codec: codecs.Codec) -> None:
        super().__init__(codec)
        assert codec.space.shape is not None
        self.shape = codec.space.shape
        self.dtype = np.dtype(codec.space.dtype)

    def empty(self, count: int) -> Any:
        return np.zeros((count, *self.shape), self.dtype)

    def batch(self, memory: Any, *, copy: bool) -> Any:
        return memory.copy() if copy else memory

    def take(self, memory: Any, rows: np.ndarray[Any, Any]) -> Any:
        return memory[rows]


class ArrayColumn(CodedColumn):
    """Elements that are arrays or numbers on the wire too: one array over the slots."""

    def __init__(self, codec: codecs.Codec) -> None:
        super().__init__(codec)
        self._low, self._high = _bounds(codec.space)
        self._is_number = isinstance(codec, codecs.IntegerCodec)
        self._nbytes = self.dtype.itemsize * math.prod(self.shape)

    def write(self, wire: Any, batch: Any, rows: Rows) -> None:
        if isinstance(wire, np.ndarray):
            self._check_array(wire, len(_numbers(rows, len(batch))))
            batch[rows] = wire
        else:
            super().write(wire, batch, rows)

    def adopt(self, wire: Any, batch: Any) -> Any:
        if not isinstance(wire, np.ndarray):
            return super().adopt(wire, batch)
        self._check_array(wire, len(batch))
        if wire.flags.writeable and wire.flags.aligned and not wire.flags.owndata:
            return wire
        if not batch.flags.owndata:
            return wire.copy()
        batch[:] = wire
        return batch

    def row(self, wire: Any, place: int) -> Any:
        if not isinstance(wire, np.ndarray):
            return super().row(wire, place)
        self._check_array(wire, len(wire) if wire.ndim else 0)
        return wire[place] if self._is_number else np.array(wire[place])

    def surely_holds(self, batch: Any, count: int) -> bool:
        return (
            type(batch) is np.ndarray
            and batch.dtype == self.dtype
            and batch.shape == (count, *self.shape)
            and self._is_within_bounds(batch)
        )

    def from_batch(self, batch: Any, count: int) -> Any:
        return np.ascontiguousarray(batch, self.dtype)

    def from_elements(self, elements: Sequence[Any], attachments: Attachments) -> Any:
        if self._nbytes * len(elements) >= LARGE:
            return attachments.attach([self._row(element) for element in elements])
        try:
            column = np.array(elements, self.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise SpaceError(f"Not all are elements of {self.codec.space}: {error}") from error
        if column.shape[1:] != self.shape:
            raise SpaceError(f"The shape {column.shape[1:]} is not the one of {self.codec.space}")
        return column

    def elements(self, wire: Any, count: int) -> list[Any]:
        if not isinstance(wire, np.ndarray):
            return super().elements(wire, count)
        self._check_array(wire, count)
        if not self._is_within_bounds(wire):
            raise SpaceError(f"Not all are elements of {self.codec.space}")
        # A copy, as the frame's memory is read-only, and an environment may write into its action.
        return list(wire.copy())

    def _row(self, element: Any) -> np.ndarray[Any, Any]:
        try:
            row = np.ascontiguousarray(element, self.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise SpaceError(f"Not an element of {self.codec.space}: {error}") from error
        if row.shape != self.shape:
            raise SpaceError(f"The shape {row.shape} is not the one of {self.codec.space}")
        return row

    def _is_within_bounds(self, batch: np.ndarray[Any, Any]) -> bool:
        return bool(((batch >= self._low) & (batch <= self._high)).all())

    def _check_array(self, wire: np.ndarray[Any, Any], count: int) -> None:
        shape = (count, *self.shape)
        if wire.dtype != self.dtype or wire.shape != shape:
            raise SpaceError(
                f"{count} of {self.codec.space} are an array of {self.dtype} and shape {shape}, "
                f"not of {wire.dtype} and {wire.shape}"
            )


class DictColumn(_PayloadColumn):
    """Elements with named parts: a map of columns, or payloads."""

    def __init__(self, codec: codecs.Codec, columns: Mapping[str, Column]) -> None:
        super().__init__(codec)
        self._columns = dict(columns)

    def empty(self, count: int) -> Any:
        return {name: column.empty(count) for name, column in self._columns.items()}

    def write(self, wire: Any, batch: Any, rows: Rows) -> None:
        if isinstance(wire, dict):
            for name, column in self._columns.items():
                column.write(self._part(wire, name), batch[name], rows)
        else:
            super().write(wire, batch, rows)

    def adopt(self, wire: Any, batch: Any) -> Any:
        if not isinstance(wire, dict):
            return super().adopt(wire, batch)
        return {
            name: column.adopt(self._part(wire, name), batch[name]) for name, column in self._columns.items()
        }

    def put(self, element: Any, batch: Any, row: int) -> None:
        for name, column in self._columns.items():
            column.put(element[name], batch[name], row)

    def batch(self, memory: Any, *, copy: bool) -> Any:
        return {name: column.batch(memory[name], copy=copy) for name, column in self._columns.items()}

    def take(self, memory: Any, rows: np.ndarray[Any, Any]) -> Any:
        return {name: column.take(memory[name], rows) for name, column in self._columns.items()}

    def row(self, wire: Any, place: int) -> Any:
        if isinstance(wire, dict):
            return {name: column.row(self._part(wire, name), place) for name, column in self._columns.items()}
        return super().row(wire, place)

    def from_batch(self, batch: Any, count: int) -> Any:
        return {name: column.from_batch(batch[name], count) for name, column in self._columns.items()}

    def from_elements(self, elements: Sequence[Any], attachments: Attachments) -> Any:
        return {
            name: column.from_elements([element[name] for element in elements], attachments)
            for name, column in self._columns.items()
        }

    def elements(self, wire: Any, count: int) -> list[Any]:
        if isinstance(wire, dict):
            parts = [column.elements(self._part(wire, name), count) for name, column in self._columns.items()]
            return [dict(zip(self._columns, row, strict=True)) for row in zip(*parts, strict=True)]
        return super().elements(wire, count)

    def _part(self, wire: dict[str, Any], name: str) -> Any:
        try:
            return wire[name]
        except KeyError:
            raise SpaceError(f"The column has no {name!r}; it has {sorted(wire)}") from None


class TupleColumn(DictColumn):
    """Elements with numbered parts: a map of columns, from "0" on, or payloads."""

    def __init__(self, codec: codecs.Codec, columns: Sequence[Column]) -> None:
        super().__init__(codec, {str(place): column for place, column in enumerate(columns)})

    def put(self, element: Any, batch: Any, row: int) -> None:
        super().put(_numbered(element), batch, row)

    def batch(self, memory: Any, *, copy: bool) -> Any:
        return tuple(super().batch(memory, copy=copy).values())

    def take(self, memory: Any, rows: np.ndarray[Any, Any]) -> Any:
        return tuple(super().take(memory, rows).values())

    def row(self, wire: Any, place: int) -> Any:
        element = super().row(wire, place)
        return tuple(element.values()) if isinstance(element, dict) else element

    def from_batch(self, batch: Any, count: int) -> Any:
        return super().from_batch(_numbered(batch), count)

    def from_elements(self, elements: Sequence[Any], attachments: Attachments) -> Any:
        return super().from_elements([_numbered(element) for element in elements], attachments)

    def elements(self, wire: Any, count: int) -> list[Any]:
        elements = super().elements(wire, count)
        return [tuple(part.values()) for part in elements] if isinstance(wire, dict) else elements


class FieldColumn(_PayloadColumn):
    """The only field of a model, as that field's own column."""

    def __init__(self, codec: codecs.FieldCodec, column: Column) -> None:
        super().__init__(codec)
        self._column = column
        self._name = codec.name
        self.batch = column.batch
        self.take = column.take

    def empty(self, count: int) -> Any:
        return self._column.empty(count)

    def put(self, element: Any, batch: Any, row: int) -> None:
        self._column.put(element, batch, row)

    def surely_holds(self, batch: Any, count: int) -> bool:
        return self._column.surely_holds(batch, count)

    def write(self, wire: Any, batch: Any, rows: Rows) -> None:
        if self._is_column(wire):
            self._column.write(wire[self._name], batch, rows)
        else:
            super().write(wire, batch, rows)

    def adopt(self, wire: Any, batch: Any) -> Any:
        if self._is_column(wire):
            return self._column.adopt(wire[self._name], batch)
        return super().adopt(wire, batch)

    def row(self, wire: Any, place: int) -> Any:
        return (
            self._column.row(wire[self._name], place) if self._is_column(wire) else super().row(wire, place)
        )

    def from_batch(self, batch: Any, count: int) -> Any:
        return {self._name: self._column.from_batch(batch, count)}

    def from_elements(self, elements: Sequence[Any], attachments: Attachments) -> Any:
        return {self._name: self._column.from_elements(elements, attachments)}

    def elements(self, wire: Any, count: int) -> list[Any]:
        if self._is_column(wire):
            return self._column.elements(wire[self._name], count)
        return super().elements(wire, count)

    def _is_column(self, wire: Any) -> bool:
        return isinstance(wire, dict) and self._name in wire


def payloads(wire: Any, count: int) -> list[Any]:
    """The JSON payload of each slot in a column, whatever its form.

    Raises:
        SpaceError: It is not a column over so many slots.
    """
    match wire:
        case np.ndarray() if wire.ndim and len(wire) == count:
            listed: list[Any] = wire.tolist()
            return listed
        case list() if len(wire) == count:
            return wire
        case dict() if wire:
            parts = [payloads(part, count) for part in wire.values()]
            return [dict(zip(wire, row, strict=True)) for row in zip(*parts, strict=True)]
    raise SpaceError(f"{type(wire).__name__} is no column over {count} slots")


def select(wire: Any, places: Sequence[int]) -> Any:
    """The column of some of a column's slots."""
    if isinstance(wire, dict):
        return {name: select(part, places) for name, part in wire.items()}
    return wire[list(places)] if isinstance(wire, np.ndarray) else [wire[place] for place in places]


def _numbers(rows: Rows, count: int) -> Sequence[int] | np.ndarray[Any, Any]:
    return range(count)[rows] if isinstance(rows, slice) else rows


def _length(batch: Any) -> int:
    while isinstance(batch, dict):
        batch = next(iter(batch.values()))
    return len(batch)


def _numbered(parts: Any) -> Any:
    return parts if isinstance(parts, dict) else {str(place): part for place, part in enumerate(parts)}


def _bounds(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """The least and the greatest values of a space of numbers."""
    match space:
        case spaces.Box():
            return space.low, space.high
        case spaces.Discrete():
            return space.start, space.start + space.n - 1
        case spaces.MultiDiscrete():
            return space.start, space.start + space.nvec - 1
        case spaces.MultiBinary():
            return np.int8(0), np.int8(1)
    raise SpaceError(f"{space} is not a space of numbers")
