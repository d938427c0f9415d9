"""Codecs of values that are made of others: objects, tuples, sequences, alternatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.codecs.base import Codec, TravelsAs, misfit

MISSING: Any = object()


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
        self.parts = dict(parts)
        self.space = (
            spaces.Dict({name: part.space for name, part in parts.items()}, sort_keys=False)
            if space is None
            else space
        )
        self.defaults = dict(defaults or {})
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
        try:
            return {name: decode(payload[name]) for name, decode in self._decoders}
        except (SpaceError, KeyError, TypeError, IndexError):
            return self._decode_with_care(payload)

    def _decode_with_care(self, payload: Any) -> dict[str, Any]:
        """Fill in what is missing, and name the field that does not fit."""
        if not isinstance(payload, dict):
            raise misfit(payload, self.space)
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
        if isinstance(self.parts[name], OptionalCodec):
            return MISSING
        raise SpaceError(f"The payload has no field {name!r}; it has {sorted(payload)}")


class OptionalCodec(Codec):
    """``OneOf(X, Discrete(1))`` for a field that may be left out: ``(0, element)`` or ``(1, 0)``."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.space = spaces.OneOf([codec.space, spaces.Discrete(1)])

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
        self.parts = model.parts
        ((self._name, self._field),) = model.parts.items()
        self.space = self._field.space
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
        self.parts = {str(place): codec for place, codec in enumerate(codecs)}
        self.space = spaces.Tuple([codec.space for codec in codecs]) if space is None else space
        if not codecs:
            self.travels_as = "payloads"

    def encode(self, element: Any) -> list[Any]:
        return [codec.encode(part) for codec, part in zip(self._codecs, element, strict=True)]

    def decode(self, payload: Any) -> tuple[Any, ...]:
        if not isinstance(payload, list) or len(payload) != len(self._codecs):
            raise misfit(payload, self.space)
        return tuple(codec.decode(part) for codec, part in zip(self._codecs, payload, strict=True))


class SequenceCodec(Codec):
    """`Sequence`: a JSON array of any length."""

    def __init__(self, item: Codec, space: spaces.Sequence | None = None) -> None:
        self.item = item
        self.space = spaces.Sequence(item.space) if space is None else space
        self._is_stacked = getattr(self.space, "stack", False)

    def encode(self, element: Any) -> list[Any]:
        if self._is_stacked:
            element = _iterate_stacked(self.space, element)
        return [self.item.encode(part) for part in element]

    def decode(self, payload: Any) -> Any:
        if not isinstance(payload, list):
            raise misfit(payload, self.space)
        return self.joined([self.item.decode(part) for part in payload])

    def joined(self, parts: Sequence[Any]) -> Any:
        """Return the element of its items."""
        return _stacked(self.space, parts) if self._is_stacked else tuple(parts)


class UnionCodec(Codec):
    """`OneOf` for a value that is one of several kinds: ``(index of the kind, element)``.

    A payload does not say which kind it is: the first one that reproduces it is taken.
    """

    def __init__(self, codecs: Sequence[Codec]) -> None:
        self.codecs = tuple(codecs)
        self.space = spaces.OneOf([codec.space for codec in self.codecs])

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
            raise misfit(payload, self.space)
        return nearest


class OneOfCodec(Codec):
    """`OneOf` that a server declares: ``[index, payload]``."""

    def __init__(self, codecs: Sequence[Codec], space: spaces.OneOf[Any]) -> None:
        self.codecs = tuple(codecs)
        self.space = space

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


def _iterate_stacked(space: spaces.Space[Any], element: Any) -> Sequence[Any]:
    """Return the items of a stacked `Sequence`'s element."""
    from gymnasium.vector.utils import iterate

    assert isinstance(space, spaces.Sequence)
    return tuple(iterate(space.stacked_feature_space, element))


def _stacked(space: spaces.Space[Any], parts: Sequence[Any]) -> Any:
    """Return the element of a stacked `Sequence` from its items."""
    from gymnasium.vector.utils import concatenate, create_empty_array

    assert isinstance(space, spaces.Sequence)
    item_space = space.feature_space
    out: Any = create_empty_array(item_space, len(parts))
    return concatenate(item_space, parts, out) if parts else out
