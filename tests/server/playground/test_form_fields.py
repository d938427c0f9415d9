"""The fields of a form, for the schemas of actions as people write them and for any."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from openenv_server.playground.fields import (
    MISSING,
    Boolean,
    Choice,
    Constant,
    Field,
    Group,
    Json,
    Number,
    Optional,
    Places,
    Rows,
    Text,
    Union,
    fits,
    initial,
    is_near,
)
from openenv_server.playground.schema_fields import field_of_action, field_of_space
from openenv_server.schemas import action_schema
from pydantic import BaseModel
from pydantic import Field as F

from openenv_gym.errors import SchemaError
from openenv_gym.spaces import compile_action, describe_space
from openenv_gym.types import Action, Array
from tests.support.each_kind import EACH_KIND
from tests.support.models import Made, models
from tests.support.realistic import ENVIRONMENTS, BrowserAction, Dom, PokerBet, TradeOrder

SPACES = [
    *EACH_KIND.values(),
    spaces.Discrete(4),
    spaces.Discrete(40, start=-5),
    spaces.Box(-1, 1, (), np.float32),
    spaces.Box(-np.inf, np.inf, (3,), np.float64),
    spaces.Box(np.array([0, -2]), np.array([1, 5]), dtype=np.int64),
    spaces.Box(0, 255, (4, 5), np.uint8),
    spaces.MultiDiscrete([3, 2]),
    spaces.MultiDiscrete([[3, 2], [4, 5]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary([2, 2]),
    spaces.Text(8),
    spaces.Text(1000, min_length=2),
    spaces.Tuple([spaces.Discrete(2), spaces.Text(3)]),
    spaces.Dict(a=spaces.Discrete(2), b=spaces.Dict(c=spaces.Box(0, 1, (2,)))),
    spaces.Sequence(spaces.Discrete(3)),
    spaces.OneOf([spaces.Discrete(2), spaces.Text(3)]),
    spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(3)),
]
SHELF = [
    {
        "name": "put",
        "description": "Put an item on the shelf.",
        "input_schema": {
            "type": "object",
            "properties": {"item": {"type": "string"}, "count": {"type": "integer", "default": 1}},
            "required": ["item"],
        },
    },
    {"name": "look", "description": "", "inputSchema": {}},
]
CALLS = {
    "properties": {
        "type": {"const": "call_tool"},
        "tool_name": {"type": "string"},
        "arguments": {"type": "object"},
    }
}


def parts_of(action: Any) -> dict[str, Field]:
    field = field_of_action(action_schema(action) if isinstance(action, type) else action)
    assert isinstance(field, Group)
    return {part.name: part.field for part in field.parts}


def part(annotation: Any, default: Any = ...) -> Field:
    """The field of one part of an action."""
    model = type("Made", (Action,), {"__annotations__": {"it": annotation}, "it": default})
    return parts_of(model)["it"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_form_shows_every_action_of_realistic_environments(name: str) -> None:
    shows_all(ENVIRONMENTS[name].model_json_schema())


@settings(max_examples=settings.default.max_examples // 3)
@given(made=models())
def test_a_form_shows_every_action_of_any_model(made: Made) -> None:
    shows_all(made.model.model_json_schema())


def shows_all(schema: dict[str, Any]) -> None:
    """A new form fits the schema, and so does each sample, in all parts: nothing has to be shown as JSON."""
    field = field_of_action(schema)
    codec = compile_action(schema).codec
    codec.space.seed(1)
    assert fits(field, initial(field))
    for _ in range(3):
        payload = codec.encode(codec.space.sample())
        assert fits(field, payload), payload


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_form_shows_every_space(space: Any) -> None:
    schema = {"properties": {"action": {"x-gymnasium-space": describe_space(space)}}, "required": ["action"]}
    shows_all(schema)


def test_each_kind_of_schema_is_a_field_of_its_kind() -> None:
    assert part(str) == Text("It", "")
    assert part(int) == Number("It", "", True)
    assert part(Annotated[float, F(ge=0, lt=2)]) == Number("It", "", False, 0, 2)
    assert part(Annotated[int, F(gt=0, lt=9)]) == Number("It", "", True, 1, 8)
    assert part(bool) == Boolean("It", "")
    assert part(Literal["a", 2]) == Choice("It", "", ("a", 2), ("a", "2"))
    assert part(Literal["a"]) == Constant("It", "", "a")
    assert part(list[str]) == Rows("It", "", Text("Item", ""), 0, None)
    assert part(tuple[int, bool]) == Places("It", "", (Number("1", "", True), Boolean("2", "")))
    assert part(dict[str, Any]) == Json("It", "", {})
    assert part(Any) == Json("It", "")
    assert part(int | None, None) == Optional("It", "", Number("It", "", True), None)


def test_long_texts_and_code_have_several_lines() -> None:
    class Written(Action):
        name: str
        code: str
        source_code: str
        essay: str = F(max_length=5000)

    found = {name: (field.is_long, field.is_code) for name, field in parts_of(Written).items()}  # type: ignore[attr-defined]
    assert found == {
        "name": (False, False),
        "code": (True, True),
        "source_code": (True, True),
        "essay": (True, False),
    }


def test_a_text_shows_an_example() -> None:
    chess = parts_of(ENVIRONMENTS["ChessMove"])["uci"]
    assert isinstance(chess, Text)
    assert (chess.hint, chess.longest) == ("e2e4", 5)
    assert parts_of(TradeOrder)["symbol"].hint == "^[A-Z]{1,5}$"  # type: ignore[attr-defined]


def test_an_integer_whose_description_names_its_values_is_a_choice() -> None:
    move = part(Annotated[int, F(ge=0, le=3, description="0 up, 1 turn right, 2: down and 3 = left")])
    assert isinstance(move, Choice)
    assert (move.values, move.names) == ((0, 1, 2, 3), ("up", "turn right", "down", "left"))
    others = "0 up, 1 right", "from 0 to 3", "0 up, 1 right, 2 down, 3 left, 4 stay"
    assert all(isinstance(part(Annotated[int, F(ge=0, le=3, description=text)]), Number) for text in others)


def test_small_arrays_have_a_number_for_each_place_and_large_ones_are_json() -> None:
    arm = part(Annotated[np.ndarray, Array(np.float32, (3,), low=-1, high=2)])
    assert isinstance(arm, Places)
    assert [(item.low, item.high) for item in arm.items] == [(-1, 2)] * 3  # type: ignore[attr-defined]
    image = part(Annotated[np.ndarray, Array(np.uint8, (2, 3, 1))])
    assert image == Json("It", "Numbers of the shape 2 by 3 by 1", [[[0], [0], [0]], [[0], [0], [0]]])


def test_a_declared_space_has_the_name_of_its_part_and_says_what_it_is() -> None:
    space = {"x-gymnasium-space": {"type": "Discrete", "n": 40, "start": 0}, "title": "Discrete(40)"}
    field = parts_of({"properties": {"seat": space}, "required": ["seat"]})["seat"]
    assert field == Number("Seat", "Discrete(40)", True, 0, 39)


def test_bounds_of_a_space_may_differ_by_place() -> None:
    space = {"type": "Box", "low": [-1, "-Infinity"], "high": 2.5, "shape": [2], "dtype": "float32"}
    found = field_of_space(space, "Torques")
    assert [(item.low, item.high) for item in found.items] == [(-1, 2.5), (None, 2.5)]  # type: ignore[attr-defined]
    counts = field_of_space({"type": "MultiDiscrete", "nvec": [3, 2], "start": [0, 5]}, "Counts")
    assert [(item.low, item.high) for item in counts.items] == [(0, 2), (5, 6)]  # type: ignore[attr-defined]


def test_defaults_fill_a_new_form() -> None:
    class Spoken(Action):
        text: str = "hello"
        volume: float = F(0.5, ge=0, le=1)
        to: str | None = None
        tone: Literal["calm", "loud"] = "loud"
        tags: list[str] = F(default_factory=list)
        pitch: int = F(ge=3, le=5)
        low: int = F(le=-2)

    assert initial(field_of_action(action_schema(Spoken))) == {
        "text": "hello",
        "volume": 0.5,
        "to": None,
        "tone": "loud",
        "pitch": 3,
        "low": -2,
    }


def test_a_default_that_the_form_cannot_show_is_left_out() -> None:
    schema = {"properties": {"n": {"type": "integer", "default": "many"}, "m": {"type": "string"}}}
    assert initial(field_of_action(schema)) == {}


def test_a_default_that_a_browser_would_round_is_left_to_the_server() -> None:
    class Large(Action):
        seed: int = 2**60 + 1
        ids: list[int] = F([1, -(2**53)])
        small: int = 2**53 - 1

    field = field_of_action(action_schema(Large))
    assert initial(field) == {"small": 2**53 - 1}
    assert all(isinstance(parts_of(Large)[name], Optional) for name in ("seed", "ids"))


def test_choices_have_different_names() -> None:
    assert part(Literal["a", 1, "1"]) == Choice("It", "", ("a", 1, "1"), ('"a"', "1", '"1"'))


def test_one_of_several_spaces_is_a_union() -> None:
    space = describe_space(spaces.OneOf([spaces.Discrete(2), spaces.Text(3)]))
    field = field_of_space(space, "It")
    assert isinstance(field, Union)
    assert [variant.name for variant in field.variants] == ["0 Discrete", "1 Text"]
    assert initial(field) == [0, 0]
    assert field.index([1, "a"]) == 1


def test_a_part_that_is_not_required_is_optional() -> None:
    bet = parts_of(PokerBet)["amount"]
    assert isinstance(bet, Optional)
    assert not bet.is_on(None)
    assert not bet.is_on(MISSING)
    assert bet.is_on(5)
    extra = part(dict[str, Any], F(default_factory=dict))
    assert isinstance(extra, Optional)
    assert extra.off is MISSING


def test_the_variant_of_a_payload_is_found() -> None:
    do = parts_of(BrowserAction)["do"]
    assert isinstance(do, Union)
    assert [variant.name for variant in do.variants] == ["click", "type", "scroll"]
    assert do.index({"kind": "type", "text": "a"}) == 1
    assert do.index({"kind": "click", "x": "wrong"}) == 0
    assert do.index({"kind": "fly"}) is None
    assert do.index(3) is None


def test_variants_without_a_discriminator_are_told_apart_by_their_parts() -> None:
    class One(BaseModel):
        x: int

    class Other(BaseModel):
        y: str

    both = part(One | Other | int | str)
    assert isinstance(both, Union)
    assert [variant.name for variant in both.variants] == ["One", "Other", "Whole number", "Text"]
    assert [both.index(value) for value in ({"x": 1}, {"y": "a"}, 3, "b")] == [0, 1, 2, 3]


def test_types_in_a_list_are_variants() -> None:
    found = parts_of({"properties": {"it": {"type": ["integer", "string", "null"]}}, "required": ["it"]})[
        "it"
    ]
    assert isinstance(found, Optional)
    assert [variant.name for variant in found.inner.variants] == ["Whole number", "Text"]  # type: ignore[attr-defined]


def test_a_recursive_schema_is_followed_as_deep_as_its_payload() -> None:
    field = field_of_action(Dom.model_json_schema())
    leaf: dict[str, Any] = {"tag": "b", "text": "", "children": []}
    for _ in range(30):
        leaf = {"tag": "a", "text": "", "children": [leaf]}
    assert fits(field, {"root": leaf})
    assert not fits(field, {"root": {"tag": "a", "text": "", "children": [{"tag": 3}]}})
    assert initial(field)["root"] == {"tag": "", "text": ""}


def test_a_form_of_tools_chooses_one_and_has_its_arguments() -> None:
    calls = field_of_action(CALLS, SHELF)
    assert isinstance(calls, Union)
    assert [variant.name for variant in calls.variants] == ["put", "look"]
    assert calls.variants[0].field.description == "Put an item on the shelf."
    assert initial(calls) == {"type": "call_tool", "tool_name": "put", "arguments": {"item": "", "count": 1}}
    assert calls.index({"type": "call_tool", "tool_name": "look", "arguments": {}}) == 1
    assert calls.index({"type": "list_tools"}) is None


def test_metadata_is_not_in_the_form() -> None:
    assert list(parts_of(PokerBet)) == ["kind", "amount"]


def test_labels_are_titles_or_the_names_of_properties() -> None:
    fields = parts_of(
        {"properties": {"offer_draw": {"type": "boolean"}, "n": {"type": "integer", "title": "Count"}}}
    )
    assert [field.label for field in fields.values()] == ["Offer draw", "Count"]


def test_true_is_no_number_and_one_no_boolean() -> None:
    assert not is_near(Number("", ""), True)
    assert not is_near(Boolean("", ""), 1)
    assert Choice("", "", (1, True), ("1", "true")).index(True) == 1
    assert Choice("", "", (1.0, 2.0), ("1.0", "2.0")).index(2) == 1
    assert is_near(Number("", "", True), 2.0)
    assert not is_near(Number("", ""), float("nan"))


def test_a_wrong_schema_is_refused() -> None:
    with pytest.raises(SchemaError):
        field_of_action({"properties": 3})
