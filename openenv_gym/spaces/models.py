"""The action and observation spaces of models, and the spaces of other schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Space

from openenv_gym.errors import SchemaError
from openenv_gym.json_schema import ModelJsonSchema
from openenv_gym.schema_keywords import (
    ACTION_ONLY_ON_THE_WIRE,
    BESIDE_MARK,
    OBSERVATION_ONLY_ON_THE_WIRE,
    TOOLS_KEYWORD,
)
from openenv_gym.spaces import rules
from openenv_gym.spaces.codecs import Codec, DictCodec, FieldCodec
from openenv_gym.spaces.compiler import Compiler, SchemaFinding
from openenv_gym.spaces.limits import MOST_LEVELS, check_samples
from openenv_gym.spaces.schema import Node, Schema, open_schema
from openenv_gym.spaces.tools import RESULT_FIELDS, ToolResultCodec, compile_tool_calls

Override = Space[Any] | Mapping[str, Space[Any]] | None


class CompiledSchema(NamedTuple):
    """The codec of a schema, and the result for each part of the schema."""

    codec: Codec
    report: list[SchemaFinding]


def compile_action(
    schema: Schema, *, unwrap: bool = True, omit_defaults: bool = False, space: Override = None
) -> CompiledSchema:
    """Compile the JSON Schema of an action model, without ``metadata``.

    Args:
        schema: The JSON Schema.
        unwrap: Whether a model with one field has the field's space, instead of a `Dict` of one.
        omit_defaults: Omit the fields that are not required; the server then uses their defaults.
        space: The user's own space, for the whole or by the path of a part.

    Raises:
        SchemaError: The schema cannot become a space, or ``space`` does not fit it.
    """
    compiler = Compiler(rules.RULES, sends_all=True, omit_defaults=omit_defaults)
    return _compile_model(schema, ACTION_ONLY_ON_THE_WIRE, compiler, unwrap, space)


def compile_observation(
    schema: Schema, *, unwrap: bool = True, space: Override = None, example: Any = None
) -> CompiledSchema:
    """Compile the JSON Schema of an observation model, without flags, reward and ``metadata``.

    Args:
        schema: The JSON Schema.
        unwrap: Whether a model with one field has the field's space, instead of a `Dict` of one.
        space: The user's own space, for the whole or by the path of a part.
        example: The payload of an observation. Arrays without a length in the schema get its shapes.

    Raises:
        SchemaError: The schema cannot become a space, or ``space`` does not fit it.
    """
    compiler = Compiler(rules.RULES, shapes=dict(_array_shapes(example)))
    return _compile_model(schema, OBSERVATION_ONLY_ON_THE_WIRE, compiler, unwrap, space)


def action_codec(schema: Schema) -> Codec:
    """Return the codec of `compile_action`.

    Example:
        >>> codec = action_codec({"properties": {"move": {"enum": ["left", "right"]}}})
        >>> codec.space, codec.encode(1)
        (Discrete(2), {'move': 'right'})
    """
    return compile_action(schema).codec


def observation_codec(schema: Schema) -> Codec:
    """Return the codec of `compile_observation`."""
    return compile_observation(schema).codec


def space_from_schema(schema: Schema) -> Space[Any]:
    """Return the space of any JSON Schema.

    Raises:
        SchemaError: It cannot become a space.
    """
    root = open_schema(schema)
    space = Compiler(rules.RULES).compile(root).space
    check_samples(space, root.path)
    return space


def space_from_model(model: Any) -> Space[Any]:
    """Return the space of a Pydantic model.

    Raises:
        SchemaError: It cannot become a space.
    """
    return space_from_schema(model.model_json_schema(schema_generator=ModelJsonSchema))


def _compile_model(
    schema: Schema, left_out: frozenset[str], compiler: Compiler, unwrap: bool, space: Override
) -> CompiledSchema:
    root = open_schema(schema)
    compiled = _compile_root(root, left_out, compiler, unwrap, space)
    check_samples(compiled.codec.space, root.path)
    return compiled


def _compile_root(
    root: Node, left_out: frozenset[str], compiler: Compiler, unwrap: bool, space: Override
) -> CompiledSchema:
    schema = root.schema
    if isinstance(space, Mapping):
        compiler.overrides = dict(space)
    if TOOLS_KEYWORD in schema and compiler.sends_all:
        calls = compile_tool_calls(root, compiler)
        _check_paths(compiler)
        return CompiledSchema(calls, compiler.report)
    if "properties" not in root.schema:
        return CompiledSchema(compiler.compile(root), compiler.report)
    if TOOLS_KEYWORD in schema:
        left_out |= RESULT_FIELDS

    def is_left_out(name: str, node: Node) -> bool:
        return name in left_out or bool(node.schema.get(BESIDE_MARK))

    fields = compiler.fields(root, is_left_out)
    _check_paths(compiler)
    if TOOLS_KEYWORD in schema:
        results = ToolResultCodec(fields)
        return CompiledSchema(results, results.report + compiler.report)
    if unwrap and len(fields.parts) == 1:
        if isinstance(space, Space):
            ((name, codec),) = fields.parts.items()
            fields = DictCodec({name: compiler.override(name, codec, space)}, defaults=fields.defaults)
        return CompiledSchema(FieldCodec(fields), compiler.report)
    if isinstance(space, Space):
        return CompiledSchema(compiler.override("the model", fields, space), compiler.report)
    return CompiledSchema(fields, compiler.report)


def _check_paths(compiler: Compiler) -> None:
    paths = [finding.path for finding in compiler.report]
    unknown = [path for path in compiler.overrides if path not in paths]
    if unknown:
        raise SchemaError(
            f"No {', '.join(map(repr, unknown))} in the schema to set the space of; it has "
            f"{', '.join(path for path in paths if path)}."
        )


def _array_shapes(example: Any, path: str = "", level: int = 1) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the paths and shapes of the arrays of numbers in a payload."""
    if isinstance(example, Mapping):
        for name, part in example.items() if level < MOST_LEVELS else ():
            yield from _array_shapes(part, f"{path}.{name}" if path else str(name), level + 1)
    elif isinstance(example, list):
        try:
            array = np.array(example)
        except ValueError:
            return  # ragged
        if array.size and array.dtype.kind in "biuf":
            yield path, array.shape
