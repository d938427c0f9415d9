"""A union's branch is that of the payload's JSON type, and NaN stays NaN."""

from __future__ import annotations

import json
import math
import sys
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field, create_model

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import observation_codec
from openenv_gym.types import Observation

NAN = math.nan


class Inner(BaseModel):
    a: float = NAN
    b: int | None = None


class Link(BaseModel):
    parent: Link | None = None
    n: int = 0


class Wide(BaseModel):
    x: float
    y: float = 0.0


class Narrow(BaseModel):
    x: float


def seen(kind: Any, value: Any) -> Any:
    """Observe a value as version 2 sends it."""
    model = create_model("Seen", __base__=Observation, x=(kind, ...), other=(bool, True))
    codec = observation_codec(model.model_json_schema(mode="serialization"))
    element = codec.decode(model(x=value).model_dump(mode="json"))["x"]
    return plain(element)


def plain(element: Any) -> Any:
    match element:
        case tuple():
            return tuple(map(plain, element))
        case dict():
            return {name: plain(part) for name, part in element.items()}
        case np.ndarray() | np.generic():
            return element.tolist()
    return element


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (dict | None, None, (1, 0)),
        (dict | None, {"a": 1}, (0, '{"a":1}')),
        (dict | str, "abc", (1, "abc")),
        (dict | str, {"a": 1}, (0, '{"a":1}')),
        (list | dict | str, "[]", (2, "[]")),
        (int | bool, True, (1, 1)),
        (bool | int, 1, (1, 1)),
        (int | float, 1, (0, 1)),
        (int | float, 1.0, (1, 1.0)),
        (float | int, 1, (1, 1)),
        (str | int | None, None, (2, 0)),
        (Any | int, 3, (1, 3)),
        (Any | int, "3", (0, '"3"')),
        (Any | None, None, (1, 0)),
        (list[float] | list[int], [1, 2], (1, (1, 2))),
        (str | Literal["a"], "b", (0, "b")),
        (Wide | Narrow, Narrow(x=1), (1, {"x": 1.0})),
        (Annotated[int, Field(ge=0, le=3)] | None, 3, (0, 3)),
        (Annotated[int, Field(le=5)] | float, 7.0, (1, 7.0)),
    ],
    ids=repr,
)
def test_the_branch_of_the_json_type(kind: Any, value: Any, expected: Any) -> None:
    assert seen(kind, value) == expected


def test_a_recursive_parent_that_is_none() -> None:
    assert seen(Link, Link()) == {"parent": (1, 0), "n": 0}
    assert seen(Link, Link(parent=Link())) == {"parent": (0, '{"n":0,"parent":null}'), "n": 0}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (float | None, NAN, (0, NAN)),
        (int | float, NAN, (1, NAN)),
        (str | float | None, -math.inf, (1, -math.inf)),
        (list[float | None], [NAN, None, 1.0], ((0, NAN), (1, 0), (0, 1.0))),
        (list[float] | None, [NAN, 1.0], (0, (NAN, 1.0))),
        (Inner | None, Inner(), (0, {"a": NAN, "b": (1, 0)})),
        (Wide | Narrow, Narrow(x=NAN), (1, {"x": NAN})),
        (list[str] | list[float], [NAN], (1, (NAN,))),
    ],
    ids=repr,
)
def test_nan_stays_nan(kind: Any, value: Any, expected: Any) -> None:
    assert repr(seen(kind, value)) == repr(expected)


def test_free_json_has_null_for_nan_as_pydantic_dumps_it() -> None:
    assert seen(dict[str, float], {"a": NAN}) == '{"a":null}'
    assert seen(Any, [math.inf]) == "[null]"


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (int, 2**64 - 1, "x"),
        (int, sys.maxsize, "x"),
        (int, -(2**70), "x"),
        (list[int], [0, 2**63], r"x: \[1\]"),
        (tuple[str, int], ("a", sys.maxsize), r"x: \[1\]"),
        (int | None, 2**70, "x"),
        (Annotated[int, Field(ge=0, le=2**80)], 2**70, "x"),
        (Annotated[list[int], Field(min_length=1, max_length=1)], [sys.maxsize], "x"),
    ],
    ids=repr,
)
def test_an_integer_that_no_space_holds_is_named_with_its_field(kind: Any, value: Any, where: str) -> None:
    number = next(part for part in (value if isinstance(value, list | tuple) else [value])[::-1])
    with pytest.raises(SpaceError, match=rf"^{where}: .*{number}.* does not fit"):
        seen(kind, value)


def test_free_json_holds_integers_of_any_size() -> None:
    assert seen(dict[str, Any], {"id": 2**70}) == json.dumps({"id": 2**70}, separators=(",", ":"))
