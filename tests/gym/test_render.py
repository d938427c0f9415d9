"""``render()`` shows what the server renders, or what the last observation has: an image, or text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RenderCollection
from openenv_server import Action, Environment, Observation, State, create_app, gymnasium_factory
from pydantic import BaseModel, Field

import openenv_gym  # noqa: F401 - registers the ids
from openenv_gym.errors import ClosedError, ConfigurationError
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.rendering import renderers
from openenv_gym.schema_keywords import RENDER_KEYWORD
from openenv_gym.spaces import compile_observation
from openenv_gym.types import Array
from tests.support.servers import running, without_v2

Frame = Annotated[np.ndarray, Array(np.uint8, (4, 6, 3))]


class Move(Action):
    right: bool


class View(Observation):
    frame: Frame
    status: str
    hint: str


class Corridor(Environment[Move, View, State]):
    """A red dot that moves to the right."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    state = State()  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.column = 0

    def reset(self, seed: int | None = None) -> View:  # type: ignore[override]
        self.column = 0
        return self._view()

    def step(self, action: Move) -> View:  # type: ignore[override]
        self.column = min(self.column + action.right, 5)
        return self._view()

    def _view(self) -> View:
        frame = np.zeros((4, 6, 3), np.uint8)
        frame[2, self.column] = 255, 0, 0
        return View(frame=frame, status=f"at {self.column}", hint="go on", reward=0.0, done=self.column == 5)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(Corridor, Move, View, max_concurrent_envs=8)) as base_url:
        yield base_url


def make(url: str, **options: Any) -> gym.Env[Any, Any]:
    return gym.make("openenv/remote", base_url=url, **options)


def test_the_one_image_is_the_frame(url: str) -> None:
    env = make(url, render_mode="rgb_array")
    assert env.metadata["render_modes"] == ["rgb_array", "ansi"]
    env.reset()
    observation, *_ = env.step(1)
    frame: Any = env.render()
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, observation["frame"])
    assert frame[2, 1].tolist() == [255, 0, 0]
    frame[:] = 9
    assert np.array_equal(env.render(), observation["frame"]), "the frame is the caller's own"


def test_texts_are_shown_under_their_names(url: str) -> None:
    env = make(url, render_mode="ansi")
    env.reset()
    assert env.render() == "status: at 0\nhint: go on"


def test_gymnasiums_check_renders_too(url: str) -> None:
    check_env(make(url).unwrapped)


def test_gymnasiums_wrappers_collect_the_frames(url: str) -> None:
    env = RenderCollection(make(url, render_mode="rgb_array"))
    env.reset()
    env.step(1)
    env.step(1)
    frames: Any = env.render()
    assert [int(np.argmax(frame[2, :, 0])) for frame in frames] == [0, 1, 2]


def test_a_mode_that_is_not_there_is_refused(url: str, serve_gym: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be rendered as 'rgb_array'.*no render mode"):
        make(serve_gym("CartPole-v1"), render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded):
        make(url, render_mode="ansi").unwrapped.render()


def test_nothing_is_rendered_without_a_mode(url: str, serve_gym: Any) -> None:
    # As Gymnasium's own environments do: libraries call render() without asking for the mode.
    env = make(url)
    env.reset()
    with pytest.warns(UserWarning, match="render_mode=, one of rgb_array, ansi"):
        assert env.render() is None
    with pytest.warns(UserWarning, match="supports none"):
        assert make(serve_gym("CartPole-v1")).unwrapped.render() is None
    local = gym.make_vec("CartPole-v1", 2, "sync")
    envs = gym.make_vec("openenv/remote", 2, base_url=url)
    for either in (local, envs):
        either.reset()
        with pytest.warns(UserWarning, match="render"):
            assert either.render() == (None, None)
        either.close()


class Grey(BaseModel):
    pixels: Annotated[np.ndarray, Array(np.uint8, (2, 3))]


class Nested(BaseModel):
    camera: Grey


class TwoCameras(BaseModel):
    left: Frame
    right: Frame


class OneIsMarked(BaseModel):
    left: Frame
    right: Frame = Field(json_schema_extra={RENDER_KEYWORD: "rgb_array"})


class Log(BaseModel):
    line: str


Bytes = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=2, max_length=2)]


class Rows(BaseModel):
    rows: Annotated[list[Bytes], Field(min_length=2, max_length=2)]


@pytest.mark.parametrize(
    ("model", "modes"),
    [(Nested, ["rgb_array"]), (TwoCameras, []), (OneIsMarked, ["rgb_array"]), (Log, ["ansi"])],
)
@pytest.mark.parametrize("unwrap", [True, False])
def test_what_can_be_rendered(model: type[BaseModel], modes: list[str], unwrap: bool) -> None:
    codec, report = compile_observation(model.model_json_schema(), unwrap=unwrap)
    assert list(renderers(codec.space, report)) == modes


def test_grey_images_become_colours_and_lists_of_bytes_images() -> None:
    for model, payload in (
        (Nested, {"camera": {"pixels": [[0, 1, 2], [3, 4, 5]]}}),
        (Rows, {"rows": [[7, 8], [9, 0]]}),
    ):
        codec, report = compile_observation(model.model_json_schema())
        frame = renderers(codec.space, report)["rgb_array"](codec.decode(payload))
        assert frame.dtype == np.uint8
        assert frame.shape[2] == 3
        assert frame[0, 1].tolist() == [payload.get("rows", [[0, 1]])[0][1]] * 3


def test_the_marked_image_is_the_one_that_is_shown() -> None:
    codec, report = compile_observation(OneIsMarked.model_json_schema())
    element = {"left": np.zeros((4, 6, 3), np.uint8), "right": np.full((4, 6, 3), 5, np.uint8)}
    assert renderers(codec.space, report)["rgb_array"](element)[0, 0].tolist() == [5, 5, 5]


@pytest.fixture(scope="module")
def drawing() -> Iterator[str]:
    with ProcessProvider(gym="FrozenLake-v1", gym_kwargs={"render_mode": "ansi"}) as server:
        yield server.base_url


def test_a_server_that_renders_is_asked(drawing: str) -> None:
    local = gym.make("FrozenLake-v1", render_mode="ansi")
    env = make(drawing, render_mode="ansi")
    assert env.metadata["render_modes"] == ["ansi"]
    with pytest.raises(ResetNeeded):
        env.unwrapped.render()
    local.reset(seed=3)
    env.reset(seed=3)
    for action in (1, 2, 2, 1):
        assert env.render() == local.render()
        local.step(action)
        env.step(action)
    env.close()
    with pytest.raises(ClosedError):
        env.unwrapped.render()


def test_the_slots_of_a_server_that_renders(drawing: str) -> None:
    local = gym.make_vec("FrozenLake-v1", 3, "sync", render_mode="ansi")
    envs = gym.make_vec("openenv/remote", 3, base_url=drawing, render_mode="ansi")
    local.reset(seed=3)
    envs.reset(seed=3)
    local.step(np.array([1, 2, 3]))
    envs.step(np.array([1, 2, 3]))
    assert envs.render() == local.render() == envs.call("render")
    assert [state["step_count"] for state in envs.get_attr("state")] == [1, 1, 1]
    assert envs.get_attr("action_space") == local.get_attr("action_space")
    with pytest.raises(AttributeError, match="no gravity"):
        envs.get_attr("gravity")
    envs.close()
    with pytest.raises(ClosedError):
        envs.render()


def test_what_the_server_renders_is_not_to_be_had_over_version_1() -> None:
    factory, models = gymnasium_factory(lambda: gym.make("FrozenLake-v1", render_mode="ansi"))
    with running(without_v2(create_app(factory, models.action, models.observation))) as base_url:
        env = make(base_url, render_mode="ansi")
        env.reset()
        with pytest.raises(ConfigurationError, match="Sec-WebSocket-Protocol"):
            env.render()
        env.close()
