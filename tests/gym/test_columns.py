"""Columns: batches of any space, to the wire and back, in each form, as Gymnasium itself batches them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import Codec, codec_from_space
from openenv_gym.spaces.casting import cast
from openenv_gym.spaces.columns import Column, column_of, payloads, select
from openenv_gym.wire import v2
from openenv_gym.wire.v2 import Attachments
from tests.gym.test_spaces import GYMNASIUM_SPACES
from tests.gym.test_spaces_golden import compiled
from tests.support.realistic import ENVIRONMENTS
from tests.support.vectors import assert_equal

COUNT = 5
SPACES: list[spaces.Space[Any]] = [
    *GYMNASIUM_SPACES,
    spaces.Box(0, 255, (64, 64, 3), np.uint8),
    spaces.Dict(
        {
            "z": spaces.Discrete(2),
            "pair": spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.Text(3)]),
            "inner": spaces.Dict({"image": spaces.Box(0, 255, (90, 90), np.uint8)}),
        }
    ),
    spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.Discrete(3)])]),
]
# And the schemas of environments as people write them.
CODECS: dict[str, Codec] = {
    **{str(space)[:60]: codec_from_space(space) for space in SPACES},
    **{name: compiled(model).codec for name, model in ENVIRONMENTS.items()},
}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen = CODECS[request.param]
    chosen.space.seed(3)
    return chosen


def drawn_from(codec: Codec, count: int = COUNT) -> list[Any]:
    """Samples, as a server sends them: a payload that fits several alternatives is of the first one."""
    return [codec.decode(codec.encode(codec.space.sample())) for _ in range(count)]


def batch_of(space: spaces.Space[Any], elements: list[Any]) -> Any:
    return concatenate(space, elements, create_empty_array(space, len(elements)))


def sent(column: Any, attachments: Attachments | None = None) -> Any:
    """A column after its way over the wire."""
    request = v2.Step(id=1, slots=[], actions=column)
    received = v2.decode_request(b"".join(v2.encode(request, attachments)))
    assert isinstance(received, v2.Step)
    return received.actions


def forms_of(codec: Codec, column: Column, elements: list[Any]) -> list[Any]:
    """The column of elements as it arrives, in arrays if it can have them, and in payloads."""
    attachments = Attachments()
    in_arrays = sent(column.from_elements(elements, attachments), attachments)
    return [in_arrays, sent([codec.encode(element) for element in elements])]


def test_observations_are_batched_like_gymnasiums(codec: Codec) -> None:
    column, space = column_of(codec), codec.space
    drawn = drawn_from(codec)
    batch = batch_of(space, drawn)
    for wire in forms_of(codec, column, drawn):
        memory = column.allocate(COUNT)
        column.write(wire, memory, slice(None))
        assert_equal(batch, column.batch(memory, copy=True))
        assert_equal(batch, column.batch(column.write_zero_copy(wire, column.allocate(COUNT)), copy=False))
        assert_equal(drawn[3], column.element(wire, 3))
        column.write(select(wire, [0, 1]), memory, np.array([4, 2]))
        expected = [drawn[0], drawn[1], drawn[1], drawn[3], drawn[0]]
        assert_equal(batch_of(space, expected), column.batch(memory, copy=True))
        assert_equal(batch_of(space, expected[2:4]), column.take(memory, np.array([2, 3])))
        assert [codec.encode(codec.decode(payload)) for payload in payloads(wire, COUNT)] == [
            codec.encode(element) for element in drawn
        ]


def test_actions_are_taken_apart_like_gymnasiums(codec: Codec) -> None:
    column = column_of(codec)
    drawn = drawn_from(codec)
    wire = sent(column.from_batch(batch_of(codec.space, drawn), COUNT))
    elements = column.elements(wire, COUNT)
    assert_equal(drawn, elements)
    assert all(codec.space.contains(element) for element in elements)
    theirs = list(iterate(batch_space(codec.space, COUNT), batch_of(codec.space, drawn)))
    assert [codec.encode(element) for element in theirs] == [codec.encode(element) for element in drawn]


def test_batches_are_in_gymnasiums_batch_space(codec: Codec) -> None:
    if isinstance(codec.space, spaces.Graph):
        pytest.skip("Gymnasium's batch space of graphs does not even contain its own samples")
    column = column_of(codec)
    memory = column.allocate(2)
    for row, element in enumerate(drawn_from(codec, 2)):
        column.put(element, memory, row)
    batch = column.batch(memory, copy=True)
    assert batch_space(codec.space, 2).contains(batch)
    assert not column.contains_fast(batch, 3)


def test_what_is_not_a_column_is_refused(codec: Codec) -> None:
    column = column_of(codec)
    for wire in (7, "text", [], [object()] * COUNT, {}, np.zeros((COUNT + 1, 9), np.int16), np.zeros(())):
        with pytest.raises(SpaceError):
            column.elements(wire, COUNT)
        with pytest.raises(SpaceError):
            column.write(wire, column.allocate(COUNT), slice(None))
    for wire in (None, 7, "text", [], np.zeros(())):
        with pytest.raises(SpaceError):
            column.element(wire, 0)


def test_elements_outside_the_space_are_refused() -> None:
    for space, wire in (
        (spaces.Discrete(3), np.array([0, 3])),
        (spaces.Discrete(3), np.array([0, 1], np.int32)),
        (spaces.Box(-1, 1, (1,)), np.array([[0.0], [np.nan]], np.float32)),
        (spaces.Box(-1, 1, (1,)), np.array([[0.0, 0.0], [0.0, 0.0]], np.float32)),
        (spaces.MultiBinary(1), np.array([[0], [2]], np.int8)),
        (spaces.Discrete(3), [0, 3]),
    ):
        with pytest.raises(SpaceError):
            column_of(codec_from_space(space)).elements(wire, 2)


def test_a_fast_check_is_right_or_says_no() -> None:
    numbers, pairs, maps = (
        column_of(codec_from_space(space))
        for space in (
            spaces.Discrete(3),
            spaces.Tuple([spaces.Discrete(3), spaces.Discrete(2)]),
            spaces.Dict({"a": spaces.Discrete(3)}),
        )
    )
    good = np.array([0, 2])
    assert numbers.contains_fast(good, 2)
    assert pairs.contains_fast((good, np.array([0, 1])), 2)
    assert maps.contains_fast({"a": good}, 2)
    for batch in (np.array([0, 3]), np.array([0, 2], np.int32), [0, 2], np.array([0])):
        assert not numbers.contains_fast(batch, 2)
        assert not pairs.contains_fast((good, batch), 2)
        assert not maps.contains_fast({"a": batch}, 2)
    assert not pairs.contains_fast((good,), 2)
    assert not maps.contains_fast({"a": good, "b": good}, 2)


NEARLY = [
    *(True, 0, 2, 3, -1, 2**70, 1.0, 1.5, "1", None, [0, 1], (0.5, 0.5)),
    *(np.int64(1), np.int64(3), np.int32(1), np.uint8(1), np.float32(1), np.bool_(True)),
    *(np.array(1), np.array([1]), np.array([1, 1]), np.array([0.5, 0.5], np.float32), np.array([0.5, 2])),
    np.array([np.nan, 0.5], np.float32),
    np.zeros((0, 2), np.float32),
]


def outcome(cast_one: Callable[[Any], Any], value: Any) -> tuple[Any, str]:
    """What a value is cast to, or why it cannot be."""
    try:
        return cast_one(value), ""
    except SpaceError as refused:
        return None, str(refused)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.Discrete(3, start=-1),
        spaces.Discrete(2, dtype=np.uint8),
        spaces.Box(0, 1, (2,)),
        spaces.Box(-1, 1, ()),
        spaces.Box(0, 3, (1,), np.int64),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(2),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", NEARLY, ids=repr)
def test_a_column_casts_one_value_as_its_space_does(space: spaces.Space[Any], value: Any) -> None:
    columns = (
        (column_of(codec_from_space(space)), value),
        (column_of(codec_from_space(spaces.Dict({"a": space}))), {"a": value}),
    )
    for column, its_value in columns:
        result, reason = outcome(column.cast, its_value)
        expected, its_reason = outcome(partial(cast, column.codec.space), its_value)
        assert reason == its_reason
        assert type(result) is type(expected)
        assert_equal(result, expected)
        assert reason or column.codec.space.contains(result)


def test_actions_are_writable_and_separate(codec: Codec) -> None:
    column = column_of(codec)
    element = drawn_from(codec, 1)[0]
    wire = sent(column.from_batch(batch_of(codec.space, [element] * 2), 2))
    first, second = column.elements(wire, 2)
    if isinstance(first, np.ndarray) and first.size:
        first[...] = 1 - second
        assert_equal(second, column.elements(wire, 2)[1])


def test_a_column_of_many_small_elements_is_sent() -> None:
    column = column_of(codec_from_space(spaces.Discrete(9)))
    attachments = Attachments()
    wire = sent(column.from_elements([np.int64(8)] * 5_000, attachments), attachments)
    assert column.elements(wire, 5_000) == [8] * 5_000


def test_an_environment_without_fields_has_a_column() -> None:
    for space in (spaces.Dict({}), spaces.Tuple([])):
        column = column_of(codec_from_space(space))
        wire = sent(column.from_batch(space.sample(), 2))
        assert column.elements(wire, 2) == [space.sample()] * 2
        memory = column.write_zero_copy(wire, column.allocate(2))
        assert column.batch(memory, copy=True) == space.sample()


@pytest.mark.parametrize(
    ("space", "elements"),
    [
        (spaces.Discrete(5), [1, 0.5]),
        (spaces.Discrete(5), [np.int64(1), np.float64(0.5)]),
        (spaces.MultiDiscrete([5, 5]), [np.array([1, 2]), np.array([0.5, 2])]),
        (spaces.MultiDiscrete([5, 5]), [[1, 2], [1, 0.5]]),
        (spaces.Box(0, 255, (2,), np.uint8), [np.zeros(2, np.uint8), np.array([0.0, 300.0])]),
        (spaces.MultiBinary(2), [np.zeros(2, np.int8), np.array([0.0, np.nan])]),
    ],
)
def test_no_element_of_a_column_is_rounded(space: spaces.Space[Any], elements: list[Any]) -> None:
    column = column_of(codec_from_space(space))
    with pytest.raises(SpaceError, match=" is no "):
        column.from_elements(elements, Attachments())
    with pytest.raises(SpaceError, match=" is no "):
        column.from_elements(elements[1:], Attachments())
