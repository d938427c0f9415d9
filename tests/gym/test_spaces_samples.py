"""What a space samples, the model takes: enums and flags, patterns, formats, examples and free JSON."""

from __future__ import annotations

import copy
import datetime
import enum
import json
import pickle
import re
import uuid
from decimal import Decimal
from importlib import import_module
from ipaddress import IPv4Network, IPv6Interface
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import pytest
from gymnasium import spaces
from pydantic import BaseModel, Field, create_model

from openenv_gym.spaces import (
    JsonText,
    PatternText,
    action_codec,
    build_space,
    describe_space,
    observation_codec,
)
from openenv_gym.spaces.patterns import PatternSampler
from openenv_gym.types import Action, Observation

NEW_YEAR = datetime.datetime(2040, 1, 1)


class Heading(enum.IntEnum):
    UP = 0
    NORTH = 0
    DOWN = 1


class Access(enum.IntFlag):
    R = 1
    W = 2
    X = 4


class Sparse(enum.Flag):
    NONE = 0
    LOW = 1
    HIGH = 8


class Expression(BaseModel):
    operator: Literal["add"]
    operands: list[Expression | int] = Field(min_length=2)


def sent(kind: Any) -> type[Action]:
    return create_model("Sent", __base__=Action, x=(kind, ...))


def samples(kind: Any, count: int = 30) -> list[Any]:
    """Sampled payloads, each of which the model takes."""
    model = sent(kind)
    codec = action_codec(model.model_json_schema())
    codec.space.seed(7)
    payloads = [codec.encode(codec.space.sample()) for _ in range(count)]
    for payload in payloads:
        model.model_validate_json(json.dumps(payload))
    return [payload["x"] for payload in payloads]


def test_equal_values_of_an_enum_are_one() -> None:
    assert action_codec(sent(Heading).model_json_schema()).space == spaces.Discrete(2)
    schema = {"properties": {"x": {"enum": [0, False, 0.0, "0", None, "0", 1]}}}
    codec = action_codec(schema)
    assert codec.space == spaces.Discrete(5)
    assert [codec.encode(index)["x"] for index in range(5)] == [0, False, "0", None, 1]
    assert codec.decode({"x": 1.0}) == 4


@pytest.mark.parametrize(
    ("kind", "space", "value", "element"),
    [
        (Access, spaces.Discrete(8), Access.R | Access.W, 3),
        (Access, spaces.Discrete(8), Access(0), 0),
        (Sparse, spaces.Discrete(4), Sparse.LOW | Sparse.HIGH, 3),
        (
            Access | None,
            spaces.OneOf([spaces.Discrete(8), spaces.Discrete(1)]),
            Access.R | Access.X,
            (0, 5),
        ),
    ],
    ids=repr,
)
def test_combinations_of_flags_are_in_the_space(kind: Any, space: Any, value: Any, element: Any) -> None:
    seen = create_model("Seen", __base__=Observation, x=(kind, ...))
    codec = observation_codec(seen.model_json_schema(mode="serialization"))
    assert codec.space == space
    assert codec.decode(seen(x=value).model_dump(mode="json")) == element
    assert len(set(map(str, samples(kind, 100)))) >= 4


@pytest.mark.parametrize(
    ("pattern", "bounds"),
    [
        ("^[a-z]+$", {"min_length": 5, "max_length": 5}),
        (r"^\d{3}-\d{4}$", {}),
        ("^[a-h][1-8][a-h][1-8][qrbn]?$", {}),
        (r"^\S+@\S+\.[a-z]{2,}$", {"max_length": 20}),
        ("[aeiou]", {"min_length": 5}),
        (r"^\p{Lu}[\p{L} ]*\z", {"min_length": 3, "max_length": 9}),
        ("^(a|bb|ccc)+$", {"min_length": 7, "max_length": 7}),
        ("^[a-z]+(-[a-z]+)*$", {"min_length": 11, "max_length": 11}),
        ("^(?i:yes|no)$", {}),
        ("^[^x]*$", {"min_length": 3}),
        ("^[א-ת]{2,}$", {}),
        ("^$|^#[0-9a-f]{6}$", {}),
    ],
)
def test_samples_match_a_pattern_and_its_lengths(pattern: str, bounds: dict[str, int]) -> None:
    found = samples(Annotated[str, Field(pattern=pattern, **bounds)])
    assert len(set(found)) > 1


def test_a_pattern_that_looks_ahead_or_back_is_matched_too() -> None:
    random = np.random.default_rng(0)
    for pattern in (r"^(?=.*[A-Z])(?=.*\d).{8,}$", r"^(ab){2,3}c\1$", r"^(?<year>\d{4})-\d\d$"):
        sampler = PatternSampler(pattern)
        assert all(re.search(sampler._regex, sampler.sample(random)) for _ in range(20))


@pytest.mark.parametrize("pattern", ["(", r"^\p{Han}+$", "^a{5}$", "a{1000000}", "^(?!)$"])
def test_a_pattern_that_cannot_be_sampled_leaves_any_text(pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern, "maxLength": 4}
    codec = action_codec({"properties": {"x": schema, "y": {"type": "boolean"}}})
    assert not isinstance(codec.space["x"], PatternText)
    assert codec.space.sample() in codec.space
    with_default = {"properties": {"x": {**schema, "default": "ok"}, "y": {"type": "boolean"}}}
    assert action_codec(with_default).space.sample()["x"] == "ok"


def test_pythons_parser_of_patterns_is_as_we_know_it() -> None:
    """It is private, and `patterns` relies on these names."""
    parse = import_module("re._parser").parse
    tree = parse(r"^a.[b-d\d]?(?:e|f)(g)\1[^h](?>i)j*?$")
    assert int(tree.getwidth()[0]) == 7
    assert [str(operation) for operation, _ in tree] == [
        *(
            "AT",
            "LITERAL",
            "ANY",
            "MAX_REPEAT",
            "IN",
            "SUBPATTERN",
            "GROUPREF",
            "NOT_LITERAL",
            "ATOMIC_GROUP",
        ),
        *("MIN_REPEAT", "AT"),
    ]


def test_the_space_of_a_pattern_is_copied_pickled_and_described() -> None:
    space = PatternText("^[a-z]+$", 2, 5, seed=3)
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space)), build_space(describe_space(space))):
        assert twin == space
        twin.seed(3)
        space.seed(3)
        assert twin.sample() == space.sample()
    assert "ÄÖ" in space, "the server's own dialect decides"
    assert "abcdef" not in space


@pytest.mark.parametrize(
    "kind",
    [
        pydantic.UUID1,
        pydantic.UUID4,
        pydantic.UUID7,
        uuid.UUID,
        IPv4Network,
        IPv6Interface,
        pydantic.Json,
        pydantic.Json[dict[str, int]],
        pydantic.Base64Bytes,
        Annotated[pydantic.Base64Str, Field(max_length=8)],
        Decimal,
        Decimal | None,
        int | Decimal | datetime.date,
        float | Annotated[Decimal, Field(ge=0, max_digits=5, decimal_places=2)],
        Annotated[Decimal, Field(ge=0, le=1)],
        Annotated[Decimal, Field(max_digits=4, decimal_places=1)],
        pydantic.NaiveDatetime,
        pydantic.AwareDatetime,
        pydantic.FutureDatetime,
        Annotated[
            datetime.datetime, Field(ge=datetime.datetime(2040, 1, 1), lt=datetime.datetime(2041, 1, 1))
        ],
        Annotated[datetime.date, Field(gt=datetime.date(2040, 1, 1))],
        Annotated[datetime.timedelta, Field(gt=datetime.timedelta(0), le=datetime.timedelta(seconds=1))],
        pydantic.PostgresDsn,
        pydantic.WebsocketUrl,
        list[pydantic.UUID4],
        dict[uuid.UUID, int],
        dict[Literal["a", "b"], bool],
        dict[int, str],
        Annotated[dict[str, int], Field(min_length=2)],
        Annotated[set[Literal["a", "b", "c"]], Field(min_length=2)],
        Annotated[set[bool], Field(min_length=2, max_length=2)],
        Annotated[dict[Annotated[str, Field(pattern="^k[0-9]$")], float], Field(min_length=1)],
        Expression,
    ],
    ids=str,
)
def test_samples_are_accepted(kind: Any) -> None:
    assert samples(kind)


def test_examples_are_sampled() -> None:
    assert set(samples(Annotated[str, Field(examples=["crane", "slate"])])) == {"crane", "slate"}
    assert set(samples(Annotated[str, Field(examples=["crane", "no"], min_length=5)])) == {"crane"}
    calls = [{"tool": "search", "q": "x"}, {"tool": "open", "n": 1}]
    assert all(sample in calls for sample in samples(Annotated[dict[str, Any], Field(examples=calls)]))


def test_free_json_is_not_always_empty() -> None:
    assert {} in samples(dict[str, int])
    assert any(samples(dict[str, int]))
    assert any(samples(dict[str, Any]))


def test_samples_of_json_are_the_same_in_each_process() -> None:
    one, other = (action_codec(sent(dict[str, int]).model_json_schema()).space for _ in range(2))
    assert isinstance(one, JsonText)
    assert isinstance(other, JsonText)
    assert one.examples == other.examples
