"""The table: which JSON Schema becomes which space.

``RULES`` has one entry for each rule, and the first that applies is used. A rule looks at a `Node` and
returns a codec, or None if it does not apply. The last rule maps everything else to JSON text, so every
schema has a space.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SchemaError
from openenv_gym.schema_keywords import SPACE_KEYWORD
from openenv_gym.spaces import codecs
from openenv_gym.spaces.codecs import Codec
from openenv_gym.spaces.compiler import Compiler, Rule
from openenv_gym.spaces.custom import (
    UNBOUNDED,
    BoundedSequence,
    ExampleText,
    JsonText,
    PatternText,
    UnicodeText,
    canonical_json,
)
from openenv_gym.spaces.declared import build_space, codec_from_space
from openenv_gym.spaces.examples import format_pattern, json_examples
from openenv_gym.spaces.patterns import UnsupportedPatternError
from openenv_gym.spaces.schema import Node, Schema, check_parts, kinds

# Formats of strings that may be any.
_FREE_FORMATS = frozenset({"binary", "password"})
_DECIMALS = 32
_MOST_LABELS = 2**16
_MOST_EXAMPLES = 256
# NumPy 1 has no more dimensions.
_MOST_DIMENSIONS = 32
_MOST_DISCRETE_VALUES = 2**31
# Gymnasium samples integers below high + 1, which has to fit into an int64 too.
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 2


def _declared(compiler: Compiler, node: Node) -> Codec | None:
    description = node.schema.get(SPACE_KEYWORD)
    return None if description is None else codec_from_space(build_space(description, node.document))


def _labels(compiler: Compiler, node: Node) -> Codec | None:
    labels = [node.schema["const"]] if "const" in node.schema else node.schema.get("enum")
    if not labels:
        return None
    if len(labels) > _MOST_LABELS:
        raise SchemaError(f"{node.where}: more than {_MOST_LABELS:,} labels")
    different: dict[Any, Any] = {}
    for label in labels:
        different.setdefault(codecs.label_key(label), label)
    labels = list(different.values())
    return codecs.NullCodec() if labels == [None] else codecs.LabelCodec(labels)


def _null(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.NullCodec() if node.schema.get("type") == "null" else None


def _boolean(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.BooleanCodec() if node.schema.get("type") == "boolean" else None


def _integer(compiler: Compiler, node: Node) -> Codec | None:
    if node.schema.get("type") != "integer":
        return None
    bounds = _few_integers(node)
    if bounds is not None:
        low, high = bounds
        return codecs.IntegerCodec(spaces.Discrete(high - low + 1, start=low))
    return codecs.NumberCodec(_box(node, ()))


def _number(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.NumberCodec(_box(node, ())) if node.schema.get("type") == "number" else None


def _text(compiler: Compiler, node: Node) -> Codec | None:
    schema = node.schema
    if schema.get("type") != "string":
        return None
    shortest, longest = _lengths(node, "Length", "characters")
    return codecs.TextCodec(
        _text_of_examples(schema.get("examples"), shortest, longest)
        or _text_of_pattern(node, schema.get("pattern"), shortest, longest)
        or _text_of_pattern(node, format_pattern(schema.get("format")), shortest, longest)
        or _text_of_examples(_documents(compiler, node), shortest, longest)
        or (_text_of_examples([schema.get("default")], shortest, longest) if _is_special(schema) else None)
        or UnicodeText(shortest, longest)
    )


def _is_special(schema: Schema) -> bool:
    """Return whether a string has a form that is not any."""
    return "pattern" in schema or schema.get("format") not in {None, *_FREE_FORMATS}


def _text_of_examples(examples: Any, shortest: int, longest: int | None) -> UnicodeText | None:
    fitting = [
        text
        for text in (examples[:_MOST_EXAMPLES] if isinstance(examples, list) else ())
        if isinstance(text, str) and shortest <= len(text) <= (math.inf if longest is None else longest)
    ]
    return ExampleText(fitting, shortest, longest) if fitting else None


def _text_of_pattern(
    node: Node, pattern: str | None, shortest: int, longest: int | None
) -> UnicodeText | None:
    if pattern is None:
        return None
    try:
        text = PatternText(pattern, shortest, longest)
    except UnsupportedPatternError as error:
        node.document.spend(error.work, node.path)
        return None  # samples are of any form, and the report says so
    node.document.spend(text.work, node.path)
    return text


def _lengths(node: Node, what: str, unit: str) -> tuple[int, int | None]:
    """Return the bounds of a length, such as ``minItems`` and ``maxItems``, if anything is between them."""
    shortest, longest = node.schema.get(f"min{what}", 0), node.schema.get(f"max{what}")
    if shortest > UNBOUNDED:
        raise SchemaError(f"{node.where}: min{what} of {shortest} is too large")
    if longest is not None and shortest > longest:
        raise SchemaError(f"{node.where}: nothing has at least {shortest} and at most {longest} {unit}")
    return shortest, longest


def _documents(compiler: Compiler, node: Node) -> list[str]:
    """Return texts of a string that holds a JSON document; none if it holds something else."""
    schema = node.schema
    if schema.get("contentMediaType") != "application/json" and schema.get("format") != "json-string":
        return []
    content = node.child(schema.get("contentSchema", {"type": "object"}), "{}")
    return [canonical_json(value) for value in json_examples(content, compiler.sample_payload)]


def _numeric_array(compiler: Compiler, node: Node) -> Codec | None:
    """Arrays of numbers or booleans with a known shape."""
    shape, inner = _shape(compiler, node)
    if not shape or SPACE_KEYWORD in inner.schema or "enum" in inner.schema or "const" in inner.schema:
        return None
    kind = inner.schema.get("type")
    if kind not in ("boolean", "integer", "number"):
        return None
    if len(shape) > _MOST_DIMENSIONS:
        raise SchemaError(f"{node.where}: an array of more than {_MOST_DIMENSIONS} dimensions")
    node.document.spend_on_array(math.prod(shape) * 8, node.path)
    if kind == "boolean":
        return codecs.BooleanArrayCodec(shape)
    bounds = _few_integers(inner) if kind == "integer" else None
    if bounds is not None:
        low, high = bounds
        values = np.full(shape, high - low + 1, np.int64)
        return codecs.ArrayCodec(spaces.MultiDiscrete(values, start=np.full(shape, low, np.int64)))
    return codecs.ArrayCodec(_box(inner, shape))


def _places(compiler: Compiler, node: Node) -> Codec | None:
    """``prefixItems``, or a fixed number of items that are not numbers: one space for each place."""
    schema = node.schema
    places = schema.get("prefixItems")
    if places is None:
        length = node.fixed_length
        if length is None:
            return None
        check_parts(node)
        places = [schema.get("items", {})] * length
    elif schema.get("maxItems", len(places)) != len(places) or schema.get("minItems", 0) != len(places):
        return None
    return codecs.TupleCodec(
        [compiler.compile(node.child(place, f"[{i}]")) for i, place in enumerate(places)]
    )


def _sequence(compiler: Compiler, node: Node) -> Codec | None:
    schema = node.schema
    if schema.get("type") != "array" or "prefixItems" in schema or "items" not in schema:
        return None
    item = compiler.compile(node.child(schema["items"], "[]"))
    shortest, longest = _lengths(node, "Items", "items")
    if shortest == 0 and longest is None:
        return codecs.SequenceCodec(item)
    unique = schema.get("uniqueItems", False)
    return codecs.SequenceCodec(item, BoundedSequence(item.space, shortest, longest, unique=unique))


def _object(compiler: Compiler, node: Node) -> Codec | None:
    return compiler.fields(node) if node.schema.get("properties") else None


def _union(compiler: Compiler, node: Node) -> Codec | None:
    nodes = [node.child(branch, f"|{i}") for i, branch in enumerate(node.alternatives)]
    if not nodes:
        return None
    # Null comes last: X or nothing.
    nodes.sort(key=lambda branch: branch.schema.get("type") == "null")
    _give_numbers_as_text(compiler, nodes)
    parts = [compiler.compile(branch) for branch in nodes]
    if len(parts) == 1:
        return parts[0]
    return codecs.UnionCodec(parts, [kinds(branch) for branch in nodes])


def _give_numbers_as_text(compiler: Compiler, branches: list[Node]) -> None:
    """Sample the text of "a number or any text" as numbers: that is the schema of a decimal."""
    types = [branch.schema.get("type") for branch in branches if branch.schema.get("type") != "null"]
    for place, (number, text) in enumerate(pairwise(branches)):
        if number.schema.get("type") != "number" or text.schema.get("type") != "string":
            continue
        if "examples" in text.schema:  # of a decimal with few digits, after a float
            continue
        is_plain = text.schema.keys() <= {"type", "pattern", "title", "description"}
        if text.schema.get("format") == "decimal" or (is_plain and types == ["number", "string"]):
            examples = [str(compiler.sample_payload(number)) for _ in range(_DECIMALS)]
            branches[place + 1] = text.replace({**text.schema, "examples": examples})


def _types(compiler: Compiler, node: Node) -> Codec | None:
    """``"type": ["integer", "null"]`` is a union too."""
    kinds = node.schema.get("type")
    if not isinstance(kinds, list):
        return None
    return _union(compiler, node.replace({"anyOf": [{**node.schema, "type": kind} for kind in kinds]}))


def _json_text(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.JsonTextCodec(JsonText(json_examples(node, compiler.sample_payload)))


RULES: tuple[Rule, ...] = (
    Rule("declared space", _declared),
    Rule("labels", _labels),
    Rule("null", _null),
    Rule("boolean", _boolean),
    Rule("integer", _integer),
    Rule("number", _number),
    Rule("text", _text),
    Rule("numeric array", _numeric_array),
    Rule("places", _places),
    Rule("sequence", _sequence),
    Rule("object", _object),
    Rule("union", _union),
    Rule("several types", _types),
    Rule("JSON text", _json_text),
)


def _shape(compiler: Compiler, node: Node) -> tuple[tuple[int, ...], Node]:
    """Return the shape of nested arrays, as far as it is known, and the node of their items."""
    inferred = compiler.shapes.get(node.path)
    lengths: list[int] = []
    for depth, inner in enumerate(_nested(node)):
        length = inner.fixed_length
        if length is None and inferred is not None and depth < len(inferred):
            length = inferred[depth]
        if length is None:
            return tuple(lengths), inner
        lengths.append(length)
    raise AssertionError("unreachable: nested schemas end")


def _nested(node: Node) -> Iterator[Node]:
    while True:
        yield node
        node = node.child(node.schema.get("items", {}), "[]")


def _few_integers(node: Node) -> tuple[int, int] | None:
    """Return the bounds of an integer, if both are given and close enough for a `Discrete`."""
    low, high = _integer_bounds(node)
    if low is None or high is None or high - low >= _MOST_DISCRETE_VALUES:
        return None
    return (low, high) if low >= _LEAST_INTEGER and high <= _GREATEST_INTEGER else None


def _integer_bounds(node: Node) -> tuple[int | None, int | None]:
    """Return the least and the greatest integer, None for no bound.

    Raises:
        SchemaError: No integer of 64 bits is between them.
    """
    schema = node.schema
    lows = [math.ceil(schema["minimum"])] if _is_bound(node, "minimum", -math.inf) else []
    highs = [math.floor(schema["maximum"])] if _is_bound(node, "maximum", math.inf) else []
    if _is_bound(node, "exclusiveMinimum", -math.inf):
        lows.append(math.floor(schema["exclusiveMinimum"]) + 1)
    if _is_bound(node, "exclusiveMaximum", math.inf):
        highs.append(math.ceil(schema["exclusiveMaximum"]) - 1)
    low, high = max(lows, default=None), min(highs, default=None)
    least = _LEAST_INTEGER if low is None else low
    greatest = _GREATEST_INTEGER if high is None else high
    if max(least, _LEAST_INTEGER) > min(greatest, _GREATEST_INTEGER):
        raise SchemaError(f"{node.where}: no integer of 64 bits is between {low} and {high}")
    return low, high


def _is_bound(node: Node, keyword: str, unbounded: float) -> bool:
    """Return whether an integer has a bound that is not infinite."""
    bound = node.schema.get(keyword)
    if bound is None or bound == unbounded:
        return False
    if isinstance(bound, float) and math.isinf(bound):
        raise SchemaError(f"{node.where}: no integer has the {keyword} {bound}")
    return True


def _box(node: Node, shape: tuple[int, ...]) -> spaces.Box[Any]:
    """Return the Box of an integer or a number, with the bounds of its schema."""
    if node.schema.get("type") == "integer":
        low, high = _integer_bounds(node)
        return spaces.Box(
            _LEAST_INTEGER if low is None else max(_LEAST_INTEGER, low),
            _GREATEST_INTEGER if high is None else min(_GREATEST_INTEGER, high),
            shape,
            np.int64,
        )
    schema = node.schema
    lows = [-math.inf, _as_float(schema.get("minimum", -math.inf))]
    highs = [math.inf, _as_float(schema.get("maximum", math.inf))]
    if "exclusiveMinimum" in schema:
        lows.append(math.nextafter(_as_float(schema["exclusiveMinimum"]), math.inf))
    if "exclusiveMaximum" in schema:
        highs.append(math.nextafter(_as_float(schema["exclusiveMaximum"]), -math.inf))
    lowest, highest = max(lows), min(highs)
    if lowest > highest or lowest == math.inf or highest == -math.inf:
        raise SchemaError(f"{node.where}: no number is between {lowest} and {highest}")
    return spaces.Box(lowest, highest, shape, np.float64)


def _as_float(bound: float) -> float:
    try:
        return float(bound)
    except OverflowError:
        return math.inf if bound > 0 else -math.inf
