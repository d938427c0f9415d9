"""The base class of codecs, and what they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from gymnasium import spaces

from openenv_gym.errors import SpaceError, excerpt

TravelsAs = Literal["payloads", "array", "parts", "field"]


class Codec(ABC):
    """Codes elements of one space as JSON payloads.

    A subclass sets ``space`` and implements ``encode`` and ``decode``. That is enough, in vector environments
    too. The other attributes make it faster there.

    Attributes:
        space: The space.
        travels_as: The form in which this codec's elements travel together in version 2 of the protocol.

            - ``"payloads"``: a list with the payload of each. Always correct.
            - ``"array"``: one array of the space's dtype, with a leading axis. For numbers whose payload is
              the element itself, as (nested lists of) JSON numbers.
            - ``"parts"``: for a `Dict` or a `Tuple`, a map from the names of ``parts`` to what travels for
              each of them. For a payload that is the object, or the list, of the parts' payloads.
            - ``"field"``: the same for an object with one field, whose value is the whole element.
        parts: The codecs of the parts, in order; for a `Tuple` under the names "0", "1", ….
        labels: The JSON values that the indices of a `Discrete` stand for, in order.
    """

    space: spaces.Space[Any]
    travels_as: TravelsAs = "payloads"
    parts: Mapping[str, Codec] = {}
    labels: tuple[Any, ...] = ()

    @abstractmethod
    def encode(self, element: Any) -> Any:
        """Return the JSON payload of an element of the space."""

    @abstractmethod
    def decode(self, payload: Any) -> Any:
        """Return the element of a JSON payload, in fresh memory.

        Raises:
            SpaceError: The payload does not fit the space.
        """


def named_infinities(payload: Any) -> Any:
    """Replace each infinity and NaN in nested lists and objects by its name as a string."""
    if isinstance(payload, list):
        return [named_infinities(part) for part in payload]
    if isinstance(payload, dict):
        return {name: named_infinities(part) for name, part in payload.items()}
    if isinstance(payload, float) and not math.isfinite(payload):
        return "NaN" if math.isnan(payload) else "Infinity" if payload > 0 else "-Infinity"
    return payload


def misfit(payload: Any, space: spaces.Space[Any]) -> SpaceError:
    """Return the error for a payload that does not fit the space."""
    return SpaceError(f"{excerpt(payload)} does not fit {excerpt(space)}")
