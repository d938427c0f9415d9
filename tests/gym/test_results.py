"""Results and infos of the slots of a vector environment, in their arrays."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from openenv_gym.vector.results import batch_infos
from tests.support.vectors import assert_equal


class Gymnasiums(gym.vector.VectorEnv[Any, Any, Any]):
    """Gymnasium's own way to batch infos."""

    def __init__(self, size: int) -> None:
        self.num_envs = size

    def batch(self, infos: dict[int, dict[str, Any]]) -> dict[str, Any]:
        batched: dict[str, Any] = {}
        for slot, info in infos.items():
            batched = self._add_info(batched, info, slot)
        return batched


@pytest.mark.parametrize(
    "infos",
    [
        {},
        {0: {"count": 3}, 2: {"count": 4}},
        {1: {"value": 0.5}},
        {0: {"is_new": True}, 1: {"is_new": False}, 2: {"is_new": True}},
        {1: {"name": "x"}, 2: {"other": None}},
        {0: {"array": np.arange(3)}, 2: {"array": np.arange(3) + 1}},
        {0: {"nested": {"a": 1}}, 1: {"nested": {"a": 2, "b": "y"}}},
        {0: {"number": np.float32(2.5)}},
    ],
    ids=["none", "int", "float", "bool", "objects", "arrays", "dicts", "NumPy"],
)
def test_infos_are_batched_like_gymnasiums(infos: dict[int, dict[str, Any]]) -> None:
    assert_equal(Gymnasiums(3).batch(infos), batch_infos(infos, 3))


def test_numbers_of_two_types_are_floats_and_lose_nothing() -> None:
    batched = batch_infos({0: {"x": 1}, 1: {"x": 2.5}}, 2)
    assert batched["x"].tolist() == [1.0, 2.5]


def test_what_no_array_holds_is_an_object() -> None:
    assert batch_infos({0: {"x": 2**70}}, 2)["x"].tolist() == [2**70, None]
    shapes = batch_infos({0: {"x": np.zeros(2)}, 1: {"x": np.zeros(3)}}, 2)["x"]
    assert [len(array) for array in shapes] == [2, 3]
    assert batch_infos({0: {"x": 1}, 1: {"x": "one"}}, 2)["x"].tolist() == [1, "one"]


def test_final_observations_are_objects_one_a_slot() -> None:
    batched = batch_infos({1: {"final_obs": np.ones(2)}}, 2)
    assert batched["final_obs"][0] is None
    assert batched["final_obs"][1].tolist() == [1.0, 1.0]
    assert batched["_final_obs"].tolist() == [False, True]
