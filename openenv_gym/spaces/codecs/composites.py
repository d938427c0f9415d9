"""Codecs of values that are made of others: objects, tuples, sequences, alternatives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.codecs.base import Codec, TravelsAs, misfit, named_infinities
from openenv_gym.spaces.custom import ordered_dict
from openenv_gym.spaces.schema import kind_of

MISSING: Any = object()
_JSON_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


class DictCodec(Codec):
    """`Dict`: a JSON object with the same keys.

    Args:
        parts: The codec of each key.
        space: The space; by default the `Dict` of the parts' spaces.
        defaults: The payloads of keys that may be missing.
    """

    def __init__(
        self,
        parts: Mapping[str, Codec],
        space: spaces.Dict | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.parts: dict[str, Codec] = dict(parts)
        self.space: spaces.Dict = (
            ordered_dict({name: part.space for name, part in parts.items()}) if space is None else space
        )
        self.defaults: dict[str, Any] = dict(defaults or {})
        self._encoders = tuple((name, part.encode) for name, part in parts.items())
        self._decoders = tuple((name, part.decode) for name, part in parts.items())
        self._may_leave_out = any(isinstance(part, OptionalCodec) for part in parts.values())
        if parts and not self._may_leave_out:
            self.travels_as = "parts"

    def encode(self, element: Any) -> dict[str, Any]:
        payload = {name: encode(element[name]) for name, encode in self._encoders}
        if self._may_leave_out:
            return {name: part for name, part in payload.items() if part is not MISSING}
        return payload

    def decode(self, payload: Any) -> dict[str, Any]:
        element: dict[str, Any] = {}
        try:
            for name, decode in self._decoders:
                element[name] = decode(payload[name])
        except SpaceError as error:
            raise SpaceError(f"{name}: {error}") from error
        except (KeyError, TypeError, IndexError):
            return self._completed(payload, element)
        return element

    def _completed(self, payload: Any, element: dict[str, Any]) -> dict[str, Any]:
        """Decode the other fields of a payload in which one is missing."""
        if not isinstance(payload, dict):
            raise misfit(payload, self.space)
        for name, decode in self._decoders[len(element) :]:
            part = payload[name] if name in payload else self._missing(name, payload)
            try:
                element[name] = decode(part)
            except SpaceError as error:
                raise SpaceError(f"{name}: {error}") from error
        return element

    def _missing(self, name: str, payload: dict[str, Any]) -> Any:
        if name in self.defaults:
            return self.defaults[name]
        if isinstance(self.parts[name], OptionalCodec):
            return MISSING
        raise SpaceError(f"The payload has no field {name!r}; it has {sorted(payload)}")


class OptionalCodec(Codec):
    """``OneOf(X, Discrete(1))`` for a field that may be left out: ``(0, element)`` or ``(1, 0)``."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.space: spaces.OneOf[Any] = spaces.OneOf([codec.space, spaces.Discrete(1)])

    def encode(self, element: Any) -> Any:
        index, value = element
        return MISSING if int(index) == 1 else self.codec.encode(value)

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        if payload is MISSING:
            return np.int64(1), np.int64(0)
        return np.int64(0), self.codec.decode(payload)


class FieldCodec(Codec):
    """The only field of a model: its element, in an object with that field.

    Args:
        model: The codec of the whole model.
    """

    def __init__(self, model: DictCodec) -> None:
        self.parts: Mapping[str, Codec] = model.parts
        ((self._name, self._field),) = model.parts.items()
        self.space: spaces.Space[Any] = self._field.space
        self.model = model
        if model.travels_as == "parts":
            self.travels_as = "field"

    def encode(self, element: Any) -> dict[str, Any]:
        return self.model.encode({self._name: element})

    def decode(self, payload: Any) -> Any:
        try:
            return self._field.decode(payload[self._name])
        except (SpaceError, KeyError, TypeError, IndexError):
            return self.model.decode(payload)[self._name]  # with defaults, or an error that names the field


class TupleCodec(Codec):
    """`Tuple`: a JSON array of a fixed length, with a codec for each place."""

    travels_as: TravelsAs = "parts"

    def __init__(self, codecs: Sequence[Codec], space: spaces.Tuple[Any] | None = None) -> None:
        self._codecs = tuple(codecs)
        self.parts: dict[str, Codec] = {str(place): codec for place, codec in enumerate(codecs)}
        self.space: spaces.Tuple[Any] = (
            spaces.Tuple([codec.space for codec in codecs]) if space is None else space
        )
        if not codecs:
            self.travels_as = "payloads"

    def encode(self, element: Any) -> list[Any]:
        return [codec.encode(part) for codec, part in zip(self._codecs, element, strict=True)]

    def decode(self, payload: Any) -> tuple[Any, ...]:
        if not isinstance(payload, list) or len(payload) != len(self._codecs):
            raise misfit(payload, self.space)
        return _decoded(zip(self._codecs, payload, strict=True))


class SequenceCodec(Codec):
    """`Sequence`: a JSON array of any length."""

    def __init__(self, item: Codec, space: spaces.Sequence | None = None) -> None:
        self.item = item
        self.space: spaces.Sequence = spaces.Sequence(item.space) if space is None else space
        self._is_stacked = getattr(self.space, "stack", False)

    def encode(self, element: Any) -> list[Any]:
        if self._is_stacked:
            element = _iterate_stacked(self.space, element)
        return [self.item.encode(part) for part in element]

    def decode(self, payload: Any) -> Any:
        if not isinstance(payload, list):
            raise misfit(payload, self.space)
        return self.joined(_decoded((self.item, part) for part in payload))

    def joined(self, parts: Sequence[Any]) -> Any:
        """Return the element of its items."""
        return _stacked(self.space, parts) if self._is_stacked else tuple(parts)


class UnionCodec(Codec):
    """`OneOf` for a value that is one of several kinds: ``(index of the kind, element)``.

    A payload does not say which kind it is. The first that reproduces it is taken; else the first whose space
    has it, as 1 may stand for 1.0, and a default for what is missing. Kinds of the payload's JSON type go
    first, and those that take any type go last.

    Args:
        codecs: The codec of each kind.
        types: The JSON types that each kind allows; none if it allows all.
    """

    def __init__(self, codecs: Sequence[Codec], types: Sequence[frozenset[str]]) -> None:
        self.codecs: tuple[Codec, ...] = tuple(codecs)
        self.space: spaces.Space[Any] = spaces.OneOf([codec.space for codec in self.codecs])
        self._orders = {kind: self._order(kind, types) for kind in _JSON_TYPES}

    def encode(self, element: Any) -> Any:
        index, value = element
        return self.codecs[int(index)].encode(value)

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        inside: tuple[np.int64, Any] | None = None
        outside: tuple[np.int64, Any] | None = None
        for index in self._orders[kind_of(payload)]:
            codec = self.codecs[index]
            try:
                element = codec.decode(payload)
            except SpaceError:
                continue
            is_same = _is_same(payload, codec.encode(element))
            # Gymnasium's spaces contain no NaN.
            contains = codec.space.contains(element) or (is_same and _has_nan(payload))
            if is_same and contains:
                return np.int64(index), element
            if contains:
                inside = inside or (np.int64(index), element)
            else:
                outside = outside or (np.int64(index), element)
        found = inside or outside
        if found is None:
            raise misfit(payload, self.space)
        return found

    @staticmethod
    def _order(kind: str, types: Sequence[frozenset[str]]) -> list[int]:
        def rank(index: int) -> int:
            allowed = types[index]
            if kind in allowed:
                return 0
            if kind == "integer" and "number" in allowed:
                return 1
            return 3 if allowed else 2

        return sorted(range(len(types)), key=rank)


class OneOfCodec(Codec):
    """`OneOf` that a server declares: ``[index, payload]``."""

    def __init__(self, codecs: Sequence[Codec], space: spaces.OneOf[Any]) -> None:
        self.codecs: tuple[Codec, ...] = tuple(codecs)
        self.space: spaces.OneOf[Any] = space

    def encode(self, element: Any) -> list[Any]:
        index, value = element
        return [int(index), self.codecs[int(index)].encode(value)]

    def decode(self, payload: Any) -> tuple[np.int64, Any]:
        if not isinstance(payload, list) or len(payload) != 2:
            raise misfit(payload, self.space)
        index, part = payload
        if type(index) is not int or index not in range(len(self.codecs)):
            raise misfit(payload, self.space)
        return np.int64(index), self.codecs[index].decode(part)


def _decoded(items: Iterable[tuple[Codec, Any]]) -> tuple[Any, ...]:
    """Return the elements of a list's items; an error names the place of the item that does not fit."""
    elements: list[Any] = []
    try:
        elements.extend(codec.decode(part) for codec, part in items)
    except SpaceError as error:
        raise SpaceError(f"[{len(elements)}]: {error}") from error
    return tuple(elements)


def _is_same(sent: Any, back: Any) -> bool:
    """Return whether a payload came back as it was sent: 1 is neither true nor 1.0, and NaN is NaN."""
    match sent:
        case dict():
            return (
                isinstance(back, dict)
                and sent.keys() == back.keys()
                and all(_is_same(part, back[name]) for name, part in sent.items())
            )
        case list():
            return isinstance(back, list) and len(sent) == len(back) and all(map(_is_same, sent, back))
        case np.ndarray():
            return _is_same(sent.tolist(), back)
        case float():
            return bool(named_infinities(sent) == back) and isinstance(back, float | str)
    return type(sent) is type(back) and bool(sent == back)


def _has_nan(payload: Any) -> bool:
    match payload:
        case dict():
            return any(map(_has_nan, payload.values()))
        case list():
            return any(map(_has_nan, payload))
        case np.ndarray():
            return payload.dtype.kind == "f" and bool(np.isnan(payload).any())
    return isinstance(payload, float) and math.isnan(payload)


def _iterate_stacked(space: spaces.Space[Any], element: Any) -> Sequence[Any]:
    """Return the items of a stacked `Sequence`'s element."""
    assert isinstance(space, spaces.Sequence)
    return tuple(iterate(space.stacked_feature_space, element))


def _stacked(space: spaces.Space[Any], parts: Sequence[Any]) -> Any:
    """Return the element of a stacked `Sequence` from its items."""
    assert isinstance(space, spaces.Sequence)
    item_space = space.feature_space
    out: Any = create_empty_array(item_space, len(parts))
    return concatenate(item_space, parts, out) if parts else out
