"""The fields of an action, from its JSON schema and its tools. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from openenv_gym.schema_keywords import ACTION_ONLY_ON_THE_WIRE, SPACE_KEYWORD
from openenv_gym.spaces.custom import canonical_json
from openenv_gym.spaces.schema import Node, Schema, open_schema
from openenv_gym.spaces.tools import takes_tool_calls
from openenv_server.playground.fields import (
    MISSING,
    Boolean,
    Choice,
    Constant,
    Field,
    Group,
    Json,
    Number,
    Optional,
    Part,
    Places,
    Recursion,
    Rows,
    Text,
    Union,
    Variant,
    fits,
    initial,
    is_exact,
)

# Bounded integers up to this many may have a name each, and arrays up to this length a number each.
MOST_NAMED = 18
MOST_NUMBERS = 16
_LONG = 200
_CODE = frozenset({"code", "script", "source", "program", "patch", "sql", "query"})
_LONG_NAMES = frozenset({"prompt", "content", "body", "text", "message"})
_NAMED_NUMBER = re.compile(
    r"(?<![\w.])(\d+)\s*[:=]?\s*([A-Za-z][\w-]*(?: [A-Za-z][\w-]*)?)(?=[,;.)\n]|$| and | or )"
)
_KINDS = {
    "string": "Text",
    "integer": "Whole number",
    "number": "Number",
    "boolean": "Yes or no",
    "array": "List",
    "object": "Object",
}
# The names that Pydantic has for them in the `loc` of an error.
_TAGS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}


def field_of_action(schema: Schema, tools: Sequence[Mapping[str, Any]] = ()) -> Field:
    """Return the field of an action.

    Args:
        schema: The JSON schema of the action model.
        tools: The tools that an action calls, each with a ``name``, a ``description`` and an
            ``input_schema``.

    Raises:
        SchemaError: A schema is none.
    """
    if tools and takes_tool_calls(schema):
        return Union("Tool", "", tuple(map(_call_of, tools)))
    root = open_schema(schema)
    found = field_of(root, "Action")
    if isinstance(found, Group):
        parts = tuple(part for part in found.parts if part.name not in ACTION_ONLY_ON_THE_WIRE)
        return replace(found, parts=parts)
    return found


def _call_of(tool: Mapping[str, Any]) -> Variant:
    name = str(tool["name"])
    inputs = tool.get("input_schema") or tool.get("inputSchema") or {}
    node = open_schema({"type": "object", "properties": {}, **inputs}, name)
    arguments = _group(node, "Arguments")
    parts = (
        Part("type", Constant("", "", "call_tool")),
        Part("tool_name", Constant("", "", name)),
        Part("arguments", replace(arguments, description="")),
    )
    return Variant(name, Group(name, str(tool.get("description") or ""), parts), frozenset({name}))


def field_of(node: Node, label: str) -> Field:
    """Return the field of any schema."""
    schema = node.schema
    description = str(schema.get("description") or "")
    if node.is_recursive:
        return Recursion(label, description, lambda: field_of(node.expanded(), label))
    if SPACE_KEYWORD in schema:
        shown = description or (str(schema.get("title") or "") if _is_space(schema) else "")
        return field_of_space(schema[SPACE_KEYWORD], label, shown)
    if "const" in schema:
        return Constant(label, description, schema["const"])
    if schema.get("enum"):
        return _choice(schema["enum"], label, description)
    branches = [(raw, node.child(raw, f"|{place}")) for place, raw in enumerate(node.alternatives)]
    kind = schema.get("type")
    if isinstance(kind, list):
        branches = [({}, node.replace({**schema, "type": one})) for one in kind]
    if branches:
        return _union(branches, label, description)
    match kind:
        case "boolean":
            return Boolean(label, description)
        case "integer" | "number":
            return _number(schema, label, description)
        case "string":
            return _text(node, label, description)
        case "array":
            return _array(node, label, description)
        case "object" if "properties" in schema:
            return _group(node, label)
        case "null":
            return Constant(label, description, None)
        case None if "properties" in schema:
            return _group(node, label)
    examples = schema.get("examples") or [{} if kind == "object" else None]
    return Json(label, description, schema.get("default", examples[0]))


def field_of_space(space: Mapping[str, Any], label: str, description: str = "") -> Field:
    """Return the field of a space that a server declares; see `openenv_gym.spaces.describe_space`."""
    match space:
        case {"type": "Discrete", "n": int(n), "start": int(start)}:
            return _few(Number(label, description, True, start, start + n - 1))
        case {"type": "Box", "low": low, "high": high, "shape": list(shape), "dtype": str(dtype)}:
            item = Number("", "", "int" in dtype)
            return _numbers(shape, item, low, high, label, description)
        case {"type": "MultiDiscrete", "nvec": list(counts), "start": list(starts)}:
            highs = _each(lambda start, count: start + count - 1, starts, counts)
            return _numbers(_shape(counts), Number("", "", True), starts, highs, label, description)
        case {"type": "MultiBinary", "shape": list(shape)}:
            return _numbers(shape, Number("", "", True), 0, 1, label, description)
        case {"type": "Text" | "UnicodeText" | "PatternText" | "ExampleText", "max_length": longest}:
            examples = space.get("examples") or [space.get("pattern") or ""]
            return Text(label, description, longest is None or longest > _LONG, False, examples[0], longest)
        case {"type": "Dict", "spaces": list(parts)}:
            return Group(
                label,
                description,
                tuple(Part(name, field_of_space(part, _said(name))) for name, part in parts),
            )
        case {"type": "Tuple", "spaces": list(parts)}:
            items = [field_of_space(part, str(place + 1)) for place, part in enumerate(parts)]
            return Places(label, description, tuple(items))
        case {"type": "OneOf", "spaces": list(parts)}:
            variants = [_place_of(place, part, label) for place, part in enumerate(parts)]
            return Union(label, description, tuple(variants))
        case {"type": "Sequence" | "BoundedSequence", "space": dict(item)}:
            least, most = space.get("min_length", 0), space.get("max_length")
            return Rows(label, description, field_of_space(item, "Item"), least, most)
    return Json(label, description)


def _place_of(place: int, space: Mapping[str, Any], label: str) -> Variant:
    """Return a variant of a `OneOf` space, whose elements travel as pairs of a place and a value."""
    items = Constant("", "", place), field_of_space(space, "value")
    return Variant(
        f"{place} {space.get('type', '')}".strip(), Places(label, "", items), frozenset({str(place)})
    )


def _choice(values: Sequence[Any], label: str, description: str) -> Field:
    if len(values) == 1:
        return Constant(label, description, values[0])
    names = tuple(value if isinstance(value, str) and value else canonical_json(value) for value in values)
    if len(set(names)) < len(names):  # 1 and "1", say
        names = tuple(map(canonical_json, values))
    return Choice(label, description, tuple(values), names)


def _union(branches: Sequence[tuple[Any, Node]], label: str, description: str) -> Field:
    of_values = [(raw, node) for raw, node in branches if node.schema.get("type") != "null"]
    variants = tuple(_variant(raw, node, label) for raw, node in of_values)
    if not variants:
        return Constant(label, description, None)
    inner = variants[0].field if len(variants) == 1 else Union(label, description, variants)
    inner = inner if inner.description else replace(inner, description=description)
    if len(of_values) == len(branches):
        return inner
    return Optional(label, description, inner, None)


def _variant(raw: Any, node: Node, label: str) -> Variant:
    schema, kind = node.schema, str(node.schema.get("type"))
    found = field_of(node, label)
    title = str(schema.get("title") or "")
    model = str(raw.get("$ref", "")).rpartition("/")[2] if isinstance(raw, Mapping) else ""
    constants = (
        [part.field.value for part in found.parts if isinstance(part.field, Constant)]
        if isinstance(found, Group)
        else []
    )
    shown = next((str(value) for value in constants if isinstance(value, str)), "")
    name = shown or title or model or _KINDS.get(kind, "JSON")
    tags = {*map(str, constants), title, model, kind, _TAGS.get(kind, "")} - {""}
    return Variant(name, found, frozenset(tags))


def _number(schema: Schema, label: str, description: str) -> Field:
    is_integer = schema["type"] == "integer"
    step = 1 if is_integer else 0
    lows = [schema.get("minimum"), _shifted(schema.get("exclusiveMinimum"), step)]
    highs = [schema.get("maximum"), _shifted(schema.get("exclusiveMaximum"), -step)]
    low = max((bound for bound in lows if bound is not None), default=None)
    high = min((bound for bound in highs if bound is not None), default=None)
    return _few(Number(label, description, is_integer, low, high))


def _shifted(bound: float | None, step: int) -> float | None:
    return None if bound is None else bound + step


def _few(number: Number) -> Field:
    """Return a choice instead of an integer if its description names each value: "0 up, 1 right"."""
    if not number.is_integer or number.low is None or number.high is None:
        return number
    values = range(int(number.low), int(min(number.high, number.low + MOST_NAMED)) + 1)
    names = {int(value): name for value, name in _NAMED_NUMBER.findall(number.description)}
    if len(values) > MOST_NAMED or len(values) < 2 or names.keys() != set(values):
        return number
    return Choice(number.label, number.description, tuple(values), tuple(names[value] for value in values))


def _text(node: Node, label: str, description: str) -> Text:
    schema = node.schema
    examples = [text for text in schema.get("examples") or () if isinstance(text, str)]
    longest = schema.get("maxLength")
    name = node.path.rpartition(".")[2].rstrip("[]").lower()
    is_code = name.rpartition("_")[2] in _CODE
    is_long = is_code or name in _LONG_NAMES or (longest is not None and longest > _LONG)
    hint = examples[0] if examples else str(schema.get("pattern") or schema.get("format") or "")
    return Text(label, description, is_long, is_code, hint, longest)


def _array(node: Node, label: str, description: str) -> Field:
    schema = node.schema
    if "prefixItems" in schema:
        places = [node.child(place, f"[{i}]") for i, place in enumerate(schema["prefixItems"])]
        items = tuple(field_of(place, str(i + 1)) for i, place in enumerate(places))
        return Places(label, description, items)
    if "items" not in schema:
        return Json(label, description, [])
    shape, inner = [], node
    while inner.fixed_length is not None and "items" in inner.schema:
        shape.append(inner.fixed_length)
        inner = inner.child(inner.schema["items"], "[]")
    item = field_of(inner, "") if shape else None
    if isinstance(item, Number):
        return _numbers(shape, item, item.low, item.high, label, description)
    item = field_of(node.child(schema["items"], "[]"), "Item")
    return Rows(label, description, item, schema.get("minItems", 0), schema.get("maxItems"))


def _numbers(shape: Sequence[int], item: Number, low: Any, high: Any, label: str, description: str) -> Field:
    """Return the field of an array of numbers. A bound is a number, or nested lists of them."""
    if not shape:
        return replace(item, label=label, description=description, low=_bound(low), high=_bound(high))
    if len(shape) == 1 and shape[0] <= MOST_NUMBERS:
        bounds = [(_at(low, place), _at(high, place)) for place in range(shape[0])]
        items = (replace(item, label=str(i), low=one, high=other) for i, (one, other) in enumerate(bounds))
        return Places(label, description, tuple(items))
    hint = f"numbers of the shape {' by '.join(map(str, shape))}"
    start: Any = initial(replace(item, low=_bound(low), high=_bound(high)))
    for length in reversed(shape):
        start = [start] * length
    return Json(label, f"{description} ({hint})" if description else hint.capitalize(), start)


def _at(bound: Any, place: int) -> float | None:
    return _bound(bound[place] if isinstance(bound, list) else bound)


def _bound(value: Any) -> float | None:
    """Return a bound; None for infinities, which have names in JSON, and for nested bounds."""
    return value if isinstance(value, int | float) else None


def _each(call: Any, one: Any, other: Any) -> Any:
    if isinstance(one, list):
        return [_each(call, *pair) for pair in zip(one, other, strict=True)]
    return call(one, other)


def _shape(nested: Any) -> list[int]:
    return [len(nested), *_shape(nested[0])] if isinstance(nested, list) and nested else []


def _group(node: Node, label: str) -> Group:
    required = frozenset(node.schema.get("required", ()))
    raw = node.schema.get("properties", {})
    parts = []
    for name, child in node.properties():
        title = None if _is_space(child.schema) or raw[name] is True else raw[name].get("title")
        inner = field_of(child, str(title or _said(name)))
        default = child.schema.get("default", MISSING)
        if default is not MISSING and not (fits(inner, default) and is_exact(default)):
            default = MISSING
        if name not in required and default is MISSING and not isinstance(inner, Optional | Constant):
            inner = Optional(inner.label, inner.description, inner)
        parts.append(Part(name, inner, default))
    return Group(label, str(node.schema.get("description") or ""), tuple(parts))


def _is_space(schema: Schema) -> bool:
    """Return whether a schema is nothing but a space, whose title is the space as Gymnasium prints it."""
    return SPACE_KEYWORD in schema and "type" not in schema


def _said(name: str) -> str:
    """Return the name of a property as people write it: "offer_draw" is "Offer draw"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").strip()
    return words[:1].upper() + words[1:] if words else name
