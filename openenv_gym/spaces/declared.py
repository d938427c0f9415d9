"""Exact descriptions of Gymnasium spaces in JSON, which servers declare under ``x-gymnasium-space``.

``_KINDS`` has one entry for each kind of space: how to describe it, how to build it, what that costs, and its
codec. docs/spaces.md has the descriptions, for servers and clients in other languages.
"""

from __future__ import annotations

import json
import math
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
    BriefText,
    ExampleText,
    JsonText,
    PatternText,
    UnicodeText,
    ordered_dict,
)
from openenv_gym.spaces.limits import MOST_LEVELS, Document, check_samples, too_deep

Json = dict[str, Any]

# What costs one unit of work (`Document.spend`), and what a space costs.
_VALUES_OF_A_UNIT = 2**6
_CHARACTERS_OF_A_UNIT = 2**3
_WORK = 4
# Gymnasium's texts are sampled up to their maximum length.
_LONGEST_SAMPLED = 2**16
_NUMBER_TYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)

# Samples of a custom space: few show what they are, and more are examples of its texts.
_FEW, _MANY = 3, 32


class _Kind(NamedTuple):
    """A kind of space.

    Attributes:
        type: Its class.
        describe: Returns the description of a space, without its kind.
        build: Returns the space of a description.
        codec: Returns the codec of a space.
        spend: Counts the work of building it in a document that is not trusted, besides that for each part
            and each value of the description: memory that is larger than the description, for example.
    """

    type: type[spaces.Space[Any]]
    describe: Callable[[Any], Json]
    build: Callable[[Json], spaces.Space[Any]]
    codec: Callable[[Any], codecs.Codec]
    spend: Callable[[Json, Document], None]


def describe_space(space: spaces.Space[Any]) -> Json:
    """Return the JSON description of a space.

    A subclass of one of Gymnasium's spaces is described as that space, and any other space whose samples are
    strings as text: see `standard_space`.

    Raises:
        SchemaError: The protocol does not support this kind of space.
    """
    known = standard_space(space)
    kind = _kind_of(known)
    name = next(name for name, known_kind in _KINDS.items() if known_kind is kind)
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


def build_space(description: Json, within: Document | None = None) -> spaces.Space[Any]:
    """Return the space of a description; it equals (``==``) the described one, and samples the same.

    Args:
        description: What `describe_space` returned.
        within: The document of the schema that has the description, which bounds the work.

    Raises:
        SchemaError: `describe_space` did not make the description, or the space is too large.
    """
    if not isinstance(description, dict):
        raise SchemaError(f"Not the description of a space: {excerpt(description)}")
    _spend_on(description, Document(description, within))
    space = _built(description)
    check_samples(space, SPACE_KEYWORD)
    return space


def _spend_on(description: Json, document: Document) -> None:
    """Count the work for a space and for those inside it, before they are built."""
    pending: list[tuple[Any, int]] = [(description, 1)]
    while pending:
        part, level = pending.pop()
        if level > MOST_LEVELS:
            raise too_deep(SPACE_KEYWORD)
        if isinstance(part, list):
            pending += [(inner, level) for inner in part if isinstance(inner, list)]
            pending += [(inner, level + 1) for inner in part if isinstance(inner, dict)]
            document.spend(len(part) // _VALUES_OF_A_UNIT, SPACE_KEYWORD)
        elif isinstance(part, dict):
            document.spend(_WORK, SPACE_KEYWORD)
            kind = part.get("type")
            if isinstance(kind, str) and kind in _KINDS:
                _KINDS[kind].spend(part, document)
            pending += [(inner, level + 1) for inner in part.values() if isinstance(inner, dict | list)]


def _no_more(description: Json, document: Document) -> None:
    """Count no more work than for the description itself."""


def _spend_on_array(description: Json, document: Document) -> None:
    shape, dtype = description.get("shape"), description.get("dtype", "int8")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise SchemaError(f"Not the description of a space, with this shape: {excerpt(shape)}")
    document.spend_on_array(math.prod(shape) * _number_type(dtype).itemsize, SPACE_KEYWORD)


def _spend_on_characters(description: Json, document: Document) -> None:
    document.spend(len(str(description.get("characters"))) // _CHARACTERS_OF_A_UNIT, SPACE_KEYWORD)


def _number_type(name: Any) -> np.dtype[Any]:
    dtype = np.dtype(name) if isinstance(name, str) and name in _NUMBER_TYPES else None
    if dtype is None:
        raise SchemaError(f"Not the description of a space, with this dtype: {excerpt(name)}")
    return dtype


def _built(description: Json) -> spaces.Space[Any]:
    kind = description.get("type") if isinstance(description, dict) else None
    if isinstance(kind, str) and kind not in _KINDS:
        raise SchemaError(
            f"The server declares a space of the kind {excerpt(kind)}, which this version does not know. It "
            f"knows {', '.join(_KINDS)}.",
            advice="If the server has a newer version: pip install -U openenv-gym.",
        )
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
    dtype, shape = _number_type(description["dtype"]), tuple(description["shape"])
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


def _build_text(description: Json) -> spaces.Space[Any]:
    longest = description["max_length"]
    kind = spaces.Text if longest <= _LONGEST_SAMPLED else BriefText
    return kind(longest, min_length=description["min_length"], charset=description["characters"])


def _describe_dict(space: spaces.Dict) -> Json:
    return {"spaces": [[name, describe_space(part)] for name, part in space.spaces.items()]}


def _build_dict(description: Json) -> spaces.Space[Any]:
    return ordered_dict({name: _built(part) for name, part in description["spaces"]})


_KINDS: dict[str, _Kind] = {
    "Box": _Kind(
        spaces.Box,
        _describe_box,
        _build_box,
        lambda space: codecs.ArrayCodec(space) if space.shape else codecs.NumberCodec(space),
        _spend_on_array,
    ),
    "Discrete": _Kind(
        spaces.Discrete,
        lambda space: {"n": int(space.n), "start": int(space.start), "dtype": space.dtype.name},
        lambda d: spaces.Discrete(d["n"], start=d["start"], dtype=_number_type(d["dtype"]).type),
        codecs.IntegerCodec,
        _no_more,
    ),
    "MultiDiscrete": _Kind(
        spaces.MultiDiscrete,
        lambda space: {
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": space.dtype.name,
        },
        lambda d: spaces.MultiDiscrete(
            np.array(d["nvec"]), dtype=_number_type(d["dtype"]).type, start=np.array(d["start"])
        ),
        codecs.ArrayCodec,
        _no_more,
    ),
    "MultiBinary": _Kind(
        spaces.MultiBinary,
        lambda space: {"shape": list(space.shape), "flat": isinstance(space.n, int)},
        lambda d: spaces.MultiBinary(d["shape"][0] if d["flat"] else d["shape"]),
        codecs.ArrayCodec,
        _spend_on_array,
    ),
    "Text": _Kind(
        spaces.Text,
        _describe_text,
        _build_text,
        codecs.TextCodec,
        _spend_on_characters,
    ),
    "UnicodeText": _Kind(
        UnicodeText,
        lambda space: {"min_length": space.min_length, "max_length": space.max_length},
        lambda d: UnicodeText(d["min_length"], d["max_length"]),
        codecs.TextCodec,
        _no_more,
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
        _no_more,
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
        _no_more,
    ),
    "JsonText": _Kind(
        JsonText,
        lambda space: {"examples": [json.loads(example) for example in space.examples]},
        lambda d: JsonText(d["examples"]),
        codecs.JsonTextCodec,
        _no_more,
    ),
    "Tuple": _Kind(
        spaces.Tuple,
        lambda space: {"spaces": [describe_space(part) for part in space.spaces]},
        lambda d: spaces.Tuple([_built(part) for part in d["spaces"]]),
        lambda space: codecs.TupleCodec([codec_from_space(part) for part in space.spaces], space),
        _no_more,
    ),
    "Dict": _Kind(
        spaces.Dict,
        _describe_dict,
        _build_dict,
        lambda space: codecs.DictCodec(
            {name: codec_from_space(part) for name, part in space.spaces.items()}, space
        ),
        _no_more,
    ),
    "Sequence": _Kind(
        spaces.Sequence,
        lambda space: {"space": describe_space(space.feature_space), "stack": space.stack},
        lambda d: spaces.Sequence(_built(d["space"]), stack=d["stack"]),
        lambda space: codecs.SequenceCodec(codec_from_space(space.feature_space), space),
        _no_more,
    ),
    "BoundedSequence": _Kind(
        BoundedSequence,
        lambda space: {
            "space": describe_space(space.feature_space),
            "min_length": space.min_length,
            "max_length": space.max_length,
            **({"unique": True} if space.unique else {}),
        },
        lambda d: BoundedSequence(
            _built(d["space"]), d["min_length"], d["max_length"], unique=bool(d.get("unique"))
        ),
        lambda space: codecs.SequenceCodec(codec_from_space(space.feature_space), space),
        _no_more,
    ),
    "OneOf": _Kind(
        spaces.OneOf,
        lambda space: {"spaces": [describe_space(part) for part in space.spaces]},
        lambda d: spaces.OneOf([_built(part) for part in d["spaces"]]),
        lambda space: codecs.OneOfCodec([codec_from_space(part) for part in space.spaces], space),
        _no_more,
    ),
    "Graph": _Kind(
        spaces.Graph,
        lambda space: {
            "node_space": describe_space(space.node_space),
            "edge_space": None if space.edge_space is None else describe_space(space.edge_space),
        },
        lambda d: spaces.Graph(
            _built(d["node_space"]),
            None if d["edge_space"] is None else _built(d["edge_space"]),
        ),
        lambda space: codecs.GraphCodec(
            space,
            codec_from_space(space.node_space),
            None if space.edge_space is None else codec_from_space(space.edge_space),
        ),
        _no_more,
    ),
}
