"""Elements from JSON and back, and observations that do not fit the server's own schema."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
import pytest
from fastapi import FastAPI
from gymnasium.vector import AutoresetMode
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import BaseModel, ConfigDict, Field

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ActionOutsideSpaceError, ConfigurationError, ProtocolError, SpaceError
from openenv_gym.spaces import compile_observation
from openenv_gym.spaces.misfits import fit
from openenv_gym.types import Array
from tests.support.servers import running, without_v2

both_versions = pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])


class Target(BaseModel):
    x: int = Field(ge=0, le=4)
    y: int = Field(ge=0, le=4)


class Act(Action):
    move: Literal["left", "right", "shoot"]
    power: float = Field(0.5, ge=0, le=1)
    target: Target | None = None
    path: list[Target] = Field(default_factory=list, max_length=3)
    say: str = ""


class Saw(Observation):
    text: str
    last: Act | None = None
    grid: Annotated[np.ndarray[Any, Any], Array(np.uint8, (2, 2))]


class Acting(Environment[Act, Saw, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def _saw(self, action: Act | None = None) -> Saw:
        return Saw(text=repr(action), last=action, grid=np.array([[1, 2], [3, 4]], np.uint8))

    def reset(self, seed: int | None = None, **kwargs: Any) -> Saw:
        return self._saw()

    def step(self, action: Act) -> Saw:
        return self._saw(action)

    @property
    def state(self) -> State:
        return State()


@contextmanager
def serving(app: FastAPI, *, v2: bool = True) -> Iterator[str]:
    with running(app if v2 else without_v2(app)) as base_url:
        yield base_url


@both_versions
def test_what_an_agent_writes_is_stepped(v2: bool) -> None:
    with serving(create_app(Acting, Act, Saw), v2=v2) as base_url:
        env = gym.make("openenv/remote", base_url=base_url)
        remote: Any = env.unwrapped
        env.reset()
        written = {
            "move": "shoot",
            "power": 0.25,
            "target": {"x": 1, "y": 2},
            "path": [{"x": 0, "y": 4}],
            "say": "é",
        }
        for form in (written, json.dumps(written)):
            action = remote.action_from_json(form)
            assert env.action_space.contains(action)
            observation = env.step(action)[0]
            payload = remote.observation_to_json(observation)
            assert payload == json.loads(json.dumps(payload))
            assert {**payload["last"], "metadata": None} == {**written, "metadata": None}
            assert payload["grid"] == [[1, 2], [3, 4]]
        assert env.step(remote.action_from_json({"move": "left"}))[0]["text"].startswith(
            "Act(metadata={}, move='left', power=0.5"
        )
        env.close()


def test_a_batch_of_what_agents_write_is_stepped() -> None:
    with serving(create_app(Acting, Act, Saw)) as base_url:
        envs = RemoteVectorEnv(base_url, 3)
        envs.reset()
        written = [{"move": move, "say": str(place)} for place, move in enumerate(("left", "right", "shoot"))]
        actions = envs.actions_from_json(written)
        assert envs.action_space.contains(actions)
        seen = envs.observations_to_json(envs.step(actions)[0])
        assert [(one["last"]["move"], one["last"]["say"]) for one in seen] == [
            ("left", "0"),
            ("right", "1"),
            ("shoot", "2"),
        ]
        envs.send(envs.actions_from_json(written[:2]), [0, 2])
        ready = envs.recv(min_ready=2)
        assert [one["last"]["say"] for one in envs.observations_to_json(ready.observations, 2)] == ["0", "1"]
        with pytest.raises(ActionOutsideSpaceError, match=r"1: .*move: 'up' is not one of") as caught:
            envs.actions_from_json([{"move": "left"}, {"move": "up"}, {}])
        assert "2: " in str(caught.value)
        envs.close()


WRONG: list[tuple[Any, list[str]]] = [
    ({"move": "up"}, ["move: 'up' is not one of 'left', 'right', 'shoot'"]),
    ({}, ["move: is missing"]),
    ({"move": "left", "power": 2}, ["power: 2 is not a number from 0 to 1"]),
    ({"move": "left", "power": "x"}, ["power: 'x' is not a number from 0 to 1"]),
    ({"move": "left", "target": {"x": 9, "y": 0}}, ["target.x: 9 is not an integer from 0 to 4"]),
    (
        {"move": "left", "path": [{"x": 0, "y": 0}, {"x": 1, "y": 7}]},
        ["path[1].y: 7 is not an integer from 0 to 4"],
    ),
    ({"move": "left", "path": [{"x": 0, "y": 0}] * 4}, ["path: has 4 items, not 0 to 3"]),
    ({"move": "left", "mvoe": 1}, ["mvoe: is not one of the fields move, power, target, path, say"]),
    ({"move": 1, "power": -1}, ["move: 1 is not one of", "power: -1 is not a number"]),
    ([1], ["[1] is not an object with move, power"]),
    ("{'move': 'left'}", ["is not JSON"]),
    ('{"move": "left"', ["is not JSON"]),
    ('"left"', ["'left' is not an object with move"]),
]


@pytest.fixture(scope="module")
def acting() -> Iterator[RemoteEnv]:
    with serving(create_app(Acting, Act, Saw)) as base_url:
        env = RemoteEnv(base_url)
        yield env
        env.close()


@pytest.mark.parametrize(("written", "problems"), WRONG, ids=str)
def test_what_is_wrong_is_named_by_its_path_and_its_rule(
    acting: RemoteEnv, written: Any, problems: list[str]
) -> None:
    with pytest.raises(ActionOutsideSpaceError) as caught:
        acting.action_from_json(written)
    for problem in problems:
        assert problem in str(caught.value)


class One(Action):
    choice: Literal["a", "b"]


def test_the_only_field_of_a_model_is_written_with_its_name() -> None:
    with serving(create_app(Acting, One, Saw)) as base_url:
        env = RemoteEnv(base_url)
        assert env.action_from_json({"choice": "b"}) == 1
        with pytest.raises(ActionOutsideSpaceError, match="choice: 'c' is not one of 'a', 'b'"):
            env.action_from_json({"choice": "c"})
        env.close()


# --- observations that do not fit ---------------------------------------------------------------------------


def test_a_misfit_deep_inside_is_found_at_once() -> None:
    schema: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 9}
    good: Any = 3
    bad: Any = "x"
    for _ in range(40):
        extra = {"type": "integer", "minimum": 0, "maximum": 9, "default": 1}
        schema = {"type": "object", "properties": {"in": schema, "other": extra}, "required": ["in"]}
        good, bad = {"in": good}, {"in": bad}
    codec = compile_observation(schema, unwrap=False).codec
    codec.decode(good)
    with pytest.raises(SpaceError, match="in: in: in"):
        codec.decode(bad)
    assert len(fit(codec, bad)[1]) == 1


class Promised(Observation):
    score: int = Field(ge=0, le=9)
    name: str
    mode: Literal["on", "off"]
    grid: Annotated[np.ndarray[Any, Any], Array(np.float32, (2,), low=0, high=1)]
    parts: list[Target] = Field(default_factory=list)
    pair: tuple[int, str] = (1, "a")


GOOD = {"score": 3, "name": "n", "mode": "off", "grid": [0.5, 1.0], "parts": [], "pair": [4, "b"]}


def sending(*payloads: dict[str, Any], ends: bool = False) -> FastAPI:
    """A server that sends other observations than its schema says."""

    class Loose(Observation):
        model_config = ConfigDict(extra="allow")

    class Lying(Environment[One, Any, State]):
        SUPPORTS_CONCURRENT_SESSIONS = True
        at = -1

        def reset(self, seed: int | None = None, **kwargs: Any) -> Any:
            return self.step(None)

        def step(self, action: Any) -> Any:
            self.at += 1
            payload = payloads[self.at % len(payloads)]
            return Loose(**payload, done=ends and self.at % 2 == 1, metadata={"at": self.at})

        @property
        def state(self) -> State:
            return State()

    return create_app(Lying, One, Promised)


LOOSE: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"name": ...}, {"name": ""}, ["name: is missing"]),
    ({"score": ..., "grid": ...}, {"score": 0, "grid": [0, 0]}, ["score: is missing", "grid: is missing"]),
    ({"more": 1, "other": {}}, {}, ["more: is not one of the fields", "other: is not one of the fields"]),
    ({"score": 12}, {"score": 9}, ["score: 12 is not an integer from 0 to 9"]),
    ({"score": "x"}, {"score": 0}, ["score: 'x' is not an integer"]),
    ({"score": None}, {"score": 0}, ["score: None is not an integer"]),
    ({"mode": "standby"}, {"mode": 0}, ["mode: 'standby' is not one of 'on', 'off'"]),
    ({"grid": [0.5, 7]}, {"grid": [0.5, 1]}, ["grid: [0.5, 7] is not numbers of shape (2,)"]),
    ({"grid": [1, 2, 3]}, {"grid": [0, 0]}, ["grid: [1, 2, 3] is not numbers"]),
    ({"parts": [{"x": 1}]}, {"parts": ({"x": 1, "y": 0},)}, ["parts[0].y: is missing"]),
    ({"parts": [{"x": 1, "y": 2, "z": 3}]}, {"parts": ({"x": 1, "y": 2},)}, ["parts[0].z: is not one of"]),
    ({"parts": None}, {"parts": ()}, ["parts: None is not"]),
    ({"pair": [4]}, {"pair": (4, "")}, ["pair: [4] is not a list of 2"]),
]
EXPECTED = {"score": 3, "name": "n", "mode": 1, "grid": [0.5, 1.0], "parts": (), "pair": (4, "b")}


def changed(change: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in {**GOOD, **change}.items() if part is not ...}


@both_versions
@pytest.mark.parametrize(("change", "expected", "problems"), LOOSE, ids=str)
def test_a_misfit_is_coerced_into_the_space_and_reported(
    change: dict[str, Any],
    expected: dict[str, Any],
    problems: list[str],
    v2: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        serving(sending(GOOD, changed(change)), v2=v2) as base_url,
        caplog.at_level(logging.WARNING, "openenv_gym"),
    ):
        env = RemoteEnv(base_url, on_misfit="coerce")
        observation, info = env.reset()
        np.testing.assert_equal(observation, EXPECTED)
        assert "misfits" not in info
        for _ in range(2):
            observation, _, _, _, info = env.step(0)
            assert env.observation_space.contains(observation)
            np.testing.assert_equal(observation, {**EXPECTED, **expected})
            assert len(info["misfits"]) == len(problems)
            assert all(problem in misfit for problem, misfit in zip(problems, info["misfits"], strict=True))
            observation, _, _, _, info = env.step(1)
            np.testing.assert_equal(observation, EXPECTED)
            assert "misfits" not in info
        env.close()
    assert len([record for record in caplog.records if "coerce" in record.getMessage()]) == 1


@both_versions
def test_each_slot_reports_its_own_misfits(v2: bool) -> None:
    app = sending(GOOD, changed({"name": ..., "score": 99}), GOOD, changed({"more": 1}))
    with serving(app, v2=v2) as base_url:
        envs = RemoteVectorEnv(base_url, 3, on_misfit="coerce")
        _, infos = envs.reset()
        assert "misfits" not in infos
        observations, _, _, _, infos = envs.step(np.zeros(3, np.int64))
        assert (
            infos["misfits"].tolist() == [["score: 99 is not an integer from 0 to 9", "name: is missing"]] * 3
        )
        assert envs.observation_space.contains(observations)
        assert observations["score"].tolist() == [9] * 3
        envs.send(np.zeros(1, np.int64), [1])
        ready = envs.recv()
        assert "misfits" not in ready.infos
        envs.close()


@both_versions
def test_a_final_observation_reports_its_misfits(v2: bool) -> None:
    app = sending(GOOD, changed({"name": ...}), changed({"more": 1}), GOOD, ends=True)
    with serving(app, v2=v2) as base_url:
        envs = RemoteVectorEnv(base_url, 2, on_misfit="coerce", autoreset_mode=AutoresetMode.SAME_STEP)
        envs.reset()
        _, _, terminations, _, infos = envs.step(np.zeros(2, np.int64))
        assert terminations.all()
        assert infos["final_info"]["misfits"].tolist() == [["name: is missing"]] * 2
        assert [misfits[0].split(":")[0] for misfits in infos["misfits"]] == ["more"] * 2
        envs.close()


@both_versions
@pytest.mark.parametrize("make", [RemoteEnv, RemoteVectorEnv])
def test_by_default_a_misfit_raises_and_names_the_option(make: Callable[..., Any], v2: bool) -> None:
    with serving(sending(GOOD, changed({"name": ...})), v2=v2) as base_url:
        env = make(base_url)
        env.reset()
        with pytest.raises(ProtocolError, match="name") as caught:
            env.step(0 if make is RemoteEnv else np.zeros(1, np.int64))
        assert 'on_misfit="coerce"' in str(caught.value)
        env.close()
        with pytest.raises(ConfigurationError, match="on_misfit"):
            make(base_url, on_misfit="ignore")


# --- a first observation of another model -------------------------------------------------------------------


class First(Observation):
    rules: str
    board: list[int] = Field(min_length=2, max_length=2)
    part: Target


class Other(BaseModel):
    """Has the name that another model has in another schema."""

    model_config = ConfigDict(title="Target")

    label: str


Other.__name__ = Other.__qualname__ = "Target"


class Later(Observation):
    score: int
    board: list[int] = Field(min_length=2, max_length=2)
    part: Other


class Beginning(Environment[One, Any, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, **kwargs: Any) -> First:
        return First(rules="be kind", board=[1, 2], part=Target(x=1, y=2))

    def step(self, action: One) -> Later:
        return Later(score=7, board=[3, 4], part=Other(label="here"), reward=1.0)

    @property
    def state(self) -> State:
        return State()


@both_versions
def test_the_space_has_the_observations_of_a_reset_and_of_a_step(v2: bool) -> None:
    app = create_app(Beginning, One, Later, reset_observation_cls=First)
    with serving(app, v2=v2) as base_url:
        env = RemoteEnv(base_url)
        first, info = env.reset()
        later, reward, *_ = env.step(0)
        assert env.observation_space.contains(first)
        assert env.observation_space.contains(later)
        assert info == {}
        assert reward == 1.0
        assert env.observation_to_json(first) == {
            "rules": "be kind",
            "board": [1, 2],
            "part": {"x": 1, "y": 2},
        }
        assert env.observation_to_json(later) == {"score": 7, "board": [3, 4], "part": {"label": "here"}}
        env.close()
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        assert envs.observations_to_json(envs.step(np.zeros(2, np.int64))[0])[1]["score"] == 7
        envs.close()


def test_a_bare_first_observation_leaves_every_field_out() -> None:
    class Bare(Beginning):
        def reset(self, seed: int | None = None, **kwargs: Any) -> Any:
            return Observation()

    with serving(create_app(Bare, One, Later, reset_observation_cls=Observation)) as base_url:
        env = RemoteEnv(base_url)
        assert env.observation_to_json(env.reset()[0]) == {}
        assert env.observation_to_json(env.step(0)[0])["score"] == 7
        env.close()


class Heat(Observation):
    at: list[float] = Field(min_length=2, max_length=2)
    mean: float


def test_nan_is_no_misfit() -> None:
    class Warm(Beginning):
        def reset(self, seed: int | None = None, **kwargs: Any) -> Any:
            return Heat(at=[math.nan, 1], mean=math.nan)

    with serving(create_app(Warm, One, Heat)) as base_url:
        env = RemoteEnv(base_url, on_misfit="coerce")
        observation, info = env.reset()
        np.testing.assert_equal(observation, {"at": [math.nan, 1], "mean": math.nan})
        assert "misfits" not in info
        env.close()


def test_a_dict_for_an_action_of_one_field_is_told_what_to_pass(serve_gym: Any) -> None:
    env = RemoteEnv(serve_gym("CartPole-v1"))
    env.reset()
    with pytest.raises(
        ActionOutsideSpaceError, match="An action with one field is the field's value: pass 1"
    ):
        env.step({"action": 1})
    env.close()
