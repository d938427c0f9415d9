"""Payloads that do not fit a codec: what is wrong with them, and the nearest element of the space."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SpaceError, excerpt
from openenv_gym.spaces import codecs
from openenv_gym.spaces.codecs.composites import MISSING
from openenv_gym.spaces.tools import ToolCallCodec

log = logging.getLogger("openenv_gym")

# Larger bounds are those of a type, such as int64, and say nothing to a reader.
_LARGEST = 2.0**53


def fit(codec: codecs.Codec, payload: Any, *, ignored: Collection[str] = ()) -> tuple[Any, list[str]]:
    """Return the element of a payload, and everything about the payload that does not fit.

    Args:
        codec: Codes the elements.
        payload: A JSON value.
        ignored: Names of fields that may be in the payload, and are not in the element.

    Returns:
        element: In the codec's space. What is missing or wrong is replaced by the nearest value: the number
            at the bound, the start of the text, and zeros or the empty text if nothing is near.
        misfits: One line for each part that does not fit, "board.cells[2]: 9 is not …"; empty if all fits.
    """
    fitting = _Fitting()
    return fitting.element(codec, payload, "", ignored), fitting.misfits


class CoercingCodec(codecs.Codec):
    """A codec that takes any payload, and keeps a record of what it had to change.

    Args:
        codec: Codes the elements.
        ignored: As in `fit`.
        name: Whose payloads they are, for the log.
    """

    def __init__(self, codec: codecs.Codec, ignored: Collection[str], name: str) -> None:
        self.space = codec.space
        self._codec = codec
        self._ignored = frozenset(ignored)
        self._name = name
        self._found: list[list[str]] = []
        self._has_warned = False

    def encode(self, element: Any) -> Any:
        return self._codec.encode(element)

    def decode(self, payload: Any) -> Any:
        element, misfits = fit(self._codec, payload, ignored=self._ignored)
        self._found.append(misfits)
        if misfits and not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s: the observation does not fit the server's own schema and is coerced "
                '(on_misfit="coerce"): %s. Later ones are only in info["misfits"].',
                self._name,
                "; ".join(misfits),
            )
        return element

    def take_misfits(self) -> list[list[str]]:
        """Return the misfits of each payload that was decoded since the last call, in order."""
        found, self._found = self._found, []
        return found


class _Fitting:
    """One payload on its way into a space."""

    def __init__(self) -> None:
        self.misfits: list[str] = []

    def element(self, codec: codecs.Codec, payload: Any, path: str, ignored: Collection[str] = ()) -> Any:
        match codec:
            case codecs.FieldCodec():
                ((name, _),) = codec.parts.items()
                return self._fields(codec.model, payload, path, ignored)[name]
            case codecs.DictCodec():
                return self._fields(codec, payload, path, ignored)
            case codecs.OptionalCodec():
                return np.int64(0), self.element(codec.codec, payload, path)
            case codecs.TupleCodec():
                return self._tuple(codec, payload, path)
            case codecs.SequenceCodec() if isinstance(payload, list):
                return self._sequence(codec, payload, path)
            case codecs.UnionCodec():
                return self._alternative(codec, payload, path)
            case ToolCallCodec():
                return self._tool_call(codec, payload)
        return self._single(codec, payload, path)

    def _fields(
        self, codec: codecs.DictCodec, payload: Any, path: str, ignored: Collection[str]
    ) -> dict[str, Any]:
        if not isinstance(payload, dict):
            self._note(path, f"{excerpt(payload)} is not an object with {', '.join(codec.parts)}")
            payload = {}
        element = {}
        for name, part in codec.parts.items():
            where = f"{path}.{name}" if path else name
            if name in payload:
                element[name] = self.element(part, payload[name], where)
            elif name in codec.defaults:
                element[name] = part.decode(codec.defaults[name])
            elif isinstance(part, codecs.OptionalCodec):
                element[name] = part.decode(MISSING)
            else:
                self._note(where, "is missing")
                element[name] = blank(part.space)
        for name in payload:
            if name not in codec.parts and name not in ignored:
                self._note(
                    f"{path}.{name}" if path else str(name),
                    f"is not one of the fields {', '.join(codec.parts)}",
                )
        return element

    def _sequence(self, codec: codecs.SequenceCodec, payload: list[Any], path: str) -> Any:
        least, most = getattr(codec.space, "min_length", 0), getattr(codec.space, "max_length", None)
        most = len(payload) if most is None else most
        if not least <= len(payload) <= most:
            self._note(path, f"has {len(payload)} items, not {least} to {most}")
        parts = [self.element(codec.item, part, f"{path}[{i}]") for i, part in enumerate(payload[:most])]
        parts.extend(blank(codec.item.space) for _ in range(least - len(parts)))
        return codec.joined(parts)

    def _tuple(self, codec: codecs.TupleCodec, payload: Any, path: str) -> tuple[Any, ...]:
        parts = list(codec.parts.values())
        if not isinstance(payload, list) or len(payload) != len(parts):
            self._note(path, f"{excerpt(payload)} is not a list of {len(parts)}")
            payload = payload if isinstance(payload, list) else []
        given = [
            self.element(part, item, f"{path}[{i}]")
            for i, (part, item) in enumerate(zip(parts, payload, strict=False))
        ]
        return (*given, *(blank(part.space) for part in parts[len(given) :]))

    def _alternative(self, codec: codecs.UnionCodec, payload: Any, path: str) -> Any:
        try:
            element = codec.decode(payload)
            if codec.space.contains(element):
                return element
        except SpaceError:
            pass  # the alternative with the fewest misfits is taken
        tries = []
        for index, part in enumerate(codec.codecs):
            attempt = _Fitting()
            element = attempt.element(part, payload, path)
            tries.append((len(attempt.misfits), index, element, attempt.misfits))
        _, index, element, misfits = min(tries, key=lambda entry: entry[:2])
        self.misfits.extend(misfits)
        return np.int64(index), element

    def _tool_call(self, codec: ToolCallCodec, payload: Any) -> Any:
        call = payload if isinstance(payload, dict) else {}
        for other in call.keys() - {"type", "tool_name", "arguments", "metadata"}:
            self._note(str(other), "is not one of the fields tool_name, arguments")
        name = call.get("tool_name")
        if name not in codec.names:
            self._note("tool_name", f"{excerpt(name)} is not one of {', '.join(codec.names)}")
            return np.int64(0), blank(codec.tools[0].space)
        index = codec.names.index(name)
        arguments = call.get("arguments", {})
        return np.int64(index), self._fields(codec.arguments[index], arguments, "arguments", ())

    def _single(self, codec: codecs.Codec, payload: Any, path: str) -> Any:
        space = codec.space
        try:
            element = codec.decode(payload)
            if space.contains(_without_nan(element)):
                return element
        except SpaceError:
            pass  # noted below, with the rule
        if codec.labels:
            problem = f"is not one of {', '.join(map(repr, codec.labels))}"
        else:
            problem = f"is not {rule_of(space)}"
        self._note(path, f"{excerpt(payload)} {problem}")
        return _nearest(space, payload) if not codec.labels else blank(space)

    def _note(self, path: str, problem: str) -> None:
        self.misfits.append(f"{path}: {problem}" if path else problem)


def _without_nan(element: Any) -> Any:
    """Return numbers with zeros for NaN: no `Box` contains it, but environments observe it."""
    is_of_floats = isinstance(element, np.ndarray) and element.dtype.kind == "f"
    return np.where(np.isnan(element), np.zeros_like(element), element) if is_of_floats else element


def rule_of(space: spaces.Space[Any]) -> str:
    """Say what an element of a space is: "an integer from 0 to 8"."""
    match space:
        case spaces.Discrete():
            first, last = int(space.start), int(space.start) + int(space.n) - 1
            return f"the integer {first}" if first == last else f"an integer from {first} to {last}"
        case spaces.Box():
            are_whole = np.issubdtype(space.dtype, np.integer)
            kind = "whole numbers" if are_whole else "numbers"
            of = f"{kind} of shape {space.shape}" if space.shape else f"a {kind[:-1]}"
            low, high = _ends(space)
            form = ".0f" if are_whole else "g"
            bounds = f" from {low:{form}} to {high:{form}}" if max(-low, high) <= _LARGEST else ""
            return f"{of}{bounds} ({space.dtype})"
        case spaces.Text():
            return f"text of {space.min_length} to {space.max_length} characters"
        case spaces.Sequence():
            return "a list"
    return f"in {excerpt(space)}"


def _ends(space: spaces.Box) -> tuple[float, float]:
    """Return the least and the greatest bound; infinite ones without any."""
    if not space.low.size:
        return -np.inf, np.inf
    return float(space.low.min()), float(space.high.max())


def blank(space: spaces.Space[Any]) -> Any:
    """Return the element of a space that says least: zeros, the empty text, as few items as it allows."""
    match space:
        case spaces.Dict():
            return {name: blank(part) for name, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(blank(part) for part in space.spaces)
        case spaces.OneOf():
            return np.int64(0), blank(space.spaces[0])
        case spaces.Sequence() if not space.stack:
            return tuple(blank(space.feature_space) for _ in range(getattr(space, "min_length", 0)))
    return _nearest(space, 0)


def _nearest(space: spaces.Space[Any], payload: Any) -> Any:
    """Return the element of a space that is nearest to a JSON value, or a blank one."""
    candidate: Any = None
    try:
        match space:
            case spaces.Dict() | spaces.Tuple() | spaces.OneOf() | spaces.Sequence(stack=False):
                return blank(space)
            case spaces.Discrete():
                first, last = int(space.start), int(space.start) + int(space.n) - 1
                candidate = space.dtype.type(min(max(int(payload), first), last))
            case spaces.Box():
                values = np.array(payload, np.float64)
                if values.shape != space.shape:
                    values = np.zeros(space.shape)
                if np.issubdtype(space.dtype, np.integer):
                    values = np.nan_to_num(values)
                candidate = np.asarray(np.clip(values, space.low, space.high), space.dtype)
            case spaces.MultiBinary() | spaces.MultiDiscrete():
                candidate = np.zeros(space.shape, space.dtype)
            case spaces.Text():
                texts = (payload[: space.max_length] if isinstance(payload, str) else "", "null")
                candidate = next((text for text in texts if space.contains(text)), None)
    except (TypeError, ValueError, OverflowError):
        if type(payload) is not int:
            return _nearest(space, 0)
    if candidate is not None and space.contains(candidate):
        return candidate
    return space.sample()  # no value is nearer than another
