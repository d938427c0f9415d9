"""``gym.make(…, unwrap=, omit_defaults=, infer_shapes=, action_space=, observation_space=)``."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import Field

import openenv_gym  # noqa: F401 - registers the ids
from openenv_gym.errors import ProtocolError, SchemaError
from openenv_gym.spaces import schema_from_space, space_from_model, space_from_schema
from tests.support.servers import running


class Push(Action):
    force: int
    style: str = "soft"


class Readings(Observation):
    sensors: list[list[float]]
    style: str


class Lab(Environment[Push, Readings, State]):
    """Its readings have two rows of three, until it is pushed with a force of 9."""

    state = State()  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()

    def reset(self) -> Readings:  # type: ignore[override]
        return Readings(sensors=[[1, 2, 3], [4, 5, 6]], style="none")

    def step(self, action: Push) -> Readings:  # type: ignore[override]
        return Readings(sensors=[[0.5] * 3] * (3 if action.force == 9 else 2), style=action.style)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(Lab, Push, Readings)) as base_url:
        yield base_url


def make(url: str, **options: Any) -> gym.Env[Any, Any]:
    return gym.make("openenv/remote", base_url=url, **options)


def test_infer_shapes_takes_them_from_a_first_observation(url: str) -> None:
    env = make(url, infer_shapes=True)
    assert isinstance(env.observation_space, spaces.Dict)
    assert env.observation_space["sensors"] == spaces.Box(-np.inf, np.inf, (2, 3), np.float64)
    observation, _ = env.reset()
    assert observation["sensors"].tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ProtocolError, match=r"step 1.*sensors: .*shape \(3, 3\).*\(2, 3\)"):
        env.step({"force": np.array(9), "style": "soft"})
    env.close()


def test_without_it_they_are_sequences(url: str) -> None:
    env = make(url)
    assert isinstance(env.observation_space["sensors"], spaces.Sequence)  # type: ignore[index]
    assert env.reset()[0] in env.observation_space
    env.close()


def test_omit_defaults_and_unwrap(url: str) -> None:
    env = make(url, omit_defaults=True)
    assert isinstance(env.action_space, spaces.Box)
    env.reset()
    assert env.step(np.array(1))[0]["style"] == "soft"
    env.close()
    whole = make(url, omit_defaults=True, unwrap=False)
    assert list(whole.action_space.spaces) == ["force"]  # type: ignore[attr-defined]


def test_a_space_that_the_user_knows_better(url: str) -> None:
    env = make(
        url,
        omit_defaults=True,
        action_space=spaces.Discrete(3, start=1),
        observation_space={"sensors": spaces.Box(0, 10, (2, 3), np.float32)},
    )
    assert env.action_space == spaces.Discrete(3, start=1)
    observation, _ = env.reset()
    assert observation["sensors"].dtype == np.float32
    assert observation in env.observation_space
    env.step(env.action_space.sample())
    env.close()
    spec = pickle.loads(pickle.dumps(env.spec))
    assert gym.make(spec).action_space == env.action_space


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_space": {"force": spaces.Box(0, 1, (2,))}}, r"force: Box.* does not fit the schema"),
        ({"action_space": {"farce": spaces.Discrete(2)}}, r"No 'farce' in the schema.*it has force, style"),
        ({"observation_space": spaces.Discrete(2)}, "the model: .* does not fit"),
    ],
)
def test_a_space_that_does_not_fit_names_the_path(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        make(url, **options)


def test_the_report_says_what_only_the_server_checks() -> None:
    class Picky(Action):
        even: Annotated[int, Field(multiple_of=2)]
        code: Annotated[str, Field(pattern="^[a-z]+$")]
        free: bool

    class Wide(Lab):
        def step(self, action: Any) -> Readings:
            return self.reset()

    with running(create_app(Wide, Picky, Readings)) as base_url:
        env = make(base_url)
        report = {found.path: found.inexact for found in env.unwrapped.schema_report["action"]}  # type: ignore[attr-defined]
    assert report == {
        "even": "only the server checks multipleOf",
        "code": "only the server checks pattern",
        "free": "",
    }


def test_spaces_and_schemas_without_a_server() -> None:
    assert space_from_model(Push) == space_from_schema(Push.model_json_schema())
    for space in (spaces.Discrete(3), spaces.Box(0, 1, (2,)), spaces.Dict({"a": spaces.MultiBinary(2)})):
        assert space_from_schema(schema_from_space(space)) == space
