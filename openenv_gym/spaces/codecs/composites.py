"""Codecs of values that are made of others: objects, tuples, sequences, alternatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.codecs.base import Codec, misfit

MISSING: Any = object()


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
        except (SpaceError, KeyError, TypeError, IndexError):
            return self._decode_with_care(payload)

    def _decode_with_care(self, payload: Any) -> dict[str, Any]:
        """Fills in what is missing, and names the field where something does not fit."""
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
        if isinstance(self.codecs[name], OptionalCodec):
            return MISSING
        raise SpaceError(f"The payload has no field {name!r}; it has {sorted(payload)}")


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


class FieldCodec:
    """A model of one field, as that field's own space."""

    def __init__(self, fields: DictCodec) -> None:
        ((self.name, self.codec),) = fields.codecs.items()
        self.space = self.codec.space
        self._fields = fields

    def encode(self, element: Any) -> dict[str, Any]:
        return self._fields.encode({self.name: element})

    def decode(self, payload: Any) -> Any:
        try:
            return self.codec.decode(payload[self.name])
        except (SpaceError, KeyError, TypeError, IndexError):
            return self._fields.decode(payload)[self.name]  # with defaults, or an error that names the field


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
            raise misfit(payload, self.space)
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
            raise misfit(payload, self.space)
        parts = tuple(self.item.decode(part) for part in payload)
        return _stacked(self.space, parts) if self._is_stacked else parts


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
            raise misfit(payload, self.space)
        return nearest


class OneOfCodec:
    """`OneOf` that a server declares: ``[index, payload]``."""

    def __init__(self, codecs: Sequence[Codec], space: spaces.OneOf[Any]) -> None:
        self.codecs = tuple(codecs)
        self.space: spaces.Space[Any] = space

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
    return concatenate(item_space, parts, out) if parts else out
