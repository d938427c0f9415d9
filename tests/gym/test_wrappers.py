"""Flat spaces for libraries that need them, over every kind of space."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import (
    BoundedSequence,
    ExampleText,
    JsonText,
    UnicodeText,
    compile_action,
    compile_observation,
)
from openenv_gym.types import Action
from openenv_gym.wrappers import FlatAction, flatten_for_rl
from tests.support.realistic import ENVIRONMENTS


class Sampler(gym.Env[Any, Any]):
    """Observes what its space samples, and refuses what its action space does not have."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert action in self.action_space, action
        self.taken.append(action)
        return self.observation_space.sample(), 0.0, False, False, {}


SPACES = [
    spaces.Discrete(3),
    spaces.Discrete(3, start=-1),
    spaces.Discrete(2**31),
    spaces.Box(-1, 1, (3,), np.float32),
    spaces.Box(-1, 1, (2, 2), np.float64),
    spaces.Box(-(2**63), 2**63 - 2, (), np.int64),
    spaces.Box(0, 255, (2,), np.uint8),
    spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [0, 0]]),
    spaces.MultiBinary((2, 2)),
    spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]),
    spaces.Dict({"x": spaces.Discrete(2), "y": spaces.Box(0, 1, (2,))}),
    spaces.OneOf([spaces.Discrete(4), spaces.Discrete(1)]),
    spaces.OneOf([spaces.Box(2, 3, (2,)), spaces.Discrete(1)]),
    spaces.Sequence(spaces.Discrete(3)),
    spaces.Sequence(spaces.Box(0, 1, (2,)), stack=True),
    BoundedSequence(spaces.Dict({"a": spaces.Discrete(2), "t": UnicodeText(0, 2)}), 2, 3),
    UnicodeText(2, 5),
    UnicodeText(),
    ExampleText(["a", "bc"]),
    JsonText([{"a": 1}, None]),
]


@pytest.mark.filterwarnings("ignore:.*Casting input x", "ignore:.*was cut", "ignore:.*precision lowered")
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_space_becomes_flat_and_stays_inside(space: gym.Space[Any]) -> None:
    inner = Sampler(space, space)
    env = flatten_for_rl(inner)
    assert isinstance(env.observation_space, spaces.Box)
    assert env.observation_space.dtype == np.float32
    assert len(env.observation_space.shape) == 1
    assert isinstance(
        env.action_space, spaces.Discrete | spaces.MultiDiscrete | spaces.Box | spaces.MultiBinary
    )
    assert getattr(env.action_space, "start", np.int64(0)).max() == 0
    env.action_space.seed(1)
    observation, _ = env.reset(seed=1)
    for _ in range(50):
        assert observation in env.observation_space
        observation, *_ = env.step(env.action_space.sample())
    assert len(inner.taken) == 50


@pytest.mark.filterwarnings("ignore:.*Casting input x", "ignore:.*was cut", "ignore:.*precision lowered")
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_realistic_models_become_flat(name: str) -> None:
    model = ENVIRONMENTS[name]
    space = (compile_action if issubclass(model, Action) else compile_observation)(model.model_json_schema())
    env = flatten_for_rl(Sampler(space.codec.space, spaces.Discrete(2)))
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    if issubclass(model, Action):
        acting = FlatAction(Sampler(spaces.Discrete(2), space.codec.space))
        acting.reset()
        acting.step(acting.action_space.sample())


def test_images_and_rows_stay_as_they_are() -> None:
    image, row = spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Box(-1, 1, (4,), np.float32)
    for space in (image, row):
        env = flatten_for_rl(Sampler(space, row))
        assert env.observation_space is space
        assert env.action_space is row
        assert "unchanged" in repr(env)


def test_what_each_part_becomes() -> None:
    discretes = spaces.Dict(
        {"move": spaces.Discrete(4), "maybe": spaces.OneOf([spaces.Discrete(3), spaces.Discrete(1)])}
    )
    env = flatten_for_rl(Sampler(UnicodeText(), discretes), max_text_bytes=4)
    assert env.action_space == spaces.MultiDiscrete([2, 3, 1, 4])
    assert env.observation_space == spaces.Box(0, 256, (4,), np.float32)
    inner = env.unwrapped
    assert isinstance(inner, Sampler)
    env.step(np.array([0, 2, 0, 3]))
    env.step(np.array([1, 2, 0, 1]))
    assert inner.taken == [{"move": 3, "maybe": (0, 2)}, {"move": 1, "maybe": (1, 0)}]
    assert "MultiDiscrete of 4 choices" in repr(env)
    assert "Box(0.0, 256.0, (4,), float32)" in repr(env)


def test_mixed_actions_have_scores_for_each_choice() -> None:
    inner = Sampler(
        spaces.Discrete(2),
        spaces.Dict({"move": spaces.Discrete(3), "force": spaces.Box(-2, 2, (), np.float64)}),
    )
    env = FlatAction(inner)
    assert isinstance(env.action_space, spaces.Box)
    assert env.action_space.shape == (4,)
    keys = list(inner.action_space.spaces)  # type: ignore[attr-defined]
    scores = [0.1, 0.9, 0.3]
    flat = [*scores, 1.5] if keys[0] == "move" else [1.5, *scores]
    env.step(np.array(flat, np.float32))
    assert inner.taken[0]["move"] == 1
    assert inner.taken[0]["force"] == 1.5


def test_text_is_its_bytes_and_what_is_cut_is_said() -> None:
    class Says(Sampler):
        def step(self, action: Any) -> Any:
            return ("é" * 3 if action else "é"), 0.0, False, False, {}

    env = flatten_for_rl(Says(UnicodeText(), spaces.Discrete(2)), max_text_bytes=4)
    assert env.step(0)[0].tolist() == [0xC3 + 1, 0xA9 + 1, 0, 0]
    with pytest.warns(UserWarning, match="more than 4 bytes was cut"):
        assert env.step(1)[0].tolist() == [0xC3 + 1, 0xA9 + 1] * 2


def test_a_graph_is_refused() -> None:
    graph = spaces.Graph(spaces.Box(0, 1, (2,)), None)
    with pytest.raises(SpaceError, match="no fixed size"):
        flatten_for_rl(Sampler(graph, spaces.Discrete(2)))
    with pytest.raises(SpaceError, match="cannot be made of choices"):
        flatten_for_rl(Sampler(spaces.Discrete(2), graph))


class Mission(spaces.Space[Any]):
    """A space of elements that Gymnasium cannot flatten, as MiniGrid's of texts."""

    def __init__(self, *samples: Any) -> None:
        super().__init__()
        self._samples = samples

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        return self._samples[self.np_random.integers(len(self._samples))]

    def contains(self, x: Any) -> bool:
        return x in self._samples


def test_a_space_of_strings_is_flat_as_text_is() -> None:
    mission = Mission("go to the key", "stop")
    for space in (mission, spaces.Dict({"mission": mission}), spaces.Tuple([mission])):
        env = flatten_for_rl(Sampler(space, spaces.Discrete(2)))
        assert env.observation_space == spaces.Box(0, 256, (256,), np.float32)
        observation, _ = env.reset(seed=1)
        assert bytes(int(token) - 1 for token in observation if token).decode() in ("go to the key", "stop")


def test_a_space_that_cannot_be_flattened_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"cannot flatten Mission\. Wrap the environment"):
        flatten_for_rl(Sampler(spaces.Dict({"mission": Mission(object())}), spaces.Discrete(2)))


def test_an_action_space_without_end_is_refused() -> None:
    with pytest.raises(SpaceError, match="more than 100,000 columns"):
        flatten_for_rl(Sampler(spaces.Discrete(2), spaces.Tuple([UnicodeText()] * 2)), max_text_length=90_000)


def test_a_flat_env_goes_to_other_processes() -> None:
    env = flatten_for_rl(Sampler(UnicodeText(0, 3), spaces.Discrete(3, start=1)))
    twin = pickle.loads(cloudpickle.dumps(env))
    assert twin.reset(seed=4)[0].tolist() == env.reset(seed=4)[0].tolist()
