"""The table: which JSON Schema becomes which space.

``RULES`` has one entry a rule, and the first that fits counts. A rule looks at a `Node` and returns a codec,
or None where it does not apply. What none of the others maps is JSON text, so every schema has a space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from openenv_gym.contract import SPACE_KEYWORD
from openenv_gym.spaces import codecs
from openenv_gym.spaces.codecs import Codec
from openenv_gym.spaces.declared import build_space, codec_from_space
from openenv_gym.spaces.schema import Node, resolve
from openenv_gym.spaces.text import UnicodeText

_MOST_DISCRETE_VALUES = 2**31
_DEEPEST_EXAMPLE = 8
# Gymnasium samples integers below high + 1, which has to be an int64 too.
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 2


class Rule(NamedTuple):
    """A line of the table."""

    name: str
    apply: Callable[[Node], Codec | None]


def compile_node(node: Node) -> Codec:
    """The codec of a node, by the first rule that fits."""
    for rule in RULES:
        codec = rule.apply(node)
        if codec is not None:
            return codec
    raise AssertionError("the last rule fits every schema")


def _declared(node: Node) -> Codec | None:
    description = node.schema.get(SPACE_KEYWORD)
    return None if description is None else codec_from_space(build_space(description))


def _labels(node: Node) -> Codec | None:
    if "const" in node.schema:
        return codecs.LabelCodec([node.schema["const"]])
    if node.schema.get("enum"):
        return codecs.LabelCodec(node.schema["enum"])
    return None


def _boolean(node: Node) -> Codec | None:
    return codecs.BooleanCodec() if node.schema.get("type") == "boolean" else None


def _integer(node: Node) -> Codec | None:
    if node.schema.get("type") != "integer":
        return None
    low, high = _integer_bounds(node)
    if low is not None and high is not None and high - low < _MOST_DISCRETE_VALUES:
        return codecs.IntegerCodec(spaces.Discrete(high - low + 1, start=low))
    return codecs.ArrayCodec(_box(node, ()))


def _number(node: Node) -> Codec | None:
    return codecs.ArrayCodec(_box(node, ())) if node.schema.get("type") == "number" else None


def _text(node: Node) -> Codec | None:
    if node.schema.get("type") != "string":
        return None
    return codecs.TextCodec(UnicodeText(node.schema.get("minLength", 0), node.schema.get("maxLength")))


def _numeric_array(node: Node) -> Codec | None:
    """Arrays of a fixed length, nested or not, whose innermost items are numbers or booleans."""
    shape: list[int] = []
    inner = node
    while (length := _fixed_length(inner)) is not None:
        shape.append(length)
        inner = inner.child(inner.schema.get("items", {}), "[]")
    if not shape or SPACE_KEYWORD in inner.schema or "enum" in inner.schema or "const" in inner.schema:
        return None
    kind = inner.schema.get("type")
    if kind == "boolean":
        return codecs.BooleanArrayCodec(shape)
    if kind == "integer":
        low, high = _integer_bounds(inner)
        if low is not None and high is not None and high - low < _MOST_DISCRETE_VALUES:
            values = np.full(shape, high - low + 1, np.int64)
            return codecs.ArrayCodec(spaces.MultiDiscrete(values, start=np.full(shape, low, np.int64)))
    if kind in {"integer", "number"}:
        return codecs.ArrayCodec(_box(inner, tuple(shape)))
    return None


def _fixed_array(node: Node) -> Codec | None:
    """Arrays of a fixed length whose items are not numbers."""
    length = _fixed_length(node)
    if length is None:
        return None
    return codecs.TupleCodec([compile_node(node.child(node.schema.get("items", {}), "[]"))] * length)


def _places(node: Node) -> Codec | None:
    """``prefixItems``: each place has a schema of its own."""
    places = node.schema.get("prefixItems")
    if not places or node.schema.get("maxItems") != len(places) != node.schema.get("minItems"):
        return None
    return codecs.TupleCodec([compile_node(node.child(place, f"[{i}]")) for i, place in enumerate(places)])


def _sequence(node: Node) -> Codec | None:
    if node.schema.get("type") != "array" or "prefixItems" in node.schema or "items" not in node.schema:
        return None
    if "minItems" in node.schema or "maxItems" in node.schema:
        return None
    return codecs.SequenceCodec(compile_node(node.child(node.schema["items"], "[]")))


def _object(node: Node) -> Codec | None:
    if not node.schema.get("properties"):
        return None
    return codecs.DictCodec({name: compile_node(child) for name, child in node.properties()})


def _json_text(node: Node) -> Codec | None:
    return codecs.JsonTextCodec([_example(node)])


RULES: tuple[Rule, ...] = (
    Rule("declared space", _declared),
    Rule("labels", _labels),
    Rule("boolean", _boolean),
    Rule("integer", _integer),
    Rule("number", _number),
    Rule("text", _text),
    Rule("numeric array", _numeric_array),
    Rule("places", _places),
    Rule("fixed array", _fixed_array),
    Rule("sequence", _sequence),
    Rule("object", _object),
    Rule("JSON text", _json_text),
)


def _fixed_length(node: Node) -> int | None:
    schema = node.schema
    if schema.get("type") != "array" or "prefixItems" in schema:
        return None
    length = schema.get("minItems")
    return length if isinstance(length, int) and length == schema.get("maxItems") and length > 0 else None


def _integer_bounds(node: Node) -> tuple[int | None, int | None]:
    schema = node.schema
    lows = [math.ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [math.floor(schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(schema["exclusiveMaximum"]) - 1)
    return max(lows, default=None), min(highs, default=None)


def _box(node: Node, shape: tuple[int, ...]) -> spaces.Box[Any]:
    """The Box of an integer or a number, with the bounds that its schema has."""
    if node.schema.get("type") == "integer":
        low, high = _integer_bounds(node)
        return spaces.Box(
            _LEAST_INTEGER if low is None else max(_LEAST_INTEGER, low),
            _GREATEST_INTEGER if high is None else min(_GREATEST_INTEGER, high),
            shape,
            np.int64,
        )
    schema = node.schema
    lows = [-math.inf, schema.get("minimum", -math.inf)]
    highs = [math.inf, schema.get("maximum", math.inf)]
    if "exclusiveMinimum" in schema:
        lows.append(math.nextafter(schema["exclusiveMinimum"], math.inf))
    if "exclusiveMaximum" in schema:
        highs.append(math.nextafter(schema["exclusiveMaximum"], -math.inf))
    return spaces.Box(max(lows), min(highs), shape, np.float64)


def _example(node: Node, depth: int = 0) -> Any:
    """A small JSON value that the schema accepts, where samples cannot be made from the schema."""
    if depth > _DEEPEST_EXAMPLE:
        return None
    if node.is_recursive:
        node = resolve(node.schema, node.document, node.path)
    schema = node.schema
    if "default" in schema:
        return schema["default"]
    branches = [node.child(branch, "") for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    if branches:
        # Null, where it is allowed, ends a recursion.
        return _example(min(branches, key=lambda branch: branch.schema.get("type") != "null"), depth + 1)
    kind = schema.get("type")
    if kind == "object":
        required = schema.get("required", ())
        return {name: _example(child, depth + 1) for name, child in node.properties() if name in required}
    if kind == "array":
        places = schema.get("prefixItems")
        if places is None:
            places = [schema.get("items", {})] * schema.get("minItems", 0)
        return [_example(node.child(place, "[]"), depth + 1) for place in places]
    if kind in {"boolean", "integer", "number", "string"} or "enum" in schema or "const" in schema:
        codec = compile_node(node)
        return codec.encode(codec.space.sample())
    return None
