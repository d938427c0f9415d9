"""Exact descriptions of Gymnasium spaces in JSON, which servers declare under ``x-gymnasium-space``.

``_KINDS`` has one entry for each kind of space: how to describe it, how to build it, and its codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from openenv_gym.errors import SchemaError, excerpt
from openenv_gym.schema_keywords import SPACE_KEYWORD
from openenv_gym.spaces import codecs
from openenv_gym.spaces.custom import (
    BoundedSequence,
    ExampleText,
    JsonText,
    PatternText,
    UnicodeText,
    ordered_dict,
)

Json = dict[str, Any]

# Samples of a custom space: few show what they are, and more are examples of its texts.
_FEW, _MANY = 3, 32


class _Kind(NamedTuple):
    type: type[spaces.Space[Any]]
    describe: Callable[[Any], Json]
    build: Callable[[Json], spaces.Space[Any]]
    codec: Callable[[Any], codecs.Codec]


def describe_space(space: spaces.Space[Any]) -> Json:
    """Return the JSON description of a space.

    A subclass of one of Gymnasium's spaces is described as that space, and any other space whose samples are
    strings as text: see `standard_space`.

    Raises:
        SchemaError: The protocol does not support this kind of space.
    """
    known = standard_space(space)
    name = next(name for name, kind in _KINDS.items() if type(known) is kind.type)
    return {"type": name, **_KINDS[name].describe(known)}


def standard_space(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the space of a supported kind that stands for a custom one; any other space itself.

    It contains the custom space's samples. The custom space may be smaller: then the server refuses actions
    that are in one and not in the other.

    Raises:
        SchemaError: The protocol does not support this kind of space.
    """
    kind = _kind_of(space)
    if kind is not None and type(space) is kind.type:
        return space
    few = _samples(space, _FEW)
    if kind is not None:
        standard = kind.build(kind.describe(space))
        if all(map(standard.contains, few)):
            return standard
    if not few and space.dtype is not None and space.dtype.kind == "U":
        return UnicodeText()
    if few and all(isinstance(sample, str) for sample in few):
        # Only examples are sure to be in the space; if they differ each time, they would differ by server.
        examples = _samples(space, _MANY)
        return (
            ExampleText(list(dict.fromkeys(examples)))
            if examples == _samples(space, _MANY)
            else UnicodeText()
        )
    raise SchemaError(
        f"{type(space).__name__} is not one of the spaces that can be sent: {', '.join(_KINDS)}.",
        advice="Wrap the environment so that it has one of these: with "
        "gymnasium.wrappers.TransformObservation(env, convert, Box(…)) or TransformAction(env, convert, "
        "Box(…)), or your wrapper's class: openenv serve --gym ID --wrap MODULE:CLASS.",
    )


def _kind_of(space: spaces.Space[Any]) -> _Kind | None:
    """Return the kind of the nearest base class that is a supported space."""
    kinds = {kind.type: kind for kind in _KINDS.values()}
    return next((kinds[base] for base in type(space).__mro__ if base in kinds), None)


def _samples(space: spaces.Space[Any], count: int) -> list[Any]:
    """Return the same samples each time, if the space's own generator makes them; none if it fails."""
    copy = deepcopy(space)
    try:
        copy.seed(0)
        return [copy.sample() for _ in range(count)]
    except Exception:
        return []


def build_space(description: Json) -> spaces.Space[Any]:
    """Return the space of a description; it equals (``==``) the described one.

    Raises:
        SchemaError: `describe_space` did not make the description.
    """
    try:
        return _KINDS[description["type"]].build(description)
    except SchemaError:
        raise
    except Exception as error:
        raise SchemaError(
            f"Not the description of a space in Gymnasium {gym.__version__}: {excerpt(description)} ({error})"
        ) from error


def schema_from_space(space: spaces.Space[Any]) -> Json:
    """Return a JSON Schema with exactly this space.

    Raises:
        SchemaError: The protocol does not support this kind of space.
    """
    description = describe_space(space)
    # Not the space itself, because texts of custom ones may have addresses, which differ by process.
    return {"title": str(build_space(description))[:80], SPACE_KEYWORD: description}


def codec_from_space(space: spaces.Space[Any]) -> codecs.Codec:
    """Return the codec of any space that `describe_space` supports. A custom space is its ``space``."""
    kind = _kind_of(standard_space(space))
    assert kind is not None
    return kind.codec(space)


def _bound(values: Any) -> Any:
    """Return a bound of a Box: one number if it is the same everywhere, else nested lists."""
    first = values.flat[0] if values.size else values.dtype.type(0)
    shortest = first if (values == first).all() else values
    return codecs.named_infinities(shortest.tolist())


def _describe_box(space: spaces.Box[Any]) -> Json:
    return {
        "low": _bound(space.low),
        "high": _bound(space.high),
        "shape": list(space.shape),
        "dtype": space.dtype.name,
    }


def _build_box(description: Json) -> spaces.Space[Any]:
    dtype, shape = np.dtype(description["dtype"]), tuple(description["shape"])
    low, high = (
        np.broadcast_to(np.array(description[bound], dtype=dtype), shape) for bound in ("low", "high")
    )
    return spaces.Box(low.copy(), high.copy(), shape, dtype.type)


def _describe_text(space: spaces.Text) -> Json:
    return {
        "min_length": space.min_length,
        "max_length": space.max_length,
        "characters": "".join(space.character_list),
    }


def _describe_dict(space: spaces.Dict) -> Json:
    return {"spaces": [[name, describe_space(part)] for name, part in space.spaces.items()]}


def _build_dict(description: Json) -> spaces.Space[Any]:
    return ordered_dict({name: build_space(part) for name, part in description["spaces"]})


_KINDS: dict[str, _Kind] = {
    "Box": _Kind(
        spaces.Box,
        _describe_box,
        _build_box,
        lambda space: codecs.ArrayCodec(space) if space.shape else codecs.NumberCodec(space),
    ),
    "Discrete": _Kind(
        spaces.Discrete,
        lambda space: {"n": int(space.n), "start": int(space.start), "dtype": space.dtype.name},
        lambda d: spaces.Discrete(d["n"], start=d["start"], dtype=np.dtype(d["dtype"]).type),
        codecs.IntegerCodec,
    ),
    "MultiDiscrete": _Kind(
        spaces.MultiDiscrete,
        lambda space: {
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": space.dtype.name,
        },
        lambda d: spaces.MultiDiscrete(
            np.array(d["nvec"]), dtype=np.dtype(d["dtype"]).type, start=np.array(d["start"])
        ),
        codecs.ArrayCodec,
    ),
    "MultiBinary": _Kind(
        spaces.MultiBinary,
        lambda space: {"shape": list(space.shape), "flat": isinstance(space.n, int)},
        lambda d: spaces.MultiBinary(d["shape"][0] if d["flat"] else d["shape"]),
        codecs.ArrayCodec,
    ),
    "Text": _Kind(
        spaces.Text,
        _describe_text,
        lambda d: spaces.Text(d["max_length"], min_length=d["min_length"], charset=d["characters"]),
        codecs.TextCodec,
    ),
    "UnicodeText": _Kind(
        UnicodeText,
        lambda space: {"min_length": space.min_length, "max_length": space.max_length},
        lambda d: UnicodeText(d["min_length"], d["max_length"]),
        codecs.TextCodec,
    ),
    "ExampleText": _Kind(
        ExampleText,
        lambda space: {
            "examples": list(space.examples),
            "min_length": space.min_length,
            "max_length": space.max_length,
        },
        lambda d: ExampleText(d["examples"], d["min_length"], d["max_length"]),
        codecs.TextCodec,
    ),
    "PatternText": _Kind(
        PatternText,
        lambda space: {
            "pattern": space.pattern,
            "min_length": space.min_length,
            "max_length": space.max_length,
        },
        lambda d: PatternText(d["pattern"], d["min_length"], d["max_length"]),
        codecs.TextCodec,
    ),
    "JsonText": _Kind(
        JsonText,
        lambda space: {"examples": [json.loads(example) for example in space.examples]},
        lambda d: JsonText(d["examples"]),
        codecs.JsonTextCodec,
    ),
    "Tuple": _Kind(
        spaces.Tuple,
        lambda space: {"spaces": [describe_space(part) for part in space.spaces]},
        lambda d: spaces.Tuple([build_space(part) for part in d["spaces"]]),
        lambda space: codecs.TupleCodec([codec_from_space(part) for part in space.spaces], space),
    ),
    "Dict": _Kind(
        spaces.Dict,
        _describe_dict,
        _build_dict,
        lambda space: codecs.DictCodec(
            {name: codec_from_space(part) for name, part in space.spaces.items()}, space
        ),
    ),
    "Sequence": _Kind(
        spaces.Sequence,
        lambda space: {"space": describe_space(space.feature_space), "stack": space.stack},
        lambda d: spaces.Sequence(build_space(d["space"]), stack=d["stack"]),
        lambda space: codecs.SequenceCodec(codec_from_space(space.feature_space), space),
    ),
    "BoundedSequence": _Kind(
        BoundedSequence,
        lambda space: {
            "space": describe_space(space.feature_space),
            "min_length": space.min_length,
            "max_length": space.max_length,
        },
        lambda d: BoundedSequence(build_space(d["space"]), d["min_length"], d["max_length"]),
        lambda space: codecs.SequenceCodec(codec_from_space(space.feature_space), space),
    ),
    "OneOf": _Kind(
        spaces.OneOf,
        lambda space: {"spaces": [describe_space(part) for part in space.spaces]},
        lambda d: spaces.OneOf([build_space(part) for part in d["spaces"]]),
        lambda space: codecs.OneOfCodec([codec_from_space(part) for part in space.spaces], space),
    ),
    "Graph": _Kind(
        spaces.Graph,
        lambda space: {
            "node_space": describe_space(space.node_space),
            "edge_space": None if space.edge_space is None else describe_space(space.edge_space),
        },
        lambda d: spaces.Graph(
            build_space(d["node_space"]),
            None if d["edge_space"] is None else build_space(d["edge_space"]),
        ),
        lambda space: codecs.GraphCodec(
            space,
            codec_from_space(space.node_space),
            None if space.edge_space is None else codec_from_space(space.edge_space),
        ),
    ),
}
