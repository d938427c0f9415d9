"""Codecs: from an element of a Gymnasium space to its JSON payload, and back.

A codec is built once, from a schema or a space, and then called every step. ``encode`` expects an element of
the codec's space. ``decode`` returns fresh memory, and raises `SpaceError` if the payload does not fit.
"""

from __future__ import annotations

from openenv_gym.spaces.codecs.arrays import ArrayCodec, BooleanArrayCodec, GraphCodec
from openenv_gym.spaces.codecs.base import Codec, named_infinities
from openenv_gym.spaces.codecs.composites import (
    DictCodec,
    FieldCodec,
    OneOfCodec,
    OptionalCodec,
    SequenceCodec,
    TupleCodec,
    UnionCodec,
)
from openenv_gym.spaces.codecs.scalars import (
    BooleanCodec,
    IntegerCodec,
    JsonTextCodec,
    LabelCodec,
    NullCodec,
    NumberCodec,
    PayloadCodec,
    TextCodec,
    label_key,
)

__all__ = [
    "ArrayCodec",
    "BooleanArrayCodec",
    "BooleanCodec",
    "Codec",
    "DictCodec",
    "FieldCodec",
    "GraphCodec",
    "IntegerCodec",
    "JsonTextCodec",
    "LabelCodec",
    "NullCodec",
    "NumberCodec",
    "OneOfCodec",
    "OptionalCodec",
    "PayloadCodec",
    "SequenceCodec",
    "TextCodec",
    "TupleCodec",
    "UnionCodec",
    "label_key",
    "named_infinities",
]
