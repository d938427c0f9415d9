"""Any JSON that a server sends as a schema becomes a space or a `SchemaError`, in little time and memory."""

from __future__ import annotations

import copy
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from openenv_gym.errors import SchemaError
from openenv_gym.spaces import build_space, compile_action, compile_observation, space_from_schema
from openenv_gym.spaces.custom import PatternText, UnicodeText
from openenv_gym.spaces.declared import describe_space
from openenv_gym.spaces.schema import union_of_models
from openenv_gym.spaces.tools import takes_tool_calls
from tests.support.each_kind import EACH_KIND
from tests.support.realistic import ENVIRONMENTS

Json = Any

# Of CPU time; other work on the machine makes even that longer. By itself, an error takes less than 0.1 s.
ERROR_S, SPACE_S = 2.0, 20.0
ERROR_BYTES, SPACE_BYTES = 50 * 2**20, 700 * 2**20


def nested(levels: int, inner: Json, wrap: Callable[[Json], Json]) -> Json:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def doubled(wrap: Callable[[Json], Json]) -> Json:
    """Definitions that each refer to the next one twice: 2 to the power of 40 in all."""
    definitions: dict[str, Json] = {"d0": {"type": "integer"}}
    for level in range(1, 41):
        definitions[f"d{level}"] = wrap({"$ref": f"#/$defs/d{level - 1}"})
    return {"$defs": definitions, "$ref": "#/$defs/d40"}


def array(item: Json, length: int) -> Json:
    return {"type": "array", "items": item, "minItems": length, "maxItems": length}


NAMES = [f"D{i}" for i in range(14)]
ERRORS: dict[str, Callable[[], Json]] = {
    "a bound that is a string": lambda: {"type": "number", "minimum": "0"},
    "bounds that are strings": lambda: {"type": "integer", "minimum": "0", "maximum": "9"},
    "a bound that is not a number": lambda: {"type": "number", "minimum": float("nan")},
    "an infinite integer": lambda: {"type": "integer", "minimum": float("inf")},
    "bounds without a number between": lambda: {"type": "number", "minimum": 1, "maximum": 0},
    "a number larger than any float": lambda: {"type": "number", "minimum": 10**400},
    "an integer larger than 64 bits": lambda: {"type": "integer", "minimum": 10**400},
    "properties that are a list": lambda: {"type": "object", "properties": ["a", "b"]},
    "required that is a number": lambda: {"properties": {"a": {"type": "null"}}, "required": 3},
    "a type that is an object": lambda: {"type": {"a": 1}},
    "an enum that is a number": lambda: {"enum": 3},
    "anyOf that is an object": lambda: {"anyOf": {"type": "null"}},
    "200 dimensions": lambda: nested(200, {"type": "number"}, lambda item: array(item, 1)),
    "33 dimensions": lambda: nested(33, {"type": "number"}, lambda item: array(item, 1)),
    "minItems of 10**8": lambda: {"type": "array", "items": {"type": "number"}, "minItems": 10**8},
    "10**8 items": lambda: array({"type": "string"}, 10**8),
    "1,000 items of 1,000 items": lambda: array(array({"type": "string"}, 1000), 1000),
    "an array of 10**9 numbers": lambda: array(array({"type": "number"}, 10**5), 10**4),
    "minItems in minItems": lambda: nested(
        5, {"type": "string"}, lambda item: {"type": "array", "items": item, "minItems": 1000}
    ),
    "lists in lists": lambda: nested(30, {"type": "null"}, lambda item: {"type": "array", "items": item}),
    "minLength of 10**10": lambda: {"type": "string", "minLength": 10**10},
    "minLength over maxLength": lambda: {"type": "string", "minLength": 2, "maxLength": 1},
    "minItems over maxItems": lambda: {"type": "array", "items": {}, "minItems": 2, "maxItems": 1},
    "five million strings": lambda: {"enum": ["a"] * 5_000_000},
    "five million required": lambda: {"properties": {"a": {}}, "required": ["a"] * 5_000_000},
    "a million labels": lambda: {"enum": list(range(1_000_000))},
    "30,000 properties": lambda: {"properties": {f"p{i}": {"type": "string"} for i in range(30_000)}},
    "5,000 levels": lambda: nested(5000, {}, lambda inner: {"type": "object", "properties": {"x": inner}}),
    "5,000 allOf": lambda: nested(5000, {}, lambda inner: {"allOf": [inner]}),
    "properties that double": lambda: doubled(lambda ref: {"properties": {"a": ref, "b": ref}}),
    "alternatives that double": lambda: doubled(lambda ref: {"anyOf": [ref, ref]}),
    "places that double": lambda: doubled(lambda ref: {"prefixItems": [ref, ref]}),
    "definitions that all refer to all": lambda: {
        "$defs": {
            name: {"type": "object", "properties": {other: {"$ref": f"#/$defs/{other}"} for other in NAMES}}
            for name in NAMES
        },
        "$ref": "#/$defs/D0",
    },
    "a chain of 20,000 references": lambda: {
        "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(20_000)},
        "$ref": "#/$defs/d0",
    },
    "a reference that is a list": lambda: {"$ref": ["#"]},
    "a name of a megabyte for all": lambda: {
        "properties": {"n" * 2**20: {"properties": {f"p{i}": {"type": "null"} for i in range(15_000)}}}
    },
    "a declared space that is a list": lambda: {"x-gymnasium-space": [1]},
    "a declared array of 10**18 bytes": lambda: {
        "x-gymnasium-space": {"type": "Box", "low": 0, "high": 1, "shape": [10**9, 10**9], "dtype": "uint8"}
    },
    "a declared text of 10**7 letters": lambda: {
        "x-gymnasium-space": {"type": "Text", "min_length": 0, "max_length": 9, "characters": "a" * 10**7}
    },
    "a declared dtype of gigabytes": lambda: {
        "x-gymnasium-space": {"type": "Box", "low": 0, "high": 1, "shape": [1], "dtype": "U1000000000"}
    },
    "declared spaces in 150 spaces": lambda: {
        "x-gymnasium-space": nested(150, {"type": "Tuple"}, lambda d: {"type": "Tuple", "spaces": [d]})
    },
    "free JSON that is large": lambda: {
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 10**9},
    },
}  # fmt: skip
SPACES: dict[str, Callable[[], Json]] = {
    "maxLength of 10**30": lambda: {"type": "string", "maxLength": 10**30},
    "a million examples": lambda: {"type": "string", "examples": ["a"] * 1_000_000},
    "a million examples of JSON": lambda: {"examples": [[]] * 1_000_000},
    "a declared text of 10**12 characters": lambda: {
        "x-gymnasium-space": {"type": "Text", "min_length": 0, "max_length": 10**12, "characters": "ab"}
    },
    "minProperties of 10**9": lambda: {
        "type": "object", "additionalProperties": {"type": "null"}, "minProperties": 10**9
    },
    "free JSON with minItems of 10**9": lambda: {
        "type": "object", "additionalProperties": {"type": "array", "minItems": 10**9}
    },
    "an alternative of itself": lambda: {
        "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "integer"}]}},
        "properties": {"x": {"$ref": "#/$defs/A"}, "y": {"$ref": "#/$defs/A"}},
    },
    "a property without a name": lambda: {"properties": {"": {"properties": {"": {"type": "null"}}}}},
    "a pattern of keys that is none": lambda: {"type": "object", "patternProperties": {"(": {}}},
    **{
        f"the pattern {pattern[:20]}": lambda pattern=pattern: {"type": "string", "pattern": pattern}  # type: ignore[misc]
        for pattern in (
            r"^(a+)+$",
            r"^(a|a)*b$",
            r"^(a|ab|b)*(?!c)(a*)*d$",
            r"^(?=(a+)+$)b",
            r"^(\w*\d*)*\1$",
            "^" + "a*" * 40 + "b$",
            r"(" * 12 + "a?" + "){9}" * 12,
            "a{9999}" * 5,
            "(" * 5000,
            "((((((a{9}){9}){9}){9}){9}){9}",
            "x" * 100_000,
            "[^" + "\U00010000-\U0010ffff" * 100 + "]",
        )
    },
}  # fmt: skip


def compiled(schema: Json) -> Any:
    """The spaces of a schema, in each place where it may be.

    Raises:
        SchemaError: It has none.
    """
    field = {"type": "object", "properties": {"x": schema, "y": {"type": "boolean"}}}
    if isinstance(schema, dict) and "$defs" in schema:
        field["$defs"] = schema["$defs"]
    space = space_from_schema(schema)
    return space, compile_action(field).codec.space, compile_observation(field).codec.space


def memory_and_seconds(work: Callable[[], object]) -> tuple[int, float]:
    """The peak of the memory that is used beyond the present, and the CPU time."""
    begin = time.process_time()
    work()
    seconds = time.process_time() - begin
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1], seconds
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_comes_soon_and_with_little_memory(name: str) -> None:
    schema = ERRORS[name]()

    def refuse() -> None:
        with pytest.raises(SchemaError) as caught:
            space_from_schema(schema)
        assert len(str(caught.value)) < 1000

    memory, seconds = memory_and_seconds(refuse)
    print(f"{name}: SchemaError after {seconds:.3f} s CPU, {memory / 2**20:.1f} MiB")
    assert seconds < ERROR_S
    assert memory < ERROR_BYTES
    with pytest.raises(SchemaError):
        compiled(schema)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_comes_soon_and_its_samples_too(name: str) -> None:
    schema = SPACES[name]()

    def sample() -> None:
        for space in compiled(schema):
            space.seed(0)
            for _ in range(3):
                assert space.contains(space.sample())

    memory, seconds = memory_and_seconds(sample)
    print(f"{name}: a space after {seconds:.3f} s CPU, {memory / 2**20:.1f} MiB")
    assert seconds < SPACE_S
    assert memory < SPACE_BYTES


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^([a-z]+)*-(\d+)*$", r"^\w+([.-]?\w+)*@\w+([.-]?\w+)*$"])
def test_patterns_that_are_slow_to_search_for_are_sampled_without_a_search(pattern: str) -> None:
    import re

    space = space_from_schema({"type": "string", "pattern": pattern, "maxLength": 12})
    assert isinstance(space, PatternText)
    assert all(re.search(pattern, space.sample()) for _ in range(50))


def test_a_pattern_that_is_slow_to_search_for_and_looks_ahead_leaves_any_text() -> None:
    assert type(space_from_schema({"type": "string", "pattern": r"^(?=(a+)+$)b"})) is UnicodeText


# Any JSON, and what is most likely to break something.
NUMBERS = st.one_of(
    st.sampled_from(
        [0, -1, 1, 2, 64, 10**6, 10**8, 10**10, 10**30, 10**400, -(10**400), 2**31, 2**63, 2**64]
    ),
    st.sampled_from([0.5, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 2.0]),
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "enum",
        "const",
        "minimum",
        "maximum",
        "default",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "examples",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "uniqueItems",
        "x-gymnasium-space",
        "title",
        "x-openenv-tools",
        "x-openenv-render",
        "x-openenv-beside",
        "contentMediaType",
        "contentSchema",
        "multipleOf",
        "not",
    ]
)
TEXTS = st.sampled_from(
    [
        "integer",
        "number",
        "string",
        "boolean",
        "null",
        "array",
        "object",
        "#",
        "#/$defs/A",
        "#/properties",
        "date",
        "decimal",
        "uuid",
        "json-string",
        "^(a+)+$",
        "(",
        "[a-z]{3,9}",
        "application/json",
        "Box",
        "Discrete",
        "Dict",
        "Sequence",
        "float32",
        "O",
        "U99999999",
    ]
) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | TEXTS, inner, max_size=4),
    max_leaves=12,
)
DECLARED: list[Json] = [describe_space(space) for space in EACH_KIND.values()]
VALID: list[Json] = [
    *(model.model_json_schema() for model in ENVIRONMENTS.values()),
    *({"properties": {"x": {"x-gymnasium-space": space}}} for space in DECLARED),
    {
        "properties": {"type": {"const": "call_tool"}, "tool_name": {"type": "string"}, "arguments": {}},
        "x-openenv-tools": [
            {"name": "a", "description": "b", "input_schema": {"properties": {"c": {"type": "integer"}}}}
        ],
    },
]


def places(value: Json, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*place, key))


def at(value: Json, place: tuple[Any, ...]) -> Json:
    for key in place:
        value = value[key]
    return value


@st.composite
def hostile_schemas(draw: st.DrawFn) -> Json:
    """A valid schema in which some nodes are other values, or have another keyword."""
    document = {"": copy.deepcopy(draw(st.sampled_from(VALID)))}
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([place for place in places(document) if place]))
        value = copy.deepcopy(draw(st.one_of(VALUES, st.sampled_from(VALID))))
        if draw(st.booleans()) and isinstance(at(document, place), dict):
            at(document, place)[draw(KEYWORDS)] = value
        else:
            at(document, place[:-1])[place[-1]] = value
    return json.loads(json.dumps(document[""]))


def declared_space(schema: Json) -> Any:
    """The space that the first property declares, if it does."""
    properties = schema.get("properties")
    field = properties.get("x") if isinstance(properties, dict) else None
    return (
        build_space(field["x-gymnasium-space"])
        if isinstance(field, dict) and field.keys() == {"x-gymnasium-space"}
        else None
    )


def union(schema: Json) -> None:
    union_of_models(schema, VALID[0])
    union_of_models(VALID[0], schema)


WAYS: tuple[Callable[[Json], Any], ...] = (
    space_from_schema,
    lambda schema: compile_action(schema).codec.space,
    lambda schema: compile_action(schema, unwrap=False, omit_defaults=True).codec.space,
    lambda schema: compile_observation(schema, example={"x": [1, [2]], "y": [[1, 2]]}).codec.space,
    lambda schema: union(schema) if isinstance(schema, dict) else None,
    lambda schema: [takes_tool_calls(schema)].clear() if isinstance(schema, dict) else None,
    lambda schema: declared_space(schema) if isinstance(schema, dict) else None,
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(schema=hostile_schemas())
def test_any_json_becomes_a_space_or_a_schema_error(schema: Json) -> None:
    begin = time.process_time()
    for way in WAYS:
        try:
            space = way(schema)
            if space is not None:
                space.seed(0)
                space.sample()
                event("a space")
        except SchemaError:
            event("an error")
    assert time.process_time() - begin < SPACE_S
