"""Codecs of single values: numbers, choices, texts, nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.spaces.codecs.arrays import NOT_IN_ANY_BOX, ArrayCodec
from openenv_gym.spaces.codecs.base import Codec, TravelsAs, misfit
from openenv_gym.spaces.custom import JsonText, UnicodeText, canonical_json

_ZERO, _ONE = np.int64(0), np.int64(1)
# As many integers are made beforehand: looking one up takes a fifth of the time of making it.
_MOST_KNOWN = 256


class IntegerCodec(Codec):
    """`Discrete` of plain integers."""

    travels_as: TravelsAs = "array"

    def __init__(self, space: spaces.Discrete[Any]) -> None:
        self.space: spaces.Discrete = space
        self._type = space.dtype.type
        first, count = int(space.start), min(int(space.n), _MOST_KNOWN)
        self._known = {value: self._type(value) for value in range(first, first + count)}

    def encode(self, element: Any) -> int:
        return int(element)

    def decode(self, payload: Any) -> Any:
        if type(payload) is int and payload in self._known:
            return self._known[payload]
        if type(payload) is not int and not _is_whole(payload):
            raise misfit(payload, self.space)
        try:
            return self._type(payload)
        except OverflowError as error:
            raise misfit(payload, self.space) from error


class BooleanCodec(Codec):
    """``Discrete(2)`` for false and true."""

    def __init__(self) -> None:
        self.space: spaces.Discrete = spaces.Discrete(2)

    def encode(self, element: Any) -> bool:
        return bool(element)

    def decode(self, payload: Any) -> np.int64:
        if payload is True:
            return _ONE
        if payload is False:
            return _ZERO
        raise misfit(payload, self.space)


class LabelCodec(Codec):
    """``Discrete(n)`` for a choice among n JSON values; the element is the index into ``labels``."""

    def __init__(self, labels: Sequence[Any]) -> None:
        self.space: spaces.Discrete = spaces.Discrete(len(labels))
        self.labels: tuple[Any, ...] = tuple(labels)
        self._indices = {label_key(label): np.int64(i) for i, label in enumerate(labels)}

    def encode(self, element: Any) -> Any:
        return self.labels[int(element)]

    def decode(self, payload: Any) -> np.int64:
        try:
            return self._indices[label_key(payload)]
        except (KeyError, TypeError, ValueError):
            raise SpaceError(f"{payload!r} is none of the labels {list(self.labels)}") from None


def label_key(label: Any) -> Any:
    """Return what labels that are equal in JSON have in common: labels may be lists, and true is not 1."""
    if type(label) is str:
        return label
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return (canonical_json(label),)


class NullCodec(Codec):
    """``Discrete(1)`` for null."""

    def __init__(self) -> None:
        self.space: spaces.Discrete = spaces.Discrete(1)

    def encode(self, element: Any) -> None:
        return None

    def decode(self, payload: Any) -> np.int64:
        if payload is not None:
            raise misfit(payload, self.space)
        return np.int64(0)


class NumberCodec(Codec):
    """`Box` of shape (), in a fraction of the time that an array takes."""

    travels_as: TravelsAs = "array"

    def __init__(self, space: spaces.Box[Any]) -> None:
        self.space: spaces.Box = space
        self._array = ArrayCodec(space)
        self._dtype = space.dtype
        self._plain = {"b": bool, "i": int, "u": int}.get(space.dtype.kind, float)
        self._takes_int = self._plain is not bool
        self._highest = space.high.item()

    def encode(self, element: Any) -> Any:
        value = self._plain(element)
        return value if math.isfinite(value) else self._array.encode(element)

    def decode(self, payload: Any) -> np.ndarray[Any, Any]:
        if type(payload) is self._plain or (type(payload) is int and self._takes_int):
            if payload == NOT_IN_ANY_BOX and self._plain is int and payload > self._highest:
                raise misfit(payload, self.space)
            try:
                return np.array(payload, self._dtype)
            except OverflowError as error:
                raise misfit(payload, self.space) from error
        return self._array.decode(payload)


class TextCodec(Codec):
    """Strings, as they are."""

    def __init__(self, space: spaces.Text | None = None) -> None:
        self.space: UnicodeText | spaces.Text = UnicodeText() if space is None else space

    def encode(self, element: Any) -> str:
        return str(element)

    def decode(self, payload: Any) -> str:
        if not isinstance(payload, str):
            raise misfit(payload, self.space)
        return payload


class JsonTextCodec(Codec):
    """Any JSON value, as canonical JSON text. NaN and infinity, which JSON does not have, become null."""

    def __init__(self, space: JsonText | None = None) -> None:
        self.space: JsonText = JsonText() if space is None else space

    def encode(self, element: Any) -> Any:
        return json.loads(element)

    def decode(self, payload: Any) -> str:
        try:
            text = canonical_json(payload)
            return canonical_json(_finite(payload)) if "NaN" in text or "Infinity" in text else text
        except (TypeError, ValueError, RecursionError) as error:  # an array, say, which a message may hold
            raise misfit(payload, self.space) from error


class PayloadCodec(Codec):
    """For elements that are payloads already."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space

    def encode(self, element: Any) -> Any:
        return element

    def decode(self, payload: Any) -> Any:
        return payload


def _finite(payload: Any) -> Any:
    match payload:
        case dict():
            return {name: _finite(part) for name, part in payload.items()}
        case list():
            return [_finite(part) for part in payload]
        case float() if not math.isfinite(payload):
            return None
    return payload


def _is_whole(payload: Any) -> bool:
    return isinstance(payload, float) and payload.is_integer()
