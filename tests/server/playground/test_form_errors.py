"""The errors of Pydantic stand at the fields they are about."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from openenv_server.playground.field_errors import errors_by_path
from openenv_server.playground.schema_fields import field_of_action
from openenv_server.schemas import action_schema
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openenv_gym.types import Action


class Click(BaseModel):
    kind: Literal["click"] = "click"
    x: int = Field(ge=0)


class Say(BaseModel):
    kind: Literal["say"] = "say"
    text: str = Field(min_length=1)


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")

    x: int


class Everything(Action):
    name: str = Field(min_length=2)
    do: Annotated[Click | Say, Field(discriminator="kind")] = Click(x=0)
    value: int | Point = 0
    points: list[Point] = Field(default=[])
    pair: tuple[int, str] = (0, "")
    bet: Annotated[int, Field(ge=1)] | None = None


def places(model: type[BaseModel] = Everything, **action: Any) -> dict[Any, list[str]]:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(action)
    errors = json.loads(refused.value.json())
    return errors_by_path(errors, field_of_action(action_schema(model)), action)


def test_an_error_stands_at_its_field() -> None:
    assert places(name="a") == {("name",): ["String should have at least 2 characters"]}
    assert list(places(name="ab", points=[{"x": 1}, {"x": "b"}])) == [("points", 1, "x")]
    assert list(places(name="ab", pair=["b", "c"])) == [("pair", 0)]
    assert list(places(name="ab", bet=0)) == [("bet",)]


def test_a_missing_part_has_its_error_too() -> None:
    assert places() == {("name",): ["Field required"]}


def test_the_tag_of_a_variant_is_no_part_of_the_path() -> None:
    assert list(places(name="ab", do={"kind": "say", "text": ""})) == [("do", "text")]
    assert list(places(name="ab", do={"kind": "click", "x": -1})) == [("do", "x")]


def test_errors_of_variants_that_are_not_shown_stand_at_the_union() -> None:
    found = places(name="ab", value={"x": "b"})
    assert list(found) == [("value",), ("value", "x")]
    assert found["value",] == ["int: Input should be a valid integer"]


def test_an_unknown_variant_is_an_error_of_the_union() -> None:
    ((path, (message,)),) = places(name="ab", do={"kind": "fly"}).items()
    assert path == ("do",)
    assert "'fly'" in message


def test_an_unknown_part_is_named_at_its_group() -> None:
    found = places(name="ab", points=[{"x": 1, "z": 2}])
    assert found == {("points", 0): ["z: Extra inputs are not permitted"]}


def test_an_error_of_no_field_stands_at_the_top() -> None:
    field = field_of_action(action_schema(Everything))
    errors = [{"loc": [], "msg": "It is not your turn"}, {"loc": ["metadata", "a"], "msg": "Too long"}, {}]
    assert errors_by_path(errors, field, {"name": "ab"}) == {
        (): ["It is not your turn", "metadata.a: Too long", "Invalid"]
    }
