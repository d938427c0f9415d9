"""Each of Gymnasium's wrappers gives around a remote environment what it gives around the local one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.wrappers import vector as vector_wrappers
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv, RemoteVectorEnv
from tests.support.servers import running

COUNT = 3
STEPS = 12


class Numbers(gym.Env[Any, Any]):
    """Renders, and has episodes of five steps. What it observes follows from its seed and actions."""

    observation_space: spaces.Space[Any] = spaces.Box(-100, 100, (4,), np.float32)
    action_space: spaces.Space[Any] = spaces.Box(-1, 1, (2,), np.float32)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 50}
    render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.sum = 0, float(self.np_random.integers(5))
        return self._observation(), {"start": self.sum}

    def step(self, action: Any) -> Any:
        self.steps += 1
        self.sum += float(np.sum(action))
        return self._observation(), self.sum, self.steps == 5, False, {"steps": self.steps}

    def render(self) -> Any:
        return np.full((40, 30, 3), self.steps, np.uint8)

    def _observation(self) -> Any:
        return np.full(4, self.sum, np.float32)


class Image(Numbers):
    observation_space = spaces.Box(0, 255, (20, 30, 3), np.uint8)

    def _observation(self) -> Any:
        return np.full((20, 30, 3), int(abs(self.sum)) + self.steps, np.uint8)


class Parts(Numbers):
    observation_space = spaces.Dict({"a": spaces.Box(-100, 100, (2,), np.float32), "b": spaces.Discrete(9)})

    def _observation(self) -> Any:
        return {"a": np.full(2, self.sum, np.float32), "b": self.steps}


KINDS = {"numbers": Numbers, "image": Image, "parts": Parts}
DOUBLED = spaces.Box(-200, 200, (4,), np.float32)
# The kind of environment and the arguments, if not none.
ARGUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DelayObservation": ("numbers", {"delay": 2}),
    "DtypeObservation": ("numbers", {"dtype": np.float64}),
    "DiscretizeObservation": ("numbers", {"bins": 3}),
    "FilterObservation": ("parts", {"filter_keys": ["a"]}),
    "FlattenObservation": ("parts", {}),
    "FrameStackObservation": ("numbers", {"stack_size": 3}),
    "GrayscaleObservation": ("image", {}),
    "TransformObservation": ("numbers", {"func": lambda x: 2 * x, "observation_space": DOUBLED}),
    "MaxAndSkipObservation": ("image", {"skip": 2}),
    "ResizeObservation": ("image", {"shape": (10, 15)}),
    "ReshapeObservation": ("image", {"shape": (30, 20, 3)}),
    "RescaleObservation": ("numbers", {"min_obs": np.float32(0), "max_obs": np.float32(1)}),
    "DiscretizeAction": ("numbers", {"bins": 3}),
    "TransformAction": ("numbers", {"func": lambda x: x / 2, "action_space": Numbers.action_space}),
    "RescaleAction": ("numbers", {"min_action": np.float32(0), "max_action": np.float32(1)}),
    "StickyAction": ("numbers", {"repeat_action_probability": 0.0}),
    "RepeatAction": ("numbers", {"num_repeats": 2}),
    "ClipReward": ("numbers", {"min_reward": -1, "max_reward": 1}),
    "TransformReward": ("numbers", {"func": lambda reward: reward + 1}),
    "TimeLimit": ("numbers", {"max_episode_steps": 3}),
    "AddWhiteNoise": ("numbers", {"probability_of_noise_per_pixel": 0.0}),
    "ObstructView": ("numbers", {"obstructed_pixels_ratio": 0.0, "obstruction_width": 2}),
    "AddRenderObservation": ("numbers", {}),
    "TimeAwareObservation": ("numbers", {}),
}
NEEDS = {
    "GrayscaleObservation": ["cv2"],
    "ResizeObservation": ["cv2"],
    "HumanRendering": ["pygame"],
    "RecordVideo": ["moviepy"],
    "NumpyToTorch": ["array_api_compat", "torch"],
}
# Base classes, and wrappers of environments that return other arrays than NumPy's.
LEFT_OUT = {
    "AtariPreprocessing",  # reads the emulator of an environment in this process
    "ArrayConversion",
    "JaxToNumpy",
    "JaxToTorch",
    "VectorizeTransformObservation",
    "VectorizeTransformAction",
    "VectorizeTransformReward",
}
SINGLE = [name for name in wrappers.__all__ if name != "vector" and name not in LEFT_OUT]
VECTOR = [name for name in vector_wrappers.__all__ if name not in LEFT_OUT]


@pytest.fixture(scope="module")
def url_of() -> Any:
    servers = {}
    addresses = {}
    for name, kind in KINDS.items():
        factory, models = gymnasium_factory(lambda kind=kind: kind())  # type: ignore[misc]
        servers[name] = running(create_app(factory, *models))
        addresses[name] = servers[name].__enter__()
    yield addresses
    for server in servers.values():
        server.__exit__(None, None, None)


def arguments(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    for needed in NEEDS.get(name, ()):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    kind, keywords = ARGUMENTS.get(name, ("numbers", {}))
    if name == "RecordVideo":
        keywords = {"video_folder": str(folder), "episode_trigger": lambda episode: episode == 0}
    return kind, keywords


def assert_plays_alike(expected: Any, actual: Any) -> None:
    """Both have the same spaces, and the same trajectory for the same seeds and actions."""
    assert actual.observation_space == expected.observation_space
    assert actual.action_space == expected.action_space
    expected.action_space.seed(1)
    assert same(expected.reset(seed=3), actual.reset(seed=3))
    for _ in range(STEPS):
        action = expected.action_space.sample()
        theirs, ours = expected.step(action), actual.step(action)
        for info in (theirs[4], ours[4]):
            if isinstance(info, dict) and "episode" in info:
                info["episode"].pop("t")  # its duration in seconds
        assert same(theirs, ours)
        if isinstance(theirs[2], bool) and (theirs[2] or theirs[3]):
            assert same(expected.reset(), actual.reset())


def same(expected: Any, actual: Any) -> bool:
    """Like Gymnasium's comparison, for tensors too."""
    if isinstance(expected, tuple | list):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    if type(expected).__module__ == "torch":
        return bool((expected == actual).all())
    if isinstance(expected, dict):
        return expected.keys() == actual.keys() and all(same(expected[key], actual[key]) for key in expected)
    return (
        bool(expected == actual) if isinstance(expected, int | float) else data_equivalence(expected, actual)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", SINGLE)
def test_around_one(
    name: str, url_of: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, keywords = arguments(name, tmp_path, monkeypatch)
    wrap: Callable[..., Any] = getattr(wrappers, name)
    ours = RemoteEnv(url_of[kind], render_mode="rgb_array")
    # As `gym.make` would: the wrappers read them.
    theirs = KINDS[kind]()
    theirs.spec = gym.envs.registration.EnvSpec("Numbers-v0", "none:None", max_episode_steps=20)
    ours.spec = theirs.spec
    if name == "RecordVideo":
        local, remote = wrap(theirs, **keywords), wrap(ours, **keywords | {"name_prefix": "remote"})
    else:
        local, remote = wrap(theirs, **keywords), wrap(ours, **keywords)
    with closing(local), closing(remote):
        assert_plays_alike(local, remote)
        if name == "RenderCollection":
            assert same(local.render(), remote.render())
        if name == "HumanRendering":
            assert remote.metadata["render_fps"] == 50
    if name == "RecordVideo":
        assert {path.name for path in tmp_path.glob("*.mp4")} == {
            "rl-video-episode-0.mp4",
            "remote-episode-0.mp4",
        }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", VECTOR)
def test_around_many(
    name: str, url_of: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, keywords = arguments(name, tmp_path, monkeypatch)
    wrap: Callable[..., Any] = getattr(vector_wrappers, name)
    if name == "TransformObservation":
        keywords = {"func": lambda x: 2 * x, "single_observation_space": DOUBLED}
    elif name == "TransformAction":
        keywords = {"func": lambda x: x / 2}
    elif name == "RecordVideo":
        keywords = {"video_folder": str(tmp_path), "episode_trigger": lambda episode: episode == 0}
    local = wrap(gym.vector.SyncVectorEnv([KINDS[kind]] * COUNT), **keywords)
    remote = wrap(RemoteVectorEnv(url_of[kind], COUNT, render_mode="rgb_array"), **keywords)
    with closing(local), closing(remote):
        if name == "HumanRendering":
            assert remote.metadata["render_fps"] == 50
        assert_plays_alike(local, remote)
    if name == "RecordVideo":
        assert list(tmp_path.glob("*.mp4"))
