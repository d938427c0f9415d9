"""JSON Schemas as Gymnasium spaces, and elements as payloads. Pure: no I/O, and no Pydantic needed.

The table of what becomes what is in `rules`; the spaces that a server declares exactly are in `declared`.
"""

from __future__ import annotations

from openenv_gym.spaces.bounded import BoundedSequence
from openenv_gym.spaces.codecs import Codec
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
from openenv_gym.spaces.rules import SchemaFinding
from openenv_gym.spaces.text import ExampleText, JsonText, UnicodeText

__all__ = [
    "BoundedSequence",
    "Codec",
    "CompiledSchema",
    "ExampleText",
    "JsonText",
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
