"""Models in every spelling: what a model dumps is what a client sees, and what a space samples, it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import numpy as np
import pytest
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import AliasChoices, AliasPath, Base64Bytes, BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel, to_pascal

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ActionRefusedError, RemoteEnvironmentError
from openenv_gym.types import Array
from tests.support.servers import running, status_of, without_v2


class NoAction(Action):
    go: bool = True


@contextmanager
def serving(
    observe: Callable[[Any], Observation],
    observation_cls: type[Observation],
    action_cls: type[Action] = NoAction,
    *,
    state: State | None = None,
    v2: bool = True,
) -> Iterator[str]:
    """Serve an environment that observes ``observe(action)``; after a reset ``observe(None)``."""

    class Told(Environment[Any, Any, Any]):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def reset(self, seed: int | None = None, **options: Any) -> Any:
            return observe(options or seed)

        def step(self, action: Any) -> Any:
            return observe(action)

        @property
        def state(self) -> State:
            return state or State()

    app = create_app(Told, action_cls, observation_cls, state_cls=type(state) if state else State)
    with running(app if v2 else without_v2(app)) as base_url:
        yield base_url


both_versions = pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])


# --- aliases ----------------------------------------------------------------------------------------------


class Inner(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    deep_val: int


class Camel(Observation):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    my_val: int = 0
    inner_part: Inner = Inner(deep_val=0)
    all_parts: list[Inner] = Field(default_factory=list)
    by_name: dict[str, Inner] = Field(default_factory=dict)


class Pascal(Observation):
    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True)

    my_val: int
    some_frame: Annotated[np.ndarray[Any, Any], Array(np.uint8, (2,))]


class OneWay(Observation):
    out_only: int = Field(serialization_alias="theOut")
    in_only: int = Field(validation_alias="theIn")
    both: int = Field(alias="theBoth")


class PlainNames(Observation):
    model_config = ConfigDict(serialize_by_alias=False, populate_by_name=True)

    my_val: int = Field(alias="my-val")


CAMEL = Camel(
    my_val=3, inner_part=Inner(deep_val=4), all_parts=[Inner(deep_val=5)], by_name={"a": Inner(deep_val=6)}
)
ONE_WAY = OneWay.model_validate({"out_only": 1, "theIn": 2, "theBoth": 3})


@both_versions
@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (
            CAMEL,
            {
                "myVal": 3,
                "innerPart": {"deepVal": 4},
                "allParts": ({"deepVal": 5},),
                "byName": '{"a":{"deepVal":6}}',
            },
        ),
        (
            Pascal(my_val=3, some_frame=np.array([1, 2], np.uint8), done=True, reward=2),
            {"MyVal": 3, "SomeFrame": [1, 2]},
        ),
        (ONE_WAY, {"theOut": 1, "in_only": 2, "theBoth": 3}),
        (PlainNames(my_val=7), 7),
    ],
    ids=["camel", "pascal", "one way", "not by alias"],
)
def test_an_observation_s_fields_have_the_names_of_its_schema(observed: Any, expected: Any, v2: bool) -> None:
    with serving(lambda _: observed, type(observed), v2=v2) as base_url:
        env = RemoteEnv(base_url)
        seen = env.reset()[0]
        assert env.observation_space.contains(seen)
        np.testing.assert_equal(seen, expected)
        _, reward, terminated, _, _ = env.step(env.action_space.sample())
        assert (reward, terminated) == (float(observed.reward or 0), observed.done)
        env.close()
        payload = status_of(f"{base_url}/reset", {})[1]["observation"]
        schema = status_of(f"{base_url}/schema")[1]["observation"]
        assert payload.keys() <= schema["properties"].keys()
        assert {"done", "reward", "metadata"} <= schema["properties"].keys()
        with GenericEnvClient(base_url) as client:
            fields = client.reset().observation
            assert fields.pop("metadata") == {}
            assert fields == {k: v for k, v in payload.items() if k not in ("done", "reward", "metadata")}


@both_versions
def test_a_state_s_fields_have_the_names_of_its_schema(v2: bool) -> None:
    class CamelState(State):
        model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

        best_score: int = 0

    with serving(lambda _: CAMEL, Camel, state=CamelState(best_score=5), v2=v2) as base_url:
        with GenericEnvClient(base_url) as client:
            client.reset()
            assert client.state()["bestScore"] == 5
        assert "bestScore" in status_of(f"{base_url}/schema")[1]["state"]["properties"]


class Go(Action):
    model_config = ConfigDict(alias_generator=to_pascal)

    my_move: int = Field(ge=0, le=9)
    first: int = Field(validation_alias=AliasChoices("firstOne", "first1"), ge=0, le=9)
    second: int = Field(validation_alias=AliasPath("rest", 0), ge=0, le=9)
    inner: Inner


class GoByNameOnly(Action):
    model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)

    my_move: int = Field(alias="myMove", ge=0, le=9)
    other: int = Field(alias="otherOne", ge=0, le=9)


class Echoed(Observation):
    what: str


@both_versions
@pytest.mark.parametrize("model", [Go, GoByNameOnly])
def test_an_action_s_fields_have_the_names_of_its_schema(model: type[Action], v2: bool) -> None:
    with serving(lambda action: Echoed(what=repr(action)), Echoed, model, v2=v2) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        for _ in range(5):
            action = env.action_space.sample()
            assert "metadata" not in {name.lower() for name in action}
            assert str(next(iter(action.values()))) in env.step(action)[0]
        envs = RemoteVectorEnv(base_url, 3)
        envs.reset()
        envs.step(envs.action_space.sample())
        envs.close()
        env.close()


# --- strict models ----------------------------------------------------------------------------------------


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Strict(Action):
    model_config = ConfigDict(strict=True)

    color: Color
    level: Level
    pair: tuple[int, Color]
    chosen: set[int]
    frozen: frozenset[Color]
    at: datetime
    name: bytes
    inner: Inner
    grid: Annotated[np.ndarray[Any, Any], Array(np.float32, (2, 2), low=-1, high=1)]


@both_versions
def test_a_strict_model_takes_what_its_space_samples(v2: bool) -> None:
    with serving(lambda action: Echoed(what=type(action).__name__), Echoed, Strict, v2=v2) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        for seed in range(10):
            env.action_space.seed(seed)
            assert env.step(env.action_space.sample())[0] == "Strict"
        env.close()
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        envs.step(envs.action_space.sample())
        envs.close()


class StrictTypes(Action):
    model_config = ConfigDict(strict=True)

    who: UUID
    where: Path
    cost: Decimal
    raw: Base64Bytes
    grid: Annotated[np.ndarray[Any, Any], Array(np.float32, (2, 2))]


STRICT_TYPES = {
    "who": "5bd1a1a8-4f4e-4b1e-9a52-70f8b0f1f0f5",
    "where": "a/b",
    "cost": "1.50",
    "raw": "/w==",
    "grid": [[1, 2], [3, 4]],
}


@both_versions
def test_a_strict_model_takes_json_s_forms_of_other_types(v2: bool) -> None:
    with serving(lambda action: Echoed(what=type(action).__name__), Echoed, StrictTypes, v2=v2) as base_url:
        with GenericEnvClient(base_url) as client:
            client.reset()
            assert client.step(STRICT_TYPES).observation["what"] == "StrictTypes"
            if v2:
                arrays = {**STRICT_TYPES, "grid": np.ones((2, 2), np.float32)}
                assert client.step(arrays).observation["what"] == "StrictTypes"
        status, answer = status_of(f"{base_url}/step", {"action": STRICT_TYPES})
        assert (status, answer["observation"]["what"]) == (200, "StrictTypes")
        status, answer = status_of(f"{base_url}/step", {"action": {**STRICT_TYPES, "who": "x", "cost": []}})
        assert (status, answer["code"]) == (422, "VALIDATION_ERROR")
        assert [problem["loc"] for problem in answer["detail"]] == [
            ["body", "action", "who"],
            ["body", "action", "cost"],
        ]


# --- integers of any size ---------------------------------------------------------------------------------


@both_versions
def test_integers_of_any_size_travel_where_json_carries_them(v2: bool) -> None:
    class Seeded(Observation):
        seen: str
        loose: dict[str, Any]

    def observe(told: Any) -> Seeded:
        return Seeded(
            seen=repr(told), loose={"n": -(2**90)}, metadata={"id": 2**70, "ids": [2**64, {"a": 2**65}]}
        )

    with serving(observe, Seeded, v2=v2) as base_url:
        env = RemoteEnv(base_url)
        observation, info = env.reset(seed=2**127 + 1)
        assert observation["seen"] == repr(2**127 + 1)
        assert observation["loose"] == f'{{"n":{-(2**90)}}}'
        assert info == {"id": 2**70, "ids": [2**64, {"a": 2**65}]}
        assert env.reset(options={"far": 2**70})[0]["seen"] == repr({"far": 2**70})
        assert env.step(env.action_space.sample())[4]["id"] == 2**70
        env.close()
        envs = RemoteVectorEnv(base_url, 2)
        observations, infos = envs.reset(seed=[2**100, 5])
        assert observations["seen"] == (repr(2**100), "5")
        assert infos["id"].tolist() == [2**70] * 2
        envs.close()


# --- what has no JSON -------------------------------------------------------------------------------------


class Point:
    """A class that Pydantic does not know."""


class Untyped(Observation):
    frame: np.ndarray[Any, Any]
    score: int = 3


class Nested(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    points: list[Point] = Field(default_factory=list)


class UntypedInside(Observation):
    inner: Nested = Nested()
    by_name: dict[str, Nested] = Field(default_factory=dict)


@both_versions
def test_a_field_without_a_schema_is_json_text_and_a_warning(
    v2: bool, caplog: pytest.LogCaptureFixture
) -> None:
    observed = Untyped(frame=np.arange(4).reshape(2, 2))
    with (
        caplog.at_level(logging.WARNING, "openenv_server"),
        serving(lambda _: observed, Untyped, v2=v2) as base_url,
    ):
        env = RemoteEnv(base_url)
        assert env.reset()[0] == {"frame": "[[0,1],[2,3]]", "score": 3}
        env.close()
    (warning,) = [record.getMessage() for record in caplog.records if "JSON Schema" in record.getMessage()]
    assert "Untyped: the field frame is of the type ndarray" in warning
    assert "Array" in warning
    assert "Base64Bytes" in warning


def test_a_warning_names_a_nested_field(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "openenv_server"),
        serving(lambda _: UntypedInside(), UntypedInside),
    ):
        pass
    assert "the field Nested.points[] is of the type Point" in caplog.text


class Raw(Observation):
    data: bytes = b""
    text: str = ""
    loose: Any = None
    many: list[dict[str, Any]] = Field(default_factory=list)


@both_versions
@pytest.mark.parametrize(
    ("observed", "named", "remedy"),
    [
        (Raw(data=b"\xff"), "observation.data", "Base64Bytes"),
        (Raw(text="a\ud800"), "observation.text", "lone surrogate"),
        (Raw(loose=Point()), "observation.loose", "Point"),
        (Raw(many=[{}, {"deep": [0, b"\xfe"]}]), "observation.many[1].deep[1]", "Base64Bytes"),
        (Raw(metadata={"log": {"raw": b"\xff"}}), "metadata.log.raw", "Base64Bytes"),
        (Raw(metadata={"log": ["\udfff"]}), "metadata.log[0]", "lone surrogate"),
        (UntypedInside(inner=Nested(points=[Point()])), "observation.inner.points[0]", "Point"),
    ],
)
def test_what_cannot_be_sent_is_named_and_costs_nothing(
    observed: Any, named: str, remedy: str, v2: bool
) -> None:
    def observe(told: Any) -> Observation:
        return type(observed)() if told is None else observed

    with serving(observe, type(observed), v2=v2) as base_url:
        for open_client in (RemoteEnv, GenericEnvClient):
            client: Any = open_client(base_url)
            client.reset()
            action = {"go": True} if open_client is GenericEnvClient else 1
            with pytest.raises(RemoteEnvironmentError, match=remedy) as caught:
                client.step(action)
            assert named in str(caught.value)
            client.reset()  # the session continues
            client.close()


def test_text_that_no_encoding_has_is_refused_before_it_is_sent() -> None:
    class Say(Action):
        text: str

    with serving(lambda action: Echoed(what=repr(action)), Echoed, Say) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        with pytest.raises(Exception, match="surrogate") as caught:
            env.step("\ud800")
        assert "step 1" in str(caught.value) or "text" in str(caught.value)
        assert env.step("fine")[0]
        env.close()


class Picky(Action):
    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        return {0: 0, 2: 2}[number]


@both_versions
def test_a_validator_that_raises_anything_refuses_the_action(v2: bool) -> None:
    with serving(lambda action: Echoed(what=repr(action)), Echoed, Picky, v2=v2) as base_url:
        with GenericEnvClient(base_url) as client:
            client.reset()
            with pytest.raises(ActionRefusedError, match="KeyError: 1"):
                client.step({"number": 1})
            assert client.step({"number": 2}).observation["what"].endswith("number=2)")
        assert status_of(f"{base_url}/step", {"action": {"number": 1}})[0] == 422
