"""NumPy arrays in msgpack, by two extension types.

Type 1 is an array: a head, then the items in C order, little-endian. The head is a byte each for the dtype's
kind (ASCII ``b``, ``i``, ``u`` or ``f``, as NumPy has it), its size in bytes and the number of dimensions,
then four bytes for each dimension, little-endian.

Type 2 is an attached array, whose items travel behind the message so that nobody copies them on the way: the
head, then eight bytes with the place of its first item among the attached bytes.
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

# Columns of at least so many bytes are attached.
LARGE = 1 << 14

_MOST_DIMENSIONS = 32
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
_PLACE = struct.Struct("<Q")


class Attached(NamedTuple):
    """An attached array, as its extension tells of it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int


class Attachments:
    """The items that travel behind one message.

    Attributes:
        parts: Their memory, in order.
    """

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self._size = 0

    def attach(self, rows: Sequence[Array]) -> msgspec.msgpack.Ext:
        """Attaches contiguous arrays of one dtype and shape, as one array with a leading axis over them."""
        first = rows[0]
        place = self._size
        self.parts.extend(row.reshape(-1).data.cast("B") for row in rows)
        self._size += first.nbytes * len(rows)
        head = _head(first.dtype.kind, first.itemsize, (len(rows), *first.shape))
        return msgspec.msgpack.Ext(ATTACHED_EXTENSION, head + _PLACE.pack(place))


def is_array_of_numbers(value: Array | np.generic) -> bool:
    """Whether `pack` takes it."""
    return value.dtype.kind in _SIZES and value.dtype.itemsize in _SIZES[value.dtype.kind]


def pack(array: Array) -> msgspec.msgpack.Ext:
    """An array of bools, integers or floats as a msgpack extension.

    Raises:
        TypeError: The dtype is another one.
    """
    dtype = array.dtype
    if not is_array_of_numbers(array):
        raise TypeError(
            f"An array of {dtype} cannot be sent; bools, integers and floats of 64 bits at most can"
        )
    if dtype.byteorder == ">":
        array = array.astype(dtype.newbyteorder("<"))
    return msgspec.msgpack.Ext(EXTENSION, _head(dtype.kind, dtype.itemsize, array.shape) + array.tobytes())


def unpack(code: int, data: memoryview) -> Array | np.generic | Attached:
    """What an extension stands for: an array in fresh memory, a NumPy scalar where the shape is ().

    Raises:
        ValueError: It is not what `pack` and `Attachments.attach` make.
    """
    try:
        dtype, shape, end = _read_head(data)
        if code == ATTACHED_EXTENSION:
            return Attached(dtype, shape, *_PLACE.unpack_from(data, end))
    except (IndexError, struct.error) as error:
        raise ValueError(f"an array's head is cut off: {error}") from error
    if code != EXTENSION:
        raise ValueError(f"there is no extension type {code}")
    if len(data) - end != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and {dtype} does not have {len(data) - end} bytes")
    array = np.ndarray(shape, dtype, data, end)
    return array.copy() if shape else dtype.type(array[()])


def look_up(attached: Attached, items: memoryview) -> Array:
    """An attached array: a view of the bytes behind the message.

    Raises:
        ValueError: They end before it does.
    """
    try:
        return np.ndarray(attached.shape, attached.dtype, items, attached.place)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"the attached array {attached} is not there: {error}") from error


def _read_head(data: memoryview) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    kind, size, dimensions = chr(data[0]), data[1], data[2]
    if dimensions > _MOST_DIMENSIONS or size not in _SIZES.get(kind, ()):
        raise ValueError(f"no array has {dimensions} dimensions, the kind {kind!r} and items of {size} bytes")
    shape = struct.unpack_from(f"<{dimensions}I", data, 3)
    return _dtype(kind, size), shape, 3 + 4 * dimensions


@lru_cache(256)
def _head(kind: str, size: int, shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<cBB{len(shape)}I", kind.encode(), size, len(shape), *shape)


@lru_cache(16)
def _dtype(kind: str, size: int) -> np.dtype[Any]:
    return np.dtype(f"<{kind}{size}")
