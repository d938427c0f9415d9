"""The spaces of a whole model: its action space, its observation space, or any other schema's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Space

from openenv_gym.errors import SchemaError
from openenv_gym.schema_keywords import ACTION_ONLY_ON_THE_WIRE, BESIDE_MARK, OBSERVATION_ONLY_ON_THE_WIRE
from openenv_gym.spaces.codecs import Codec, DictCodec, FieldCodec
from openenv_gym.spaces.rules import Compiler, SchemaFinding
from openenv_gym.spaces.schema import Node, Schema, resolve

Override = Space[Any] | Mapping[str, Space[Any]] | None


class CompiledSchema(NamedTuple):
    """A schema's codec, and what became of each of its parts."""

    codec: Codec
    report: list[SchemaFinding]


def compile_action(
    schema: Schema, *, unwrap: bool = True, omit_defaults: bool = False, space: Override = None
) -> CompiledSchema:
    """The codec of an action model's JSON Schema, without ``metadata``.

    Args:
        schema: The JSON Schema.
        unwrap: Whether a model with one field is that field's own space, instead of a `Dict` of one.
        omit_defaults: Leave out fields that need not be sent; the server then uses their defaults.
        space: A space that the user knows better: for the whole, or by the path of a part.

    Raises:
        SchemaError: No space can be made from the schema, or ``space`` does not fit it.
    """
    compiler = Compiler(sends_all=True, omit_defaults=omit_defaults)
    return _compile_model(schema, ACTION_ONLY_ON_THE_WIRE, compiler, unwrap, space)


def compile_observation(
    schema: Schema, *, unwrap: bool = True, space: Override = None, example: Any = None
) -> CompiledSchema:
    """The codec of an observation model's JSON Schema, without flags, reward and ``metadata``.

    Args:
        schema: The JSON Schema.
        unwrap: Whether a model with one field is that field's own space, instead of a `Dict` of one.
        space: A space that the user knows better: for the whole, or by the path of a part.
        example: An observation's payload. Arrays whose length the schema does not say get its shapes.

    Raises:
        SchemaError: No space can be made from the schema, or ``space`` does not fit it.
    """
    compiler = Compiler(shapes=dict(_array_shapes(example)))
    return _compile_model(schema, OBSERVATION_ONLY_ON_THE_WIRE, compiler, unwrap, space)


def action_codec(schema: Schema) -> Codec:
    """What `compile_action` gives, without the report.

    Example:
        >>> codec = action_codec({"properties": {"move": {"enum": ["left", "right"]}}})
        >>> codec.space, codec.encode(1)
        (Discrete(2), {'move': 'right'})
    """
    return compile_action(schema).codec


def observation_codec(schema: Schema) -> Codec:
    """What `compile_observation` gives, without the report."""
    return compile_observation(schema).codec


def space_from_schema(schema: Schema) -> Space[Any]:
    """The space of any JSON Schema.

    Raises:
        SchemaError: No space can be made from it.
    """
    return Compiler().compile(resolve(schema, schema)).space


def space_from_model(model: Any) -> Space[Any]:
    """The space of a Pydantic model's fields.

    Raises:
        SchemaError: No space can be made from it.
    """
    return space_from_schema(model.model_json_schema())


def _compile_model(
    schema: Schema, left_out: frozenset[str], compiler: Compiler, unwrap: bool, space: Override
) -> CompiledSchema:
    root = resolve(schema, schema)
    if "properties" not in root.schema:
        return CompiledSchema(compiler.compile(root), compiler.report)
    if isinstance(space, Mapping):
        compiler.overrides = dict(space)

    def is_left_out(name: str, node: Node) -> bool:
        return name in left_out or bool(node.schema.get(BESIDE_MARK))

    fields = compiler.fields(root, is_left_out)
    _check_paths(compiler)
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
            f"There is no {', '.join(map(repr, unknown))} in the schema to give a space to; there is "
            f"{', '.join(path for path in paths if path)}"
        )


def _array_shapes(example: Any, path: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shapes of the arrays of numbers in a payload, by path."""
    if isinstance(example, Mapping):
        for name, part in example.items():
            yield from _array_shapes(part, f"{path}.{name}" if path else str(name))
    elif isinstance(example, list):
        try:
            array = np.array(example)
        except ValueError:
            return  # not all rows are of one length
        if array.size and array.dtype.kind in "biuf":
            yield path, array.shape
