"""Schemas become spaces, elements become payloads, and both come back."""

from __future__ import annotations

import copy
import json
import pickle
from enum import Enum
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from pydantic import BaseModel, Field

from openenv_gym.errors import SchemaError, SpaceError
from openenv_gym.spaces import (
    BoundedSequence,
    ExampleText,
    JsonText,
    UnicodeText,
    action_codec,
    build_space,
    codec_from_space,
    describe_space,
    observation_codec,
)
from openenv_gym.spaces.custom import ordered_dict
from openenv_gym.types import Action, Observation


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    on: bool
    name: str = Field(min_length=1, max_length=4)


FIELDS: list[tuple[Any, spaces.Space[Any]]] = [
    (bool, spaces.Discrete(2)),
    (Annotated[int, Field(ge=3, le=7)], spaces.Discrete(5, start=3)),
    (Annotated[int, Field(gt=3, lt=7)], spaces.Discrete(3, start=4)),
    (int, spaces.Box(-(2**63), 2**63 - 2, (), np.int64)),
    (Annotated[int, Field(ge=0)], spaces.Box(0, 2**63 - 2, (), np.int64)),
    (float, spaces.Box(-np.inf, np.inf, (), np.float64)),
    (Annotated[float, Field(ge=-1, le=2)], spaces.Box(-1, 2, (), np.float64)),
    (Literal["left", "right", "stay"], spaces.Discrete(3)),
    (Literal["only"], spaces.Discrete(1)),
    (Colour, spaces.Discrete(2)),
    (str, UnicodeText()),
    (Annotated[str, Field(min_length=2, max_length=5)], UnicodeText(2, 5)),
    (
        Annotated[list[float], Field(min_length=3, max_length=3)],
        spaces.Box(-np.inf, np.inf, (3,), np.float64),
    ),
    (
        Annotated[
            list[Annotated[list[Annotated[int, Field(ge=0, le=9)]], Field(min_length=2, max_length=2)]],
            Field(min_length=3, max_length=3),
        ],
        spaces.MultiDiscrete(np.full((3, 2), 10)),
    ),
    (Annotated[list[bool], Field(min_length=4, max_length=4)], spaces.MultiBinary((4,))),
    (
        Annotated[list[str], Field(min_length=2, max_length=2)],
        spaces.Tuple([UnicodeText(), UnicodeText()]),
    ),
    (tuple[bool, Annotated[int, Field(ge=0, le=1)]], spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])),
    (list[bool], spaces.Sequence(spaces.Discrete(2))),
    (Inner, ordered_dict({"on": spaces.Discrete(2), "name": UnicodeText(1, 4)})),
    (dict[str, Any], JsonText()),
    (
        int | None,
        spaces.OneOf([spaces.Box(-(2**63), 2**63 - 2, (), np.int64), spaces.Discrete(1)]),
    ),
]


def model(**fields: Any) -> type[Action]:
    namespace = {"__annotations__": fields, "__module__": __name__}
    return type("Made", (Action,), namespace)


@pytest.mark.parametrize(("kind", "space"), FIELDS, ids=lambda value: str(value)[:40])
def test_each_kind_of_field(kind: Any, space: spaces.Space[Any]) -> None:
    made = model(value=kind)
    codec = action_codec(made.model_json_schema())
    assert codec.space == space
    codec.space.seed(0)
    for _ in range(20):
        element = codec.space.sample()
        payload = codec.encode(element)
        accepted = made.model_validate(payload)
        back = codec.decode(accepted.model_dump(mode="json"))
        assert back in codec.space
        assert codec.encode(back) == payload


def test_fields_keep_the_schemas_order_and_one_field_stands_alone() -> None:
    schema = model(zebra=bool, apple=bool).model_json_schema()
    codec = action_codec(schema)
    assert isinstance(codec.space, spaces.Dict)
    assert list(codec.space.spaces) == ["zebra", "apple"]
    assert action_codec(model(move=bool).model_json_schema()).space == spaces.Discrete(2)


def test_flags_reward_and_metadata_leave_the_observation() -> None:
    class Seen(Observation):
        level: bool

    assert observation_codec(Seen.model_json_schema(mode="serialization")).space == spaces.Discrete(2)


def test_an_authors_own_truncated_stays() -> None:
    schema = {"properties": {"output": {"type": "string"}, "truncated": {"type": "boolean"}, "done": {}}}
    codec = observation_codec(schema)
    assert isinstance(codec.space, spaces.Dict)
    assert list(codec.space.spaces) == ["output", "truncated"]


def test_observations_have_fresh_memory_and_the_right_dtype() -> None:
    codec = observation_codec(
        model(x=Annotated[list[float], Field(min_length=2, max_length=2)]).model_json_schema()
    )
    payload = {"x": [1, 2.5]}
    first, second = codec.decode(payload), codec.decode(payload)
    assert first.dtype == np.float64
    assert first.tolist() == [1.0, 2.5]
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "no field 'on'"),
        ({"on": 3, "name": "x"}, "on: 3 does not fit"),
        ({"on": True, "name": 5}, "name: 5 does not fit"),
        ([], "does not fit"),
    ],
)
def test_a_payload_that_does_not_fit_names_the_field(payload: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        observation_codec(Inner.model_json_schema()).decode(payload)


@pytest.mark.parametrize("reference", ["http://host/schema", "#/$defs/Missing", "file.json"])
def test_references_out_of_the_document_are_refused(reference: str) -> None:
    with pytest.raises(SchemaError, match=r"value: the reference"):
        action_codec({"properties": {"value": {"$ref": reference}, "other": {"type": "boolean"}}})


def test_a_recursive_model_has_a_space() -> None:
    class Tree(Action):
        label: str
        children: list[Tree] = Field(default_factory=list)

    codec = action_codec(Tree.model_json_schema())
    payload = codec.encode(codec.space.sample())
    assert Tree.model_validate(payload)


GYMNASIUM_SPACES: list[spaces.Space[Any]] = [
    spaces.Box(-1, 1, (3, 2), np.float32),
    spaces.Box(np.array([-np.inf, 0]), np.array([1, np.inf]), dtype=np.float64),
    spaces.Box(0, 255, (4, 5, 3), np.uint8),
    spaces.Box(0.1, 0.7, (), np.float32),
    spaces.Discrete(5),
    spaces.Discrete(4, start=-2, dtype=np.int32),
    spaces.MultiDiscrete([3, 4]),
    spaces.MultiDiscrete([[3, 4], [2, 2]], start=[[1, 1], [0, 0]]),
    spaces.MultiBinary(3),
    spaces.MultiBinary((2, 2)),
    spaces.Text(6, min_length=0, charset="abc"),
    UnicodeText(1, 9),
    spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (2,))]),
    spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.MultiBinary(2)})}),
    spaces.Sequence(spaces.Discrete(3)),
    spaces.Sequence(spaces.Box(0, 1, (2,)), stack=True),
    spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1, (2,))]),
    ExampleText(["2024-02-29"], 10, 10),
    JsonText([{"a": 1}]),
    BoundedSequence(spaces.Discrete(3), 1, 4),
    spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(3)),
    spaces.Graph(spaces.Discrete(4), None),
]


@pytest.mark.parametrize("space", GYMNASIUM_SPACES, ids=str)
def test_gymnasiums_spaces_come_back_equal_through_json(space: spaces.Space[Any]) -> None:
    twin = build_space(json.loads(json.dumps(describe_space(space))))
    assert twin == space
    assert twin.dtype == space.dtype
    codec = codec_from_space(space)
    space.seed(1)
    for _ in range(10):
        element = space.sample()
        back = codec.decode(json.loads(json.dumps(codec.encode(element), allow_nan=False)))
        assert back in space
        assert codec.encode(back) == codec.encode(element)


def test_infinities_and_nan_survive_json() -> None:
    codec = codec_from_space(spaces.Box(-np.inf, np.inf, (4,), np.float32))
    element = np.array([np.inf, -np.inf, np.nan, 0.1], np.float32)
    payload = codec.encode(element)
    assert payload[:3] == ["Infinity", "-Infinity", "NaN"]
    assert np.array_equal(codec.decode(payload), element, equal_nan=True)
    assert np.isnan(codec.decode([None, 1, 1, 1])[0])


def test_a_space_of_an_unknown_kind_is_refused() -> None:
    class Own(gym.Space[int]):
        pass

    with pytest.raises(SchemaError, match=r"Own is not one of the spaces that can be sent"):
        describe_space(Own())
    with pytest.raises(SchemaError, match="Not the description"):
        build_space({"type": "Box", "low": 0})


@pytest.mark.parametrize("text", ["", "  ", "日本語 🎲", "\n\t", "a" * 10_000])
def test_text_holds_any_string(text: str) -> None:
    space = UnicodeText()
    assert text in space
    assert copy.deepcopy(space) == space == pickle.loads(pickle.dumps(space))
    assert len(repr(space)) < 60


def test_text_works_in_gymnasiums_batches() -> None:
    space = UnicodeText(0, 5)
    batched = batch_space(space, 3)
    assert ("", "é", "abc") in batched
    assert concatenate(space, ["a", "b"], create_empty_array(space, 2)) == ("a", "b")
    assert "abcdef" not in space


class Speaker(gym.Env[dict[str, Any], int]):
    """Says texts of every kind."""

    TEXTS = ("", "  ", "日本語 🎲", "line\nline", "x" * 70_000)

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({"said": UnicodeText(), "short": UnicodeText(0, 3)})
        self.action_space = spaces.Discrete(len(self.TEXTS))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return {"said": "", "short": "é"}, {}

    def step(self, action: int) -> Any:
        return {"said": self.TEXTS[action], "short": "abc"[:action]}, 0.0, False, False, {}


@pytest.mark.integration
def test_text_works_in_vector_envs() -> None:
    local = gym.vector.SyncVectorEnv([Speaker] * 3)
    beside = gym.vector.AsyncVectorEnv([Speaker] * 3, shared_memory=False)
    try:
        assert beside.reset()[0] == local.reset()[0] == {"said": ("",) * 3, "short": ("é",) * 3}
        for actions in ([0, 1, 2], [3, 4, 0], [1, 1, 1]):
            seen, expected = beside.step(actions)[0], local.step(actions)[0]
            assert seen == expected
            assert seen["said"] == tuple(Speaker.TEXTS[action] for action in actions)
    finally:
        beside.close()


def test_text_in_shared_memory_says_what_to_do() -> None:
    """Gymnasium would show the first text for ever, without a word."""
    with pytest.raises(ValueError, match="shared_memory=False"):
        gym.vector.AsyncVectorEnv([Speaker])


@pytest.mark.parametrize(
    "text", ['{"a":1,"b":1.0,"c":-0.0,"d":[1e-07,123456789012345678901234567890]}', "0.1", "2"]
)
def test_numbers_in_json_text_come_back_as_they_were(text: str) -> None:
    class Free(Action):
        value: Any
        other: bool = True

    codec = action_codec(Free.model_json_schema())
    sent = Free.model_validate_json(json.dumps(codec.encode({"value": text, "other": 1})))
    assert codec.decode(json.loads(sent.model_dump_json()))["value"] == text


def test_json_text_refuses_what_json_cannot_say() -> None:
    assert "NaN" not in JsonText()
    assert "1e999" not in JsonText()


def test_json_text_holds_json_only() -> None:
    space = JsonText([{"a": 1}])
    assert space.sample() == '{"a":1}'
    assert "null" in space
    assert "nul" not in space
    assert 5 not in space


def test_a_field_with_a_default_is_always_sent_and_may_be_missing_when_it_comes_back() -> None:
    class Both(BaseModel):
        words: list[str] = Field(default_factory=list)
        extras: dict[str, Any] = Field(default_factory=dict)
        level: bool = True
        inner: Inner = Field(default_factory=lambda: Inner(on=True, name="x"))

    schema = Both.model_json_schema()
    actions, observations = action_codec(schema), observation_codec(schema)
    assert isinstance(actions.space, spaces.Dict)
    assert isinstance(observations.space, spaces.Dict)
    assert actions.space["inner"] == spaces.Dict({"on": spaces.Discrete(2), "name": UnicodeText(1, 4)})
    assert set(actions.encode(actions.space.sample())) == {"words", "extras", "level", "inner"}
    seen = observations.decode({})
    assert seen == {"words": (), "extras": "{}", "level": 1, "inner": (1, 0)}
    assert seen in observations.space


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"enum": list(range(100_000))}, "x: more than 65,536 labels"),
        (
            {"type": "array", "items": {"type": "number"}, "minItems": 10**10, "maxItems": 10**10},
            "x: an array",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 10**6, "maxItems": 10**6},
            "20,000 parts",
        ),
        (
            {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(30_000)}},
            "20,000 parts",
        ),
        ({"$ref": "https://example.com/schema.json"}, "it is not fetched"),
    ],
    ids=["labels", "array", "tuple", "properties", "reference"],
)
def test_a_hostile_schema_is_refused_quickly_and_with_a_reason(field: dict[str, Any], message: str) -> None:
    import time

    begin = time.process_time()
    with pytest.raises(SchemaError, match=message):
        action_codec({"properties": {"x": field, "y": {"type": "boolean"}}})
    assert time.process_time() - begin < 5


def test_a_schema_that_nests_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(5000):
        schema = {"type": "object", "properties": {"x": schema}}
    with pytest.raises(SchemaError, match="more than 64 levels"):
        action_codec(schema)


def test_references_in_a_circle_have_a_space() -> None:
    schema = {
        "properties": {"x": {"$ref": "#/$defs/A"}, "y": {"type": "boolean"}},
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
    }
    assert isinstance(action_codec(schema).space, spaces.Dict)
