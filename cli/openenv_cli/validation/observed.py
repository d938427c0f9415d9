"""Whether an observation is one of its own schema and its space; where not, which field, value and bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import compile_observation

_MOST_SHOWN = 80
# Of these the value is the whole object, and the message names the field.
_NAMED_IN_THE_MESSAGE = ("required", "additionalProperties", "unevaluatedProperties", "dependentRequired")


class Judge:
    """Judges observations as they come over the wire.

    Args:
        schema: The JSON Schema of the observation.

    Raises:
        SchemaError: No space can be made from it.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        self._validator = Draft202012Validator(schema)
        # Not unwrapped, so that a single field has its name.
        self._codec = compile_observation(schema, unwrap=False).codec

    def objection(self, payload: dict[str, Any]) -> str:
        """What is wrong with an observation's fields, in words; empty where nothing is."""
        return self._against_schema(payload) or self._against_space(payload)

    def _against_schema(self, payload: dict[str, Any]) -> str:
        from jsonschema.exceptions import best_match

        error = best_match(self._validator.iter_errors(payload))
        if error is None:
            return ""
        path = f"observation{error.json_path.removeprefix('$')}"
        if error.validator in _NAMED_IN_THE_MESSAGE:
            return f"{path}: {error.message}"
        return (
            f"{path} is {shown(error.instance)}, and its schema says {error.validator}: "
            f"{shown(error.validator_value)}"
        )

    def _against_space(self, payload: dict[str, Any]) -> str:
        try:
            element = self._codec.decode(payload)
        except SpaceError as error:
            return str(error)
        return _outside(self._codec.space, element, "observation")


def shown(value: Any) -> str:
    """A value in a message: so many characters at most."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _outside(space: spaces.Space[Any], element: Any, path: str) -> str:
    if space.contains(element):
        return ""
    inner = (found for part in _parts(space, element, path) if (found := _outside(*part)))
    return next(inner, f"{path} is {shown(element)}, which is not in its space {shown(space)}")


def _parts(space: spaces.Space[Any], element: Any, path: str) -> Iterator[tuple[spaces.Space[Any], Any, str]]:
    if isinstance(space, spaces.Dict) and isinstance(element, dict):
        yield from ((space[key], element[key], f"{path}.{key}") for key in space if key in element)
    elif isinstance(space, spaces.Tuple) and isinstance(element, tuple):
        pairs = zip(space, element, strict=False)
        yield from ((part, value, f"{path}[{i}]") for i, (part, value) in enumerate(pairs))
