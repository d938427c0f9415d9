"""What JSON Schema allows as the value of each keyword that the spaces are made from.

A schema comes from a server, so any JSON value may be anywhere in it. `check_keywords` refuses the wrong ones
by name, so that the rules need not expect them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from openenv_gym.errors import SchemaError, excerpt
from openenv_gym.schema_keywords import SPACE_KEYWORD, TOOLS_KEYWORD
from openenv_gym.spaces.limits import shown_path

# JSON Schema has seven types.
_MOST_TYPES = 16


class _Kind(NamedTuple):
    fits: Callable[[Any], bool]
    description: str


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and not math.isnan(value))


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


def _is_type(value: Any) -> bool:
    return isinstance(value, str) or (_is_list_of_strings(value) and len(value) <= _MOST_TYPES)


def _is_tools(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(tool, Mapping)
        and isinstance(tool.get("name"), str)
        and isinstance(tool.get("description"), str)
        and isinstance(tool.get("input_schema"), Mapping)
        for tool in value
    )


_TEXT = _Kind(lambda value: isinstance(value, str), "a string")
_BOOLEAN = _Kind(lambda value: isinstance(value, bool), "true or false")
_COUNT = _Kind(_is_count, "a whole number of at least 0")
_NUMBER = _Kind(_is_number, "a number")
_LIST = _Kind(lambda value: isinstance(value, list | tuple), "a list")
_OBJECT = _Kind(lambda value: isinstance(value, Mapping), "an object")

_KINDS: dict[str, _Kind] = {
    "$ref": _TEXT,
    "$defs": _OBJECT,
    "type": _Kind(_is_type, "the name of a type, or a list of names"),
    "enum": _LIST,
    "properties": _OBJECT,
    "patternProperties": _OBJECT,
    "required": _Kind(_is_list_of_strings, "a list of strings"),
    "prefixItems": _LIST,
    "anyOf": _LIST,
    "oneOf": _LIST,
    "allOf": _LIST,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "uniqueItems": _BOOLEAN,
    "pattern": _TEXT,
    "format": _TEXT,
    "contentMediaType": _TEXT,
    SPACE_KEYWORD: _OBJECT,
    TOOLS_KEYWORD: _Kind(_is_tools, "a list of tools, each with a name, a description and an input_schema"),
}
# Some schemas of dates have bounds too, which are strings.
_KINDS_OF_NUMBERS = dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER)


def check_keywords(schema: Mapping[str, Any], path: str = "") -> None:
    """Check the values of a schema's keywords, but not the schemas inside it.

    Args:
        schema: The schema.
        path: Its place, for the error.

    Raises:
        SchemaError: A value is none that JSON Schema allows.
    """
    for keyword, value in schema.items():
        kind = _KINDS.get(keyword)
        if kind is not None and not kind.fits(value):
            raise _wrong(path, keyword, kind, value)
    if schema.get("type") in ("integer", "number"):
        for keyword, kind in _KINDS_OF_NUMBERS.items():
            if keyword in schema and not kind.fits(schema[keyword]):
                raise _wrong(path, keyword, kind, schema[keyword])


def _wrong(path: str, keyword: str, kind: _Kind, value: Any) -> SchemaError:
    return SchemaError(f"{shown_path(path)}: {keyword} must be {kind.description}, got {excerpt(value)}")
