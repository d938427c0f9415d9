"""JSON Schemas as Gymnasium spaces, and elements as payloads. Pure: no I/O, and no Pydantic needed.

The table of what becomes what is in `rules`; the spaces that a server declares exactly are in `declared`.
"""

from __future__ import annotations

from openenv_gym.contract import ACTION_ONLY_ON_THE_WIRE, BESIDE_MARK, OBSERVATION_ONLY_ON_THE_WIRE
from openenv_gym.spaces.codecs import Codec, FieldCodec
from openenv_gym.spaces.declared import build_space, codec_from_space, describe_space
from openenv_gym.spaces.rules import Compiler
from openenv_gym.spaces.schema import Schema, resolve
from openenv_gym.spaces.text import JsonText, UnicodeText

__all__ = [
    "Codec",
    "JsonText",
    "UnicodeText",
    "action_codec",
    "build_space",
    "codec_from_space",
    "describe_space",
    "observation_codec",
]


def action_codec(schema: Schema) -> Codec:
    """The codec of an action model's JSON Schema.

    Example:
        >>> codec = action_codec({"properties": {"move": {"enum": ["left", "right"]}}, "required": ["move"]})
        >>> codec.space, codec.encode(1)
        (Discrete(2), {'move': 'right'})

    Raises:
        SchemaError: No space can be made from the schema.
    """
    return _model_codec(schema, ACTION_ONLY_ON_THE_WIRE, Compiler(sends_all=True))


def observation_codec(schema: Schema) -> Codec:
    """The codec of an observation model's JSON Schema: its fields without flags, reward and metadata.

    Raises:
        SchemaError: No space can be made from the schema.
    """
    return _model_codec(schema, OBSERVATION_ONLY_ON_THE_WIRE, Compiler())


def _model_codec(schema: Schema, left_out: frozenset[str], compiler: Compiler) -> Codec:
    """The codec of a model. One with a single field is that field's own space."""
    root = resolve(schema, schema)
    if "properties" not in root.schema:
        return compiler.compile(root)
    fields = compiler.fields(root, lambda name, node: name in left_out or bool(node.schema.get(BESIDE_MARK)))
    return FieldCodec(fields) if len(fields.codecs) == 1 else fields
