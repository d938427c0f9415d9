"""Codecs: an element of a Gymnasium space to its JSON payload, and back.

A codec is built once, from a schema or from a space, and is then called every step: it looks at no schema.
``encode`` takes an element that is in the codec's space. ``decode`` gives fresh memory each time and raises
`SpaceError` where the payload does not fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.text import JsonText, UnicodeText, canonical_json


class Codec(Protocol):
    """What every codec has."""

    space: spaces.Space[Any]

    def encode(self, element: Any) -> Any:
        """The JSON payload of an element of the space."""

    def decode(self, payload: Any) -> Any:
        """The element of the space that a JSON payload stands for."""


_ZERO, _ONE = np.int64(0), np.int64(1)


class IntegerCodec:
    """`Discrete` of plain integers."""

    def __init__(self, space: spaces.Discrete[Any]) -> None:
        self.space: spaces.Space[Any] = space
        self._type = space.dtype.type

    def encode(self, element: Any) -> int:
        return int(element)

    def decode(self, payload: Any) -> Any:
        if type(payload) is not int and not _is_whole(payload):
            raise _misfit(payload, self.space)
        try:
            return self._type(payload)
        except OverflowError as error:
            raise _misfit(payload, self.space) from error


class BooleanCodec:
    """``Discrete(2)`` for false and true."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.Discrete(2)

    def encode(self, element: Any) -> bool:
        return bool(element)

    def decode(self, payload: Any) -> np.int64:
        if payload is True:
            return _ONE
        if payload is False:
            return _ZERO
        raise _misfit(payload, self.space)


class LabelCodec:
    """``Discrete(n)`` for a choice among n JSON values; the element is the index into ``labels``."""

    def __init__(self, labels: Sequence[Any]) -> None:
        self.space: spaces.Space[Any] = spaces.Discrete(len(labels))
        self.labels = tuple(labels)
        # By JSON text where it is no string: labels may be lists, and true is not 1 in JSON.
        self._index = {_label_key(label): np.int64(i) for i, label in enumerate(labels)}

    def encode(self, element: Any) -> Any:
        return self.labels[int(element)]

    def decode(self, payload: Any) -> np.int64:
        try:
            return self._index[_label_key(payload)]
        except KeyError:
            raise SpaceError(f"{payload!r} is none of the labels {list(self.labels)}") from None


class TextCodec:
    """Strings, as they are."""

    def __init__(self, space: spaces.Text | None = None) -> None:
        self.space: spaces.Space[Any] = UnicodeText() if space is None else space

    def encode(self, element: Any) -> str:
        return str(element)

    def decode(self, payload: Any) -> str:
        if not isinstance(payload, str):
            raise _misfit(payload, self.space)
        return payload


class JsonTextCodec:
    """Any JSON value, as canonical JSON text."""

    def __init__(self, examples: Sequence[Any] = (None,)) -> None:
        self.space: spaces.Space[Any] = JsonText(examples)

    def encode(self, element: Any) -> Any:
        return json.loads(element)

    def decode(self, payload: Any) -> str:
        return canonical_json(payload)


class ArrayCodec:
    """`Box`, `MultiDiscrete` and `MultiBinary`: nested lists of numbers, a bare number for shape ().

    Infinities and NaN, which JSON does not have, are written as the strings "Infinity", "-Infinity" and
    "NaN". A null, as servers send it for any of them, is read as NaN.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space
        if space.shape is None or space.dtype is None:
            raise SpaceError(f"{space} has no shape or no dtype, so its elements are not arrays")
        self._shape, self._dtype = space.shape, space.dtype
        self._is_floating = np.issubdtype(space.dtype, np.floating)

    def encode(self, element: Any) -> Any:
        payload = np.asarray(element).tolist()
        if self._is_floating and not np.isfinite(element).all():
            return named_infinities(payload)
        return payload

    def decode(self, payload: Any) -> np.ndarray[Any, Any]:
        try:
            values = np.array(payload)
            element = (
                self._exact_floats(values, payload) if self._is_floating else self._exact_integers(values)
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise _misfit(payload, self.space) from error
        if element.shape != self._shape:
            raise SpaceError(
                f"The payload has the shape {element.shape}, but {self.space} wants {self._shape}"
            )
        return element

    def _exact_floats(self, values: np.ndarray[Any, Any], payload: Any) -> np.ndarray[Any, Any]:
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
            and self._dtype.kind != "i"
            and not isinstance(self.space, spaces.MultiBinary)
        ):
            raise TypeError("not numbers, but booleans")
        exact = values.astype(self._dtype)
        if values.dtype != self._dtype and not np.array_equal(exact, values):
            raise OverflowError(f"not all of it is {self._dtype}")
        return exact


class NumberCodec:
    """`Box` of shape (), in a fraction of the time that an array takes."""

    def __init__(self, space: spaces.Box[Any]) -> None:
        self.space: spaces.Space[Any] = space
        self._array = ArrayCodec(space)
        self._dtype = space.dtype
        self._kinds = (int,) if space.dtype.kind in "iu" else (float, int)
        self._plain = int if space.dtype.kind in "iu" else float

    def encode(self, element: Any) -> Any:
        value = self._plain(element)
        return value if math.isfinite(value) else self._array.encode(element)

    def decode(self, payload: Any) -> np.ndarray[Any, Any]:
        if type(payload) in self._kinds:
            try:
                return np.array(payload, self._dtype)
            except OverflowError as error:
                raise _misfit(payload, self.space) from error
        return self._array.decode(payload)


class BooleanArrayCodec(ArrayCodec):
    """`MultiBinary` for nested lists of false and true."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(spaces.MultiBinary(tuple(shape)))

    def encode(self, element: Any) -> Any:
        return np.asarray(element).astype(bool).tolist()


class NullCodec:
    """``Discrete(1)`` for null."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.Discrete(1)

    def encode(self, element: Any) -> None:
        return None

    def decode(self, payload: Any) -> np.int64:
        if payload is not None:
            raise _misfit(payload, self.space)
        return np.int64(0)


class UnionCodec:
    """`OneOf` for a value that is one of several kinds: ``(index of the kind, element)``.

    A payload does not say which kind it is. It is of the first one that it comes back from unchanged.
    """

    def __init__(self, codecs: Sequence[Codec]) -> None:
        self.codecs = tuple(codecs)
        self.space: spaces.Space[Any] = spaces.OneOf([codec.space for codec in self.codecs])

    def encode(self, element: Any) -> Any:
        index, value = element
        return self.codecs[int(index)].encode(value)

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        nearest: tuple[np.int64, Any] | None = None
        for index, codec in enumerate(self.codecs):
            try:
                element = codec.decode(payload)
            except SpaceError:
                continue  # of another kind
            if not codec.space.contains(element):
                continue
            if codec.encode(element) == payload:
                return np.int64(index), element
            nearest = nearest or (np.int64(index), element)
        if nearest is None:
            raise _misfit(payload, self.space)
        return nearest


MISSING: Any = object()


class OptionalCodec:
    """``OneOf(X, Discrete(1))`` for a field that may be left out: ``(0, element)`` or ``(1, 0)``."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.space: spaces.Space[Any] = spaces.OneOf([codec.space, spaces.Discrete(1)])

    def encode(self, element: Any) -> Any:
        index, value = element
        return MISSING if int(index) == 1 else self.codec.encode(value)

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        if payload is MISSING:
            return np.int64(1), np.int64(0)
        return np.int64(0), self.codec.decode(payload)


class DictCodec:
    """`Dict`: a JSON object with the same keys.

    Args:
        codecs: A codec a key.
        space: The space, where it is there already.
        defaults: The payloads of keys that may be missing.
    """

    def __init__(
        self,
        codecs: Mapping[str, Codec],
        space: spaces.Dict | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.codecs = dict(codecs)
        self.space: spaces.Space[Any] = (
            spaces.Dict({name: codec.space for name, codec in codecs.items()}, sort_keys=False)
            if space is None
            else space
        )
        self.defaults = dict(defaults or {})
        self._encoders = tuple((name, codec.encode) for name, codec in codecs.items())
        self._decoders = tuple((name, codec.decode) for name, codec in codecs.items())
        self._may_leave_out = any(isinstance(codec, OptionalCodec) for codec in codecs.values())

    def encode(self, element: Any) -> dict[str, Any]:
        payload = {name: encode(element[name]) for name, encode in self._encoders}
        if self._may_leave_out:
            return {name: part for name, part in payload.items() if part is not MISSING}
        return payload

    def decode(self, payload: Any) -> dict[str, Any]:
        try:
            return {name: decode(payload[name]) for name, decode in self._decoders}
        except (SpaceError, KeyError, TypeError):
            return self._decode_with_care(payload)

    def _decode_with_care(self, payload: Any) -> dict[str, Any]:
        """Fills in what is missing, and names the field where something does not fit."""
        if not isinstance(payload, dict):
            raise _misfit(payload, self.space)
        element = {}
        for name, decode in self._decoders:
            part = payload.get(name, MISSING)
            if part is MISSING:
                part = self._missing(name, payload)
            try:
                element[name] = decode(part)
            except SpaceError as error:
                raise SpaceError(f"{name}: {error}") from error
        return element

    def _missing(self, name: str, payload: dict[str, Any]) -> Any:
        if name in self.defaults:
            return self.defaults[name]
        if isinstance(self.codecs[name], OptionalCodec):
            return MISSING
        raise SpaceError(f"The payload has no field {name!r}; it has {sorted(payload)}")


class FieldCodec:
    """A model of one field, as that field's own space."""

    def __init__(self, fields: DictCodec) -> None:
        ((self.name, self.codec),) = fields.codecs.items()
        self.space = self.codec.space
        self._fields = fields

    def encode(self, element: Any) -> dict[str, Any]:
        return self._fields.encode({self.name: element})

    def decode(self, payload: Any) -> Any:
        return self._fields.decode(payload)[self.name]


class TupleCodec:
    """`Tuple`: a JSON array of a fixed length, each place with a space of its own."""

    def __init__(self, codecs: Sequence[Codec], space: spaces.Tuple[Any] | None = None) -> None:
        self.codecs = tuple(codecs)
        self.space: spaces.Space[Any] = (
            spaces.Tuple([codec.space for codec in self.codecs]) if space is None else space
        )

    def encode(self, element: Any) -> list[Any]:
        return [codec.encode(part) for codec, part in zip(self.codecs, element, strict=True)]

    def decode(self, payload: Any) -> tuple[Any, ...]:
        if not isinstance(payload, list) or len(payload) != len(self.codecs):
            raise _misfit(payload, self.space)
        return tuple(codec.decode(part) for codec, part in zip(self.codecs, payload, strict=True))


class SequenceCodec:
    """`Sequence`: a JSON array of any length."""

    def __init__(self, item: Codec, space: spaces.Sequence | None = None) -> None:
        self.item = item
        self.space: spaces.Space[Any] = spaces.Sequence(item.space) if space is None else space
        self._is_stacked = getattr(self.space, "stack", False)

    def encode(self, element: Any) -> list[Any]:
        if self._is_stacked:
            element = _iterate_stacked(self.space, element)
        return [self.item.encode(part) for part in element]

    def decode(self, payload: Any) -> Any:
        if not isinstance(payload, list):
            raise _misfit(payload, self.space)
        parts = tuple(self.item.decode(part) for part in payload)
        return _stacked(self.space, parts) if self._is_stacked else parts


class OneOfCodec:
    """`OneOf` that a server declares: ``[index, payload]``."""

    def __init__(self, codecs: Sequence[Codec], space: spaces.OneOf[Any]) -> None:
        self.codecs = tuple(codecs)
        self.space: spaces.Space[Any] = space

    def encode(self, element: Any) -> list[Any]:
        index, value = element
        return [int(index), self.codecs[int(index)].encode(value)]

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        if not isinstance(payload, list) or len(payload) != 2 or payload[0] not in range(len(self.codecs)):
            raise _misfit(payload, self.space)
        return np.int64(payload[0]), self.codecs[payload[0]].decode(payload[1])


class GraphCodec:
    """`Graph` that a server declares: its nodes, edges and edge links as nested lists."""

    def __init__(self, space: spaces.Graph) -> None:
        self.space: spaces.Space[Any] = space
        self._node_space, self._edge_space = space.node_space, space.edge_space

    def encode(self, element: Any) -> dict[str, Any]:
        return {
            "nodes": named_infinities(element.nodes.tolist()),
            "edges": None if element.edges is None else named_infinities(element.edges.tolist()),
            "edge_links": None if element.edge_links is None else element.edge_links.tolist(),
        }

    def decode(self, payload: Any) -> spaces.GraphInstance:
        try:
            nodes = _rows(payload["nodes"], self._node_space)
            edges, links = payload["edges"], payload["edge_links"]
            return spaces.GraphInstance(
                nodes,
                None if edges is None else _rows(edges, self._edge_space),
                None if links is None else np.array(links, dtype=np.int32).reshape(-1, 2),
            )
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise _misfit(payload, self.space) from error


def _iterate_stacked(space: spaces.Space[Any], element: Any) -> Sequence[Any]:
    """The items of a stacked `Sequence`'s element."""
    from gymnasium.vector.utils import iterate

    assert isinstance(space, spaces.Sequence)
    return tuple(iterate(space.stacked_feature_space, element))


def _stacked(space: spaces.Space[Any], parts: Sequence[Any]) -> Any:
    """The element of a stacked `Sequence` from its items."""
    from gymnasium.vector.utils import concatenate, create_empty_array

    assert isinstance(space, spaces.Sequence)
    item_space = space.feature_space
    out: Any = create_empty_array(item_space, len(parts))
    return concatenate(item_space, parts, out)


def _is_whole(payload: Any) -> bool:
    return isinstance(payload, float) and payload.is_integer()


def _label_key(label: Any) -> Any:
    return ("text", label) if isinstance(label, str) else canonical_json(label)


def _are_numbers(payload: Any) -> bool:
    if isinstance(payload, list):
        return all(_are_numbers(part) for part in payload)
    return payload is None or type(payload) in (int, float) or payload in ("Infinity", "-Infinity", "NaN")


def _rows(payload: Any, space: Any) -> np.ndarray[Any, Any]:
    return np.array(payload, dtype=space.dtype).reshape(-1, *space.shape)


def named_infinities(payload: Any) -> Any:
    """Nested lists of numbers, with a string in the place of each infinity and NaN."""
    if isinstance(payload, list):
        return [named_infinities(part) for part in payload]
    if isinstance(payload, float) and not math.isfinite(payload):
        return "NaN" if math.isnan(payload) else "Infinity" if payload > 0 else "-Infinity"
    return payload


def _misfit(payload: Any, space: spaces.Space[Any]) -> SpaceError:
    shown = repr(payload)
    return SpaceError(f"{shown[:200]}{'…' if len(shown) > 200 else ''} does not fit {space}")
