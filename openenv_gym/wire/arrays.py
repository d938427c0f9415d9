"""NumPy arrays in msgpack, as two extension types.

Type 1 is an array: a head, then the items in C order, little-endian. The head is one byte each for the
dtype's kind (ASCII ``b``, ``i``, ``u`` or ``f``, as in NumPy), its size in bytes and the number of
dimensions, then four bytes for each dimension, little-endian.

Type 2 is an attached array, whose items travel behind the message, so that they are never copied: the head,
then eight bytes with the position of its first item in the attached bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np

Array = np.ndarray[Any, Any]

EXTENSION = 1
ATTACHED_EXTENSION = 2

# Columns of at least this many bytes are attached.
LARGE = 1 << 14

_MOST_DIMENSIONS = 32
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
_PLACE = struct.Struct("<Q")


class Attached(NamedTuple):
    """An attached array, as described by its extension."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int


class Attachments:
    """The bytes that travel behind one message.

    Attributes:
        parts: The memory of the attached arrays, in order.
    """

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self._size = 0

    def attach(self, rows: Sequence[Array]) -> msgspec.msgpack.Ext:
        """Attach contiguous arrays of one dtype and shape, as one array with a leading axis over them."""
        first = rows[0]
        place = self._size
        self.parts.extend(row.reshape(-1).data.cast("B") for row in rows)
        self._size += first.nbytes * len(rows)
        head = _head(first.dtype.kind, first.itemsize, (len(rows), *first.shape))
        return msgspec.msgpack.Ext(ATTACHED_EXTENSION, head + _PLACE.pack(place))


def is_array_of_numbers(value: Array | np.generic) -> bool:
    """Return whether `pack` accepts a value."""
    return value.dtype.kind in _SIZES and value.dtype.itemsize in _SIZES[value.dtype.kind]


def pack(array: Array) -> msgspec.msgpack.Ext:
    """Encode an array of bools, integers or floats as a msgpack extension.

    Raises:
        TypeError: The dtype is a different one.
    """
    dtype = array.dtype
    if not is_array_of_numbers(array):
        raise TypeError(
            f"Cannot send an array of {dtype}. Use bools, or integers or floats of at most 64 bits."
        )
    if dtype.byteorder == ">":
        array = array.astype(dtype.newbyteorder("<"))
    return msgspec.msgpack.Ext(EXTENSION, _head(dtype.kind, dtype.itemsize, array.shape) + array.tobytes())


def unpack(code: int, data: memoryview) -> Array | np.generic | Attached:
    """Decode an extension: an array in fresh memory, or a NumPy scalar if the shape is ().

    Raises:
        ValueError: `pack` or `Attachments.attach` did not make it.
    """
    try:
        dtype, shape, end = _read_head(data)
        if code == ATTACHED_EXTENSION:
            return Attached(dtype, shape, *_PLACE.unpack_from(data, end))
    except (IndexError, struct.error) as error:
        raise ValueError(f"truncated head of an array: {error}") from error
    if code != EXTENSION:
        raise ValueError(f"unknown extension type {code}")
    if len(data) - end != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} cannot have {len(data) - end} bytes")
    array = np.ndarray(shape, dtype, data, end)
    return array.copy() if shape else dtype.type(array[()])


def look_up(attached: Attached, items: memoryview) -> Array:
    """Return an attached array: a view of the bytes behind the message.

    Raises:
        ValueError: The bytes end before the array does.
    """
    try:
        return np.ndarray(attached.shape, attached.dtype, items, attached.place)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"missing bytes of the attached array {attached}: {error}") from error


def _read_head(data: memoryview) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    kind, size, dimensions = chr(data[0]), data[1], data[2]
    if dimensions > _MOST_DIMENSIONS or size not in _SIZES.get(kind, ()):
        raise ValueError(f"invalid array: {dimensions} dimensions, kind {kind!r}, {size} bytes per item")
    shape = struct.unpack_from(f"<{dimensions}I", data, 3)
    return _dtype(kind, size), shape, 3 + 4 * dimensions


@lru_cache(256)
def _head(kind: str, size: int, shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<cBB{len(shape)}I", kind.encode(), size, len(shape), *shape)


@lru_cache(16)
def _dtype(kind: str, size: int) -> np.dtype[Any]:
    return np.dtype(f"<{kind}{size}")
