"""An action that fits without loss is cast; otherwise the error names the dtype, the shape or the bound."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import Field

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ActionOutsideSpaceError, SpaceError
from openenv_gym.spaces.casting import cast
from tests.support.servers import running, without_v2

TORQUE = spaces.Box(-2, 2, (1,), np.float32)
PIXELS = spaces.Box(0, 255, (2,), np.uint8)
AMOUNT = spaces.Box(-9, 9, (), np.int64)
MOVE = spaces.Discrete(4)


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (TORQUE, np.array([0.5]), np.array([0.5], np.float32)),
        (TORQUE, [0.1], np.array([0.1], np.float32)),
        (PIXELS, np.array([1, 255]), np.array([1, 255], np.uint8)),
        (PIXELS, np.array([1.0, 2.0]), np.array([1, 2], np.uint8)),
        (AMOUNT, 3, np.array(3)),
        (AMOUNT, np.int32(3), np.array(3)),
        (AMOUNT, np.array([3]), np.array(3)),
        (MOVE, np.array([1]), np.int64(1)),
        (MOVE, np.array(3), np.int64(3)),
        (MOVE, np.float64(2.0), np.int64(2)),
        (spaces.MultiDiscrete([3, 4]), [2, 3], np.array([2, 3])),
        (spaces.MultiBinary(2), [1, 0], np.array([1, 0], np.int8)),
    ],
    ids=repr,
)
def test_what_fits_without_loss_is_cast(space: spaces.Space[Any], value: Any, expected: Any) -> None:
    element = cast(space, value)
    assert element in space
    assert np.array_equal(element, expected)
    assert element.dtype == expected.dtype


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (TORQUE, np.array([2.5]), r"value\[0\] 2.5 is not from -2.0 to 2.0"),
        (TORQUE, np.array([1e300]), "float64, and not all of it can be float32"),
        (TORQUE, np.array([0.5, 0.5]), r"shape is \(2,\), not \(1,\)"),
        (TORQUE, "left", "it is str"),
        (TORQUE, np.array([None]), "dtype is object, and not all of it can be float32"),
        (PIXELS, np.array([0.5, 1]), "float64, and not all of it can be uint8"),
        (PIXELS, np.array([-1, 256]), "int64, and not all of it can be uint8"),
        (AMOUNT, 10, "10 is not from -9 to 9"),
        (MOVE, 4, "not from 0 to 3"),
        (MOVE, 0.5, "dtype is float64, and it is not a whole number"),
        (MOVE, np.array([0, 1]), r"shape \(2,\), not \(\)"),
        (MOVE, np.array([np.nan]), "not a whole number"),
        (MOVE, None, "it is NoneType"),
        (spaces.Dict({"a": spaces.Tuple([MOVE, AMOUNT])}), {"a": (0, 99)}, r"^a\[1\]: 99.*not from -9 to 9"),
        (spaces.Dict({"a": MOVE}), {"b": 1}, "is not in Dict"),
        (spaces.OneOf([MOVE, AMOUNT]), (1, 99), r"^\|1: 99"),
        (spaces.Sequence(MOVE), (0, 7), r"^\[1\]: 7"),
    ],
    ids=repr,
)
def test_the_error_names_the_part_and_what_is_wrong(space: Any, value: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        cast(space, value)


def test_an_element_is_returned_as_it_is() -> None:
    for space in (TORQUE, PIXELS, MOVE):
        element = space.sample()
        assert cast(space, element) is element


class Count(Action):
    amount: int
    at: tuple[int, float] = (0, 0.0)
    more: list[int] = Field(default_factory=list)
    maybe: int | None = None


class Counted(Observation):
    total: int


class Counter(Environment[Count, Counted, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, **_: Any) -> Counted:
        return Counted(total=0)

    def step(self, action: Count, **_: Any) -> Counted:
        return Counted(total=action.amount)

    @property
    def state(self) -> State:
        return State()


@pytest.mark.integration
@pytest.mark.parametrize("version", [1, 2])
def test_sampled_integers_are_stepped_without_a_warning(version: int) -> None:
    app = create_app(Counter, Count, Counted, max_concurrent_envs=4)
    with running(app if version == 2 else without_v2(app)) as base_url, warnings.catch_warnings():
        warnings.simplefilter("error")
        env = RemoteEnv(base_url)
        env.reset()
        for _ in range(10):
            action = env.action_space.sample()
            assert env.step(action)[0] == action["amount"]
        action["amount"] = 3
        assert env.step(action)[0] == 3
        with pytest.raises(ActionOutsideSpaceError, match=r"amount: 0\.5 .*int64.*sample"):
            env.step({**action, "amount": 0.5})
        env.close()
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        actions = envs.action_space.sample()
        assert np.array_equal(envs.step(actions)[0], actions["amount"])
        actions["amount"] = np.array([1.0, 2.0])
        assert envs.step(actions)[0].tolist() == [1, 2]
        actions["amount"] = np.array([1.0, 2.5])
        with pytest.raises(ActionOutsideSpaceError, match=r"slot 1 .*amount: .*int64"):
            envs.step(actions)
        envs.close()


@pytest.mark.integration
def test_a_double_precision_action_steps_pendulum(serve_gym: Any) -> None:
    env = RemoteEnv(serve_gym("Pendulum-v1"))
    env.reset(seed=1)
    assert env.step(np.array([0.5]))[0] in env.observation_space
    with pytest.raises(ActionOutsideSpaceError, match=r"not from -2.0 to 2.0"):
        env.step(np.array([3.0]))
    env.close()
