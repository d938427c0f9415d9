"""The array annotation: what a model accepts, what goes on the wire, and the space it becomes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app
from pydantic import ValidationError

from openenv_gym import RemoteEnv
from openenv_gym.spaces import observation_codec
from openenv_gym.types import Array, Observation
from tests.support.environments import CountAction, Counter
from tests.support.servers import running


class Seen(Observation):
    frame: Annotated[np.ndarray[Any, Any], Array(np.uint8, (4, 3, 3))]
    joints: Annotated[np.ndarray[Any, Any], Array(np.float32, (2,), low=-1, high=1)]
    heat: Annotated[np.ndarray[Any, Any], Array(np.float64, ())]


FRAME = np.arange(36, dtype=np.uint8).reshape(4, 3, 3)
JOINTS = np.array([0.1, -1], np.float32)
HEAT = np.array(0.5)


def test_the_space_is_the_exact_box() -> None:
    codec = observation_codec(Seen.model_json_schema(mode="serialization"))
    assert codec.space == spaces.Dict(
        {
            "frame": spaces.Box(0, 255, (4, 3, 3), np.uint8),
            "joints": spaces.Box(-1, 1, (2,), np.float32),
            "heat": spaces.Box(-np.inf, np.inf, (), np.float64),
        }
    )


@pytest.mark.integration
def test_arrays_come_back_exactly_over_the_wire() -> None:
    class Camera(Counter):
        def step(self, action: CountAction) -> Any:
            return Seen(frame=FRAME, joints=JOINTS, heat=HEAT)

        def reset(self, **kwargs: Any) -> Any:
            return self.step(CountAction(amount=0))

    with running(create_app(Camera, CountAction, Seen)) as url:
        env = RemoteEnv(url)
        observation, _ = env.reset()
        assert observation in env.observation_space
        for name, expected in (("frame", FRAME), ("joints", JOINTS), ("heat", HEAT)):
            assert observation[name].dtype == expected.dtype
            assert np.array_equal(observation[name], expected)
        env.close()


def test_lists_are_converted_and_a_dump_has_lists() -> None:
    seen = Seen(frame=FRAME.tolist(), joints=[0.1, -1], heat=0.5)
    assert np.array_equal(seen.frame, FRAME)
    assert seen.frame.dtype == np.uint8
    assert seen.model_dump()["frame"] == seen.model_dump(mode="json")["frame"] == FRAME.tolist()
    assert Seen.model_validate_json(seen.model_dump_json()).joints.tolist() == JOINTS.tolist()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("frame", FRAME.astype(np.int64), "an array of uint8, not int64"),
        ("frame", FRAME[:2], r"the shape \(4, 3, 3\), not \(2, 3, 3\)"),
        ("frame", (FRAME + 0.5).tolist(), "whole numbers of uint8"),
        ("frame", (FRAME.astype(int) + 250).tolist(), "an array of uint8"),
        ("frame", "no array", "an array of uint8"),
        ("frame", [[1], [1, 2]], "an array of uint8"),
        ("joints", np.array([2, 0], np.float32), "values from -1 to 1"),
        ("joints", np.array([np.nan, 0], np.float32), "values from -1 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(field: str, value: Any, message: str) -> None:
    good = {"frame": FRAME, "joints": JOINTS, "heat": HEAT}
    with pytest.raises(ValidationError, match=message):
        Seen(**{**good, field: value})


def test_a_dtype_that_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="an integer or a float"):
        Array(np.dtype("U4"), (2,))
