"""Columns: batches of any space, out and back, in each form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import codec_from_space
from openenv_gym.spaces.columns import column_of, payloads, select
from openenv_gym.wire import v2
from openenv_gym.wire.arrays import Attachments
from tests.support.vectors import assert_equal

COUNT = 5
SPACES: list[spaces.Space[Any]] = [
    spaces.Discrete(5, start=-2),
    spaces.Box(-1, 1, (3,)),
    spaces.Box(0, 255, (64, 64, 3), np.uint8),
    spaces.MultiBinary((2, 3)),
    spaces.MultiDiscrete([2, 3], start=[1, -1]),
    spaces.Text(5),
    spaces.Dict(
        {
            "z": spaces.Discrete(2),
            "pair": spaces.Tuple([spaces.Box(0, 1, (2,)), spaces.Text(3)]),
            "inner": spaces.Dict({"image": spaces.Box(0, 255, (90, 90), np.uint8)}),
        }
    ),
    spaces.Sequence(spaces.Discrete(3)),
    spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.Discrete(3)])]),
    spaces.Graph(spaces.Box(0, 1, (2,)), None),
]


def sent(column: Any, attachments: Attachments | None = None) -> Any:
    """A column after its way over the wire."""
    request = v2.Step(id=1, slots=[], actions=column)
    received = v2.decode_request(b"".join(v2.encode(request, attachments)))
    assert isinstance(received, v2.Step)
    return received.actions


@pytest.fixture(params=SPACES, ids=lambda space: type(space).__name__)
def space(request: pytest.FixtureRequest) -> spaces.Space[Any]:
    chosen: spaces.Space[Any] = request.param
    chosen.seed(3)
    return chosen


def test_out_and_back(space: spaces.Space[Any]) -> None:
    codec = codec_from_space(space)
    column = column_of(codec)
    drawn = [space.sample() for _ in range(COUNT)]
    batch = concatenate(space, drawn, create_empty_array(space, COUNT))
    elements = column.elements(sent(column.from_batch(batch, COUNT)), COUNT)
    assert all(space.contains(element) for element in elements)
    assert_equal(drawn, elements)
    attachments = Attachments()
    in_arrays = sent(column.from_elements(drawn, attachments), attachments)
    in_payloads = sent([codec.encode(element) for element in drawn])
    for wire in (in_arrays, in_payloads):
        memory = column.empty(COUNT)
        column.write(wire, memory, slice(None))
        assert_equal(batch, column.batch(memory, copy=True))
        assert_equal(batch, column.batch(column.adopt(wire, column.empty(COUNT)), copy=False))
        assert_equal(drawn[3], column.row(wire, 3))
        column.write(select(wire, [0, 1]), memory, np.array([4, 2]))
        expected = [drawn[0], drawn[1], drawn[1], drawn[3], drawn[0]]
        assert_equal(
            concatenate(space, expected, create_empty_array(space, COUNT)), column.batch(memory, copy=True)
        )
        assert_equal(
            concatenate(space, expected[2:4], create_empty_array(space, 2)),
            column.take(memory, np.array([2, 3])),
        )
    assert len(payloads(in_payloads, COUNT)) == COUNT


def test_what_is_no_column_is_refused(space: spaces.Space[Any]) -> None:
    column = column_of(codec_from_space(space))
    for wire in (None, 7, "text", [], [None] * COUNT, {}, np.zeros((COUNT, 9), np.int16), np.zeros(())):
        with pytest.raises(SpaceError):
            column.elements(wire, COUNT)
        with pytest.raises(SpaceError):
            column.write(wire, column.empty(COUNT), slice(None))


def test_elements_outside_the_space_are_refused() -> None:
    for space, wire in (
        (spaces.Discrete(3), np.array([0, 3])),
        (spaces.Box(-1, 1, (1,)), np.array([[0.0], [np.nan]], np.float32)),
        (spaces.MultiBinary(1), np.array([[0], [2]], np.int8)),
        (spaces.Discrete(3), [0, 3]),
    ):
        with pytest.raises(SpaceError):
            column_of(codec_from_space(space)).elements(wire, 2)


def test_batches_are_seen_to_be_right_or_left_to_the_space() -> None:
    column = column_of(codec_from_space(spaces.Discrete(3)))
    assert column.surely_holds(np.array([0, 2]), 2)
    for batch in (np.array([0, 3]), np.array([0, 2], np.int32), [0, 2], np.array([0])):
        assert not column.surely_holds(batch, 2)


def test_actions_are_writable_and_their_own(space: spaces.Space[Any]) -> None:
    column = column_of(codec_from_space(space))
    batch = concatenate(space, [space.sample()] * 2, create_empty_array(space, 2))
    for element in column.elements(sent(column.from_batch(batch, 2)), 2):
        if isinstance(element, np.ndarray):
            element[...] = element[::-1]


@pytest.mark.parametrize(
    "space", SPACES[:-1], ids=lambda space: type(space).__name__
)  # not even its own graphs
def test_batches_are_in_gymnasiums_batch_space(space: spaces.Space[Any]) -> None:
    column = column_of(codec_from_space(space))
    memory = column.empty(2)
    for row in range(2):
        column.put(space.sample(), memory, row)
    assert batch_space(space, 2).contains(column.batch(memory, copy=True))
