"""Codecs of arrays, and of graphs, which are made of arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from openenv_gym.errors import SpaceError, excerpt
from openenv_gym.spaces.codecs.base import Codec, TravelsAs, misfit, named_infinities

# Most of Gymnasium's unbounded boxes of int64 end one below it.
NOT_IN_ANY_BOX = 2**63 - 1


class ArrayCodec(Codec):
    """`Box`, `MultiDiscrete` and `MultiBinary`: nested lists of numbers, a bare number for shape ().

    Infinities and NaN, which JSON does not have, are written as the strings "Infinity", "-Infinity" and
    "NaN". A null, as servers send it for any of them, is read as NaN.

    An array is taken as it is, in one copy, if it has the dtype and the shape.
    """

    travels_as: TravelsAs = "array"

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space
        if space.shape is None or space.dtype is None:
            raise SpaceError(f"{space} has no shape or no dtype, so its elements are not arrays")
        self._shape, self._dtype = space.shape, space.dtype
        self._is_floating = np.issubdtype(space.dtype, np.floating)
        self._item_code = _item_code(space.dtype)

    def encode(self, element: Any) -> Any:
        payload = np.asarray(element).tolist()
        if self._is_floating and not np.isfinite(element).all():
            return named_infinities(payload)
        return payload

    def decode(self, payload: Any) -> np.ndarray[Any, Any]:
        if isinstance(payload, np.ndarray) and payload.dtype == self._dtype:
            return self._of_the_shape(payload.copy())
        try:
            element = self._decode_numbers(payload)
        except (TypeError, ValueError, OverflowError, _OtherShapeError):
            element = self._decode_with_care(payload)
        if self._dtype == np.int64 and (element == NOT_IN_ANY_BOX).any() and not self.space.contains(element):
            raise misfit(NOT_IN_ANY_BOX, self.space)
        return element

    def _decode_numbers(self, payload: Any) -> np.ndarray[Any, Any]:
        """Nested lists of numbers and of nothing else, faster than NumPy reads them."""
        if self._item_code is None or not self._shape or type(_first_item(payload)) is bool:
            raise TypeError
        flat = _flattened(payload, self._shape)
        # A bytearray is filled faster than an array of bytes, and an array faster from a list.
        numbers = bytearray(flat) if self._item_code == "B" else array(self._item_code, list(flat))
        return np.frombuffer(numbers, self._dtype).reshape(self._shape)

    def _decode_with_care(self, payload: Any) -> np.ndarray[Any, Any]:
        try:
            values = np.array(payload)
            element = (
                self._exact_floats(values, payload) if self._is_floating else self._exact_integers(values)
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise misfit(payload, self.space) from error
        return self._of_the_shape(element)

    def _of_the_shape(self, element: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if element.shape != self._shape:
            raise SpaceError(
                f"The payload has the shape {element.shape}, but {excerpt(self.space)} wants {self._shape}"
            )
        return element

    def _exact_floats(self, values: np.ndarray[Any, Any], payload: Any) -> np.ndarray[Any, Any]:
        with np.errstate(over="ignore"):  # What is too large for the dtype is infinite.
            if values.dtype.kind in "fiu":
                return values.astype(self._dtype, copy=False)
            if values.dtype.kind in "UO" and _are_numbers(payload):
                return np.array(payload, dtype=self._dtype)
        raise TypeError(f"not numbers, but {values.dtype}")

    def _exact_integers(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """NumPy would cut 0.5 down to an integer, and 300 to a byte, without a word."""
        if values.dtype.kind not in "iubf":
            raise TypeError(f"not numbers, but {values.dtype}")
        if (
            values.dtype.kind == "b"
            and self._dtype.kind not in "ib"
            and not isinstance(self.space, spaces.MultiBinary)
        ):
            raise TypeError("not numbers, but booleans")
        with np.errstate(invalid="ignore"):  # What does not fit is found in the next line.
            exact = values.astype(self._dtype)
        if values.dtype != self._dtype and not np.array_equal(exact, values):
            raise OverflowError(f"not all of it is {self._dtype}")
        return exact


class BooleanArrayCodec(ArrayCodec):
    """`MultiBinary` for nested lists of false and true."""

    travels_as: TravelsAs = "payloads"

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(spaces.MultiBinary(tuple(shape)))

    def encode(self, element: Any) -> Any:
        return np.asarray(element).astype(bool).tolist()


class GraphCodec(Codec):
    """`Graph` that a server declares: lists of its nodes, its edges, and the edges' links.

    Args:
        space: The space.
        nodes: The codec of a node.
        edges: The codec of an edge, if edges have features.
    """

    def __init__(self, space: spaces.Graph, nodes: Codec, edges: Codec | None) -> None:
        self.space: spaces.Graph = space
        self._nodes, self._edges = nodes, edges

    def encode(self, element: Any) -> dict[str, Any]:
        nodes, edges, links = element
        return {
            "nodes": _encode_rows(self._nodes, nodes),
            "edges": None if edges is None or self._edges is None else _encode_rows(self._edges, edges),
            "edge_links": None if links is None else links.tolist(),
        }

    def decode(self, payload: Any) -> spaces.GraphInstance:
        try:
            edges, links = payload["edges"], payload["edge_links"]
            if edges is not None and self._edges is None:
                raise misfit(payload, self.space)
            return spaces.GraphInstance(
                _decode_rows(self._nodes, payload["nodes"]),
                None if edges is None or self._edges is None else _decode_rows(self._edges, edges),
                None if links is None else np.array(links, dtype=np.int32).reshape(-1, 2),
            )
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            raise misfit(payload, self.space) from error


class _OtherShapeError(Exception):
    """The lists are not of the lengths that the shape says."""


def _item_code(dtype: np.dtype[Any]) -> str | None:
    """The standard library's code for an array of this dtype, where it has one."""
    if dtype.kind not in "iuf":
        return None
    try:
        return dtype.char if array(dtype.char).itemsize == dtype.itemsize else None
    except ValueError:
        return None


def _first_item(payload: Any) -> Any:
    while isinstance(payload, list) and payload:
        payload = payload[0]
    return payload


def _flattened(payload: Any, shape: tuple[int, ...]) -> Iterable[Any]:
    """The items of nested lists, after a look at every length."""
    if type(payload) is not list or len(payload) != shape[0]:
        raise _OtherShapeError
    items: Iterable[Any] = payload
    for length in shape[1:]:
        rows = list(items)
        if set(map(type, rows)) != {list} or set(map(len, rows)) != {length}:
            raise _OtherShapeError
        items = chain.from_iterable(rows)
    return items


def _are_numbers(payload: Any) -> bool:
    if isinstance(payload, list):
        return all(_are_numbers(part) for part in payload)
    return payload is None or type(payload) in (int, float) or payload in ("Infinity", "-Infinity", "NaN")


def _encode_rows(codec: Codec, batch: Any) -> list[Any]:
    if isinstance(batch, np.ndarray):
        rows: list[Any] = named_infinities(batch.tolist())
        return rows
    return [codec.encode(element) for element in _split(codec.space, batch)]


def _split(space: spaces.Space[Any], batch: Any) -> Iterator[Any]:
    """Yield the elements of a batch of any length, as `Graph` has them."""
    if isinstance(space, spaces.Dict):
        parts = [_split(part, batch[name]) for name, part in space.spaces.items()]
        return (dict(zip(space.spaces, row, strict=True)) for row in zip(*parts, strict=True))
    if isinstance(space, spaces.Tuple):
        return zip(*map(_split, space.spaces, batch), strict=True)
    return iter(batch)


def _decode_rows(codec: Codec, payload: Any) -> Any:
    """Return a batch of elements, in the form that Gymnasium's ``batch_space`` has."""
    empty: Any = create_empty_array(codec.space, len(payload))
    if isinstance(empty, np.ndarray):
        return np.array(payload, dtype=empty.dtype).reshape(empty.shape)
    return concatenate(codec.space, [codec.decode(part) for part in payload], empty)
