"""The table: which JSON Schema becomes which space.

``RULES`` has one entry a rule, and the first that fits counts. A rule looks at a `Node` and returns a codec,
or None where it does not apply. What none of the others maps is JSON text, so every schema has a space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SchemaError
from openenv_gym.schema_keywords import RENDER_KEYWORD, SPACE_KEYWORD
from openenv_gym.spaces import codecs, limits
from openenv_gym.spaces.bounded import BoundedSequence
from openenv_gym.spaces.bounds import box, few_integers
from openenv_gym.spaces.codecs import Codec
from openenv_gym.spaces.declared import build_space, codec_from_space
from openenv_gym.spaces.examples import example, text_examples
from openenv_gym.spaces.schema import Node, Schema
from openenv_gym.spaces.text import ExampleText, JsonText, UnicodeText

# What a space cannot say of its elements. The server checks it.
_ONLY_THE_SERVER_CHECKS = (
    "pattern",
    "multipleOf",
    "not",
    "if",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "uniqueItems",
    "contains",
    "contentEncoding",
    "allOf",
    "dependencies",
)


class Rule(NamedTuple):
    """A line of the table."""

    name: str
    apply: Callable[[Compiler, Node], Codec | None]


@dataclass(frozen=True)
class SchemaFinding:
    """What became of a part of the schema.

    Attributes:
        path: Where it is: ``board.cells[]``; "" for the whole.
        rule: The rule that made its space.
        space: The space.
        inexact: Why the space is larger than the schema, or "" where it is not.
        renders: The render mode that the server marks it with, or "".
        labels: What the indices of its `Discrete` stand for, in their order; none where they are numbers.
    """

    path: str
    rule: str
    space: spaces.Space[Any]
    inexact: str = ""
    renders: str = ""
    labels: tuple[Any, ...] = ()


@dataclass
class Compiler:
    """Applies the rules to a schema, once.

    Attributes:
        sends_all: Whether every field is always sent, as an action's are. An observation may lack those
            that are not required.
        omit_defaults: Leave out fields that need not be sent.
        overrides: Spaces that the user knows better, by path.
        shapes: The shapes of arrays whose length the schema does not say, by path.
        report: What became of each part, in the order of the schema.
    """

    sends_all: bool = False
    omit_defaults: bool = False
    overrides: Mapping[str, spaces.Space[Any]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    report: list[SchemaFinding] = field(default_factory=list)
    _nodes: int = 0
    _depth: int = 0

    def compile(self, node: Node) -> Codec:
        """The codec of a node, by the first rule that fits.

        Raises:
            SchemaError: The schema is too large, or an override does not fit it.
        """
        self._nodes += 1
        if self._nodes > limits.MOST_NODES:
            raise SchemaError(f"{node.where}: the schema has more than {limits.MOST_NODES:,} parts")
        if self._depth >= limits.DEEPEST:
            raise SchemaError(f"{node.where}: the schema is nested deeper than {limits.DEEPEST}")
        place = len(self.report)
        self._depth += 1
        try:
            rule, codec = next(
                (rule, codec) for rule in RULES if (codec := rule.apply(self, node)) is not None
            )
        finally:
            self._depth -= 1
        self.report.insert(place, self._finding(node, rule, codec))
        override = self.overrides.get(node.path) if node.path else None
        return codec if override is None else self.override(node.where, codec, override)

    @staticmethod
    def _finding(node: Node, rule: Rule, codec: Codec) -> SchemaFinding:
        renders = str(node.schema.get(RENDER_KEYWORD, ""))
        labels = codec.labels if isinstance(codec, codecs.LabelCodec) else ()
        return SchemaFinding(node.path, rule.name, codec.space, _inexact(node.schema), renders, labels)

    def fields(self, node: Node, left_out: Callable[[str, Node], bool] | None = None) -> codecs.DictCodec:
        """The codec of an object's properties, but for those that are left out."""
        required = node.schema.get("required", ())
        parts: dict[str, Codec] = {}
        defaults: dict[str, Any] = {}
        for name, child in node.properties():
            if left_out is not None and left_out(name, child):
                continue
            if self.omit_defaults and name not in required:
                continue
            parts[name] = self.compile(child)
            if "default" in child.schema:
                defaults[name] = child.schema["default"]
            elif name not in required and not self.sends_all:
                # A list or a dict that need not be there has a default factory, of an empty one most often,
                # which a schema does not show.
                empty = _empty(child)
                if empty is None:
                    parts[name] = codecs.OptionalCodec(parts[name])
                else:
                    defaults[name] = empty
        return codecs.DictCodec(parts, defaults=defaults)

    def override(self, where: str, codec: Codec, space: spaces.Space[Any]) -> Codec:
        """The codec of the space that the user gave, after a check that its payloads fit the schema.

        Raises:
            SchemaError: They do not.
        """
        chosen = codec_from_space(space)
        for _ in range(10):
            payload = chosen.encode(space.sample())
            try:
                fits = codec.space.contains(codec.decode(payload))
            except ValueError:
                fits = False
            if not fits:
                raise SchemaError(
                    f"{where}: {space} does not fit the schema, which makes {codec.space}; "
                    f"{str(payload)[:80]} is not in it"
                )
        return chosen


def _declared(compiler: Compiler, node: Node) -> Codec | None:
    description = node.schema.get(SPACE_KEYWORD)
    return None if description is None else codec_from_space(build_space(description))


def _labels(compiler: Compiler, node: Node) -> Codec | None:
    labels = [node.schema["const"]] if "const" in node.schema else node.schema.get("enum")
    if not labels:
        return None
    if len(labels) > limits.MOST_LABELS:
        raise SchemaError(f"{node.where}: more than {limits.MOST_LABELS:,} labels")
    return codecs.NullCodec() if labels == [None] else codecs.LabelCodec(labels)


def _null(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.NullCodec() if node.schema.get("type") == "null" else None


def _boolean(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.BooleanCodec() if node.schema.get("type") == "boolean" else None


def _integer(compiler: Compiler, node: Node) -> Codec | None:
    if node.schema.get("type") != "integer":
        return None
    bounds = few_integers(node)
    if bounds is not None:
        low, high = bounds
        return codecs.IntegerCodec(spaces.Discrete(high - low + 1, start=low))
    return codecs.NumberCodec(box(node, ()))


def _number(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.NumberCodec(box(node, ())) if node.schema.get("type") == "number" else None


def _text(compiler: Compiler, node: Node) -> Codec | None:
    schema = node.schema
    if schema.get("type") != "string":
        return None
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    examples = text_examples(schema)
    if examples:
        return codecs.TextCodec(ExampleText(examples, shortest, longest))
    return codecs.TextCodec(UnicodeText(shortest, longest))


def _numeric_array(compiler: Compiler, node: Node) -> Codec | None:
    """Arrays of a known shape whose innermost items are numbers or booleans."""
    shape, inner = _shape(compiler, node)
    if not shape or SPACE_KEYWORD in inner.schema or "enum" in inner.schema or "const" in inner.schema:
        return None
    kind = inner.schema.get("type")
    if kind in {"boolean", "integer", "number"} and math.prod(shape) * 8 > limits.MOST_ARRAY_BYTES:
        raise SchemaError(f"{node.where}: an array of the shape {shape} is too large")
    if kind == "boolean":
        return codecs.BooleanArrayCodec(shape)
    bounds = few_integers(inner) if kind == "integer" else None
    if bounds is not None:
        low, high = bounds
        values = np.full(shape, high - low + 1, np.int64)
        return codecs.ArrayCodec(spaces.MultiDiscrete(values, start=np.full(shape, low, np.int64)))
    return codecs.ArrayCodec(box(inner, shape)) if kind in {"integer", "number"} else None


def _places(compiler: Compiler, node: Node) -> Codec | None:
    """``prefixItems``, or a fixed number of items that are not numbers: each place has a space."""
    schema = node.schema
    places = schema.get("prefixItems")
    if places is None:
        length = _fixed_length(node)
        if length is None:
            return None
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
    shortest, longest = schema.get("minItems", 0), schema.get("maxItems")
    if shortest == 0 and longest is None:
        return codecs.SequenceCodec(item)
    return codecs.SequenceCodec(item, BoundedSequence(item.space, shortest, longest))


def _object(compiler: Compiler, node: Node) -> Codec | None:
    return compiler.fields(node) if node.schema.get("properties") else None


def _union(compiler: Compiler, node: Node) -> Codec | None:
    branches = [*node.schema.get("anyOf", ()), *node.schema.get("oneOf", ())]
    if not branches:
        return None
    nodes = [node.child(branch, f"|{i}") for i, branch in enumerate(branches)]
    # Null last: X or nothing.
    nodes.sort(key=lambda branch: branch.schema.get("type") == "null")
    parts = [compiler.compile(branch) for branch in nodes]
    return parts[0] if len(parts) == 1 else codecs.UnionCodec(parts)


def _types(compiler: Compiler, node: Node) -> Codec | None:
    """``"type": ["integer", "null"]`` is a union as well."""
    kinds = node.schema.get("type")
    if not isinstance(kinds, list):
        return None
    return _union(compiler, node.replace({"anyOf": [{**node.schema, "type": kind} for kind in kinds]}))


def _json_text(compiler: Compiler, node: Node) -> Codec | None:
    return codecs.JsonTextCodec(JsonText([example(node, compile_sample)]))


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


def compile_sample(node: Node) -> Any:
    """A sampled payload of a node that is not made of others."""
    codec = Compiler().compile(node)
    return codec.encode(codec.space.sample())


def _inexact(schema: Schema) -> str:
    """What of a schema its space does not say; "" where it says all."""
    unchecked = [key for key in _ONLY_THE_SERVER_CHECKS if key in schema]
    if schema.get("type") == "string" and "format" in schema:
        unchecked.append("format")
    notes = [f"only the server checks {', '.join(unchecked)}"] if unchecked else []
    if schema.get("properties") and schema.get("additionalProperties"):
        notes.append("additional properties are not in the space")
    return "; ".join(notes)


def _empty(node: Node) -> Any:
    """The empty list or dict of a schema that allows one; else None."""
    schema = node.schema
    if schema.get("type") == "array" and "prefixItems" not in schema and not schema.get("minItems"):
        return []
    return {} if schema.get("type") == "object" and not schema.get("properties") else None


def _shape(compiler: Compiler, node: Node) -> tuple[tuple[int, ...], Node]:
    """The shape of nested arrays, as far as it is known, and the node of what is in them."""
    inferred = compiler.shapes.get(node.path)
    lengths: list[int] = []
    for depth, inner in enumerate(_nested(node)):
        length = _fixed_length(inner)
        if length is None and inferred is not None and depth < len(inferred):
            length = inferred[depth]
        if length is None:
            return tuple(lengths), inner
        lengths.append(length)
    raise AssertionError("a schema ends somewhere")


def _nested(node: Node) -> Iterator[Node]:
    while True:
        yield node
        node = node.child(node.schema.get("items", {}), "[]")


def _fixed_length(node: Node) -> int | None:
    schema = node.schema
    if schema.get("type") != "array" or "prefixItems" in schema:
        return None
    length = schema.get("minItems")
    return length if isinstance(length, int) and length == schema.get("maxItems") and length > 0 else None
