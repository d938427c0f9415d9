"""How long encoding and decoding take, and against what.

What is asserted is a ratio of two things that take turns in the same run; `pytest --benchmark-only` prints
the times themselves.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field
from pytest_benchmark.fixture import BenchmarkFixture

from openenv_gym.spaces import compile_observation, observation_codec
from openenv_gym.types import Array, Observation

Do = Callable[[], object]


class Robot(BaseModel):
    is_on: bool
    has_load: bool
    x: float
    y: float
    speed: Annotated[float, Field(ge=0, le=10)]
    count: int
    level: Annotated[int, Field(ge=0, le=9)]
    mood: Literal["calm", "busy", "lost"]
    name: str
    room: str


class Image(Observation):
    frame: Annotated[np.ndarray, Array(np.uint8, (210, 160, 3))]


ROBOT = observation_codec(Robot.model_json_schema())
ROBOT_PAYLOAD = Robot(
    is_on=True,
    has_load=False,
    x=1.5,
    y=-2.25,
    speed=3,
    count=12,
    level=3,
    mood="busy",
    name="Ü 7",
    room="hall",
).model_dump()
ROBOT_ELEMENT = ROBOT.decode(ROBOT_PAYLOAD)
IMAGE = compile_observation(Image.model_json_schema(mode="serialization"), unwrap=True).codec
FRAME = np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)
FRAME_PAYLOAD = {"frame": FRAME.tolist()}


def seconds(do: Do, times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        do()
    return (time.perf_counter() - begin) / times


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Keeps the garbage collector from what other tests left, at which it would look for ours alone."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def ratio(ours: Do, theirs: Do, times: int) -> float:
    """How many times as long ours takes: the median over 21 turns."""
    return median(seconds(ours, times) / seconds(theirs, times) for _ in range(21))


def validate_and_dump_robot() -> object:
    return Robot.model_validate(ROBOT_PAYLOAD).model_dump()


def validate_and_dump_image() -> object:
    return Image.model_validate(FRAME_PAYLOAD).model_dump(mode="json")


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_ten_scalars_take_at_most_15_microseconds(way: str, benchmark: BenchmarkFixture) -> None:
    argument: Any = ROBOT_ELEMENT if way == "encode" else ROBOT_PAYLOAD
    benchmark(getattr(ROBOT, way), argument)
    assert benchmark.stats.stats.median <= 15e-6


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_ten_scalars_are_never_slower_than_pydantic(way: str) -> None:
    convert: Any = getattr(ROBOT, way)
    argument: Any = ROBOT_ELEMENT if way == "encode" else ROBOT_PAYLOAD
    assert ratio(lambda: convert(argument), validate_and_dump_robot, 2000) < 1


def test_an_array_is_taken_at_the_speed_of_a_copy(benchmark: BenchmarkFixture) -> None:
    payload = {"frame": FRAME}
    np.testing.assert_array_equal(benchmark(IMAGE.decode, payload), FRAME)
    assert ratio(lambda: IMAGE.decode(payload), FRAME.copy, 2000) < 1.5


def test_an_array_of_nested_lists_is_read_faster_than_numpy_and_pydantic_do(
    benchmark: BenchmarkFixture,
) -> None:
    np.testing.assert_array_equal(benchmark(IMAGE.decode, FRAME_PAYLOAD), FRAME)
    by_numpy = ratio(
        lambda: IMAGE.decode(FRAME_PAYLOAD), lambda: np.array(FRAME_PAYLOAD["frame"], np.uint8), 1
    )
    assert by_numpy < 1
    assert ratio(lambda: IMAGE.decode(FRAME_PAYLOAD), validate_and_dump_image, 1) < 1


def test_an_array_is_written_as_nested_lists_faster_than_by_pydantic(benchmark: BenchmarkFixture) -> None:
    assert benchmark(IMAGE.encode, FRAME) == FRAME_PAYLOAD
    assert ratio(lambda: IMAGE.encode(FRAME), validate_and_dump_image, 1) < 1
