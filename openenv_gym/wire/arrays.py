"""NumPy arrays in msgpack: extension type 1, dtype, shape and the raw bytes.

A byte each for the dtype's kind (ASCII ``b``, ``i``, ``u`` or ``f``, as NumPy has it), its size in bytes and
the number of dimensions; four bytes a dimension, little-endian; then the items in C order, little-endian.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import msgspec
import numpy as np

EXTENSION = 1

_MOST_DIMENSIONS = 32
_KINDS = frozenset("biuf")
_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}


def is_array_of_numbers(value: np.ndarray[Any, Any] | np.generic) -> bool:
    """Whether `pack` takes it."""
    return value.dtype.kind in _KINDS and value.dtype.itemsize <= 8


def pack(array: np.ndarray[Any, Any]) -> msgspec.msgpack.Ext:
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
    head = _head(array.ndim).pack(dtype.kind.encode(), dtype.itemsize, array.ndim, *array.shape)
    return msgspec.msgpack.Ext(EXTENSION, head + array.tobytes())


def unpack(data: memoryview) -> np.ndarray[Any, Any] | np.generic:
    """The array of an extension's data, a view into them; a NumPy scalar where the shape is ().

    Raises:
        ValueError: The data are not what `pack` makes.
    """
    try:
        kind, size, dimensions = chr(data[0]), data[1], data[2]
        if dimensions > _MOST_DIMENSIONS or size not in _SIZES.get(kind, ()):
            raise ValueError(
                f"no array has {dimensions} dimensions, the kind {kind!r} and items of {size} bytes"
            )
        head = _head(dimensions)
        shape = head.unpack_from(data)[3:]
        array = np.frombuffer(data, _dtype(kind, size), offset=head.size).reshape(shape)
    except (IndexError, struct.error) as error:
        raise ValueError(f"an array's head is cut off: {error}") from error
    scalar: np.ndarray[Any, Any] | np.generic = array if shape else array[()]
    return scalar


@cache
def _head(dimensions: int) -> struct.Struct:
    return struct.Struct(f"<cBB{dimensions}I")


@cache
def _dtype(kind: str, size: int) -> np.dtype[Any]:
    return np.dtype(f"<{kind}{size}")
