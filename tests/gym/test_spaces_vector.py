"""What the spaces of models become in environments with one slot and with several, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import Field

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import SpaceError
from openenv_gym.spaces import Codec, rules
from openenv_gym.spaces.schema import Node
from tests.support.servers import running, without_v2

SLOTS = 3


class Paint(Action):
    """Mixes a color, and moves the brush."""

    color: str = Field(pattern="^#[0-9a-f]{6}$")
    at: tuple[int, int]


class Canvas(Observation):
    color: str = Field(pattern="^#[0-9a-f]{6}$")
    at: tuple[int, int]
    title: str | None = None


class Painter(Environment[Paint, Canvas, State]):
    """Shows the color and the place that it was given."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, **_: Any) -> Canvas:
        return Canvas(color="#000000", at=(0, 0))

    def step(self, action: Paint, **_: Any) -> Canvas:
        return Canvas(color=action.color, at=action.at, title="painted")

    @property
    def state(self) -> State:
        return State()


class ColorCodec(Codec):
    """A color as three bytes here, and "#rrggbb" there."""

    def __init__(self) -> None:
        self.space = spaces.Box(0, 255, (3,), np.uint8)

    def encode(self, element: Any) -> str:
        return "#" + bytes(element.tolist()).hex()

    def decode(self, payload: Any) -> Any:
        try:
            return np.frombuffer(bytearray.fromhex(payload[1:]), np.uint8)
        except (TypeError, ValueError) as error:
            raise SpaceError(f"{payload!r} is not a color") from error


def color(compiler: rules.Compiler, node: Node) -> Codec | None:
    return ColorCodec() if node.schema.get("pattern") == "^#[0-9a-f]{6}$" else None


@pytest.fixture(params=["v1", "v2"])
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Painter, Paint, Canvas, max_concurrent_envs=8)
    with running(without_v2(app) if request.param == "v1" else app) as url:
        yield url


@pytest.fixture
def with_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "RULES", (rules.Rule("color", color), *rules.RULES))


@pytest.mark.usefixtures("with_colors")
def test_a_new_kind_of_schema_is_one_rule(base_url: str) -> None:
    env = RemoteEnv(base_url)
    assert env.action_space["color"] == env.observation_space["color"] == spaces.Box(0, 255, (3,), np.uint8)
    assert env.reset()[0]["color"].tolist() == [0, 0, 0]
    action = env.action_space.sample()
    observation = env.step(action)[0]
    assert observation in env.observation_space
    assert np.array_equal(observation["color"], action["color"])
    env.close()


@pytest.mark.usefixtures("with_colors")
def test_a_new_kind_of_schema_is_one_rule_for_a_vector_environment_too(base_url: str) -> None:
    envs = RemoteVectorEnv(base_url, SLOTS)
    envs.reset()
    actions = envs.action_space.sample()
    assert actions["color"].shape == (SLOTS, 3)
    observations = envs.step(actions)[0]
    assert observations in envs.observation_space
    assert envs.observation_space["color"] == batch_space(spaces.Box(0, 255, (3,), np.uint8), SLOTS)
    assert np.array_equal(observations["color"], actions["color"])
    envs.send({"color": np.zeros((1, 3), np.uint8), "at": tuple(part[:1] for part in actions["at"])}, [1])
    assert envs.recv().observations["color"].tolist() == [[0, 0, 0]]
    actions["color"] = actions["color"] + np.float32(0.5)
    with pytest.raises(SpaceError, match="slot 0"):
        envs.step(actions)
    envs.close()


def test_tuples_and_fields_that_may_be_missing_have_gymnasiums_form(base_url: str) -> None:
    envs = RemoteVectorEnv(base_url, SLOTS)
    assert envs.reset()[0] in envs.observation_space
    actions = envs.action_space.sample()
    actions["color"] = ("#0000ff",) * SLOTS
    observations = envs.step(actions)[0]
    assert observations in envs.observation_space
    assert [part.tolist() for part in observations["at"]] == [part.tolist() for part in actions["at"]]
    assert observations["title"] == ((0, "painted"),) * SLOTS
    envs.close()


class Push(Action):
    """Has no fields."""


class Pushes(Observation):
    count: int


class Button(Environment[Push, Pushes, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, **_: Any) -> Pushes:
        self._count = 0
        return Pushes(count=0)

    def step(self, action: Push, **_: Any) -> Pushes:
        self._count += 1
        return Pushes(count=self._count)

    @property
    def state(self) -> State:
        return State()


def test_an_action_may_have_no_fields() -> None:
    with running(create_app(Button, Push, Pushes, max_concurrent_envs=8)) as base_url:
        envs = RemoteVectorEnv(base_url, SLOTS)
        envs.reset()
        assert envs.step(envs.action_space.sample())[0].tolist() == [1] * SLOTS
        envs.close()
