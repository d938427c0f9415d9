"""JSON Schemas as Gymnasium spaces, and elements as payloads. Pure: no I/O, no Pydantic.

`rules` is the table from schemas to spaces, `declared` describes spaces exactly, `codecs` code one element,
and `columns` the elements of many slots.
"""

from __future__ import annotations

from openenv_gym.spaces.codecs import Codec
from openenv_gym.spaces.compiler import SchemaFinding
from openenv_gym.spaces.custom import BoundedSequence, ExampleText, JsonText, PatternText, UnicodeText
from openenv_gym.spaces.declared import build_space, codec_from_space, describe_space, schema_from_space
from openenv_gym.spaces.models import (
    CompiledSchema,
    action_codec,
    compile_action,
    compile_observation,
    observation_codec,
    space_from_model,
    space_from_schema,
)

__all__ = [
    "BoundedSequence",
    "Codec",
    "CompiledSchema",
    "ExampleText",
    "JsonText",
    "PatternText",
    "SchemaFinding",
    "UnicodeText",
    "action_codec",
    "build_space",
    "codec_from_space",
    "compile_action",
    "compile_observation",
    "describe_space",
    "observation_codec",
    "schema_from_space",
    "space_from_model",
    "space_from_schema",
]
