"""`ResultBuffer` and `batch_infos`: what is taken, when, and what stays for a later call."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from openenv_gym.spaces.infos import batch_infos
from openenv_gym.vector.results import ResultBuffer
from tests.support.scripted import env_spaces
from tests.support.vectors import assert_equal


def buffer_of(count: int) -> ResultBuffer:
    return ResultBuffer(env_spaces(), count)


@pytest.fixture
def results() -> ResultBuffer:
    """Four slots that have taken a step: slot i is at place 10 * i, and has a reward of i."""
    results = buffer_of(4)
    results.mark_pending([0, 1, 2, 3])
    fill(results, [0, 1, 2, 3])
    return results


def fill(results: ResultBuffer, slots: list[int], add: int = 0) -> None:
    rows = results.rows(slots)
    payloads = [{"place": 10 * slot + add} for slot in slots]
    results.column.write(payloads, results.observations, rows)
    results.rewards[rows] = slots
    results.terminated[rows] = results.truncated[rows] = False
    for slot in slots:
        results.infos[slot] = {"which": slot}
    results.mark_ready(rows)


def test_marks_follow_the_life_of_a_request() -> None:
    results = buffer_of(3)
    assert not (results.pending.any())
    assert not (results.ready.any())
    assert not (results.has_episode.any())
    results.mark_pending([0, 2])
    assert results.pending.tolist() == [True, False, True]
    fill(results, [2])
    assert results.pending.tolist() == [True, False, False]
    assert results.ready.tolist() == results.has_episode.tolist() == [False, False, True]
    results.mark_pending([2])  # the result was not taken, and is replaced
    assert results.ready.tolist() == [False, False, False]
    assert results.has_episode.tolist() == [False, False, True]
    assert results.infos == {}


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_failed_request_may_end_the_episode(results: ResultBuffer, is_lost: bool) -> None:
    results.mark_pending([1, 2])
    results.mark_failed([1], is_lost=is_lost)
    assert results.pending.tolist() == [False, False, True, False]
    assert results.has_episode.tolist() == [True, not is_lost, True, True]
    results.mark_failed([], is_lost=True)
    assert results.has_episode.tolist() == [True, not is_lost, True, True]


def test_take_all_takes_everything_once(results: ResultBuffer) -> None:
    results.truncated[3] = True
    observations, rewards, terminations, truncations, infos = results.take_all(copy=True)
    assert observations.tolist() == [0, 10, 20, 30]
    assert rewards.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert (terminations.tolist(), truncations.tolist()) == ([False] * 4, [False, False, False, True])
    assert infos["which"].tolist() == [0, 1, 2, 3]
    assert not results.ready.any()
    assert results.take_all(copy=True)[4] == {}


@pytest.mark.parametrize("copy", [True, False])
def test_observations_are_copied_if_asked_for(results: ResultBuffer, copy: bool) -> None:
    observations, rewards, terminations, truncations, _ = results.take_all(copy=copy)
    fill(results, [0, 1, 2, 3], add=1)
    results.rewards[:], results.terminated[:], results.truncated[:] = 9.0, True, True
    assert observations.tolist() == ([0, 10, 20, 30] if copy else [1, 11, 21, 31])
    assert rewards.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert not (terminations.any())
    assert not (truncations.any())


def test_take_ready_takes_the_slots_that_are_ready_in_fresh_memory(results: ResultBuffer) -> None:
    results.take_all(copy=True)
    results.mark_pending([0, 1, 3])
    fill(results, [3, 1], add=5)
    results.terminated[3] = True
    ready = results.take_ready()
    assert ready.slots.tolist() == [1, 3]
    assert ready.observations.tolist() == [15, 35]
    assert ready.rewards.tolist() == [1.0, 3.0]
    assert ready.terminations.tolist() == [False, True]
    assert ready.truncations.tolist() == [False, False]
    assert ready.infos["which"].tolist() == [1, 3]  # at the places of the two
    fill(results, [1, 3], add=7)
    assert ready.observations.tolist() == [15, 35]
    assert results.pending.tolist() == [True, False, False, False]


def test_take_ready_without_a_ready_slot_is_empty(results: ResultBuffer) -> None:
    results.take_all(copy=True)
    ready = results.take_ready()
    assert (len(ready.slots), len(ready.observations), ready.infos) == (0, 0, {})


def test_take_resets_leaves_the_other_slots_results(results: ResultBuffer) -> None:
    observations, infos = results.take_resets([1, 2], copy=True)
    assert observations.tolist() == [0, 10, 20, 30]  # the latest of all slots
    assert infos["which"].tolist() == [0, 1, 2, 0]
    assert infos["_which"].tolist() == [False, True, True, False]
    assert results.ready.tolist() == [True, False, False, True]
    ready = results.take_ready()
    assert ready.slots.tolist() == [0, 3]
    assert ready.infos["which"].tolist() == [0, 3]


def test_a_truncated_slot_is_ready_with_its_last_observation(results: ResultBuffer) -> None:
    results.take_all(copy=True)
    results.mark_pending([2])
    results.terminated[2] = True  # of an episode before
    results.truncate(2, {"session_lost": "a cut"})
    assert results.has_ended(2)
    assert not results.has_ended(1)
    ready = results.take_ready()
    assert ready.slots.tolist() == [2]
    assert ready.observations.tolist() == [20]
    assert (ready.rewards[0], ready.terminations[0], ready.truncations[0]) == (0.0, False, True)
    assert ready.infos["session_lost"].tolist() == ["a cut"]
    assert not results.pending.any()


def test_the_end_of_an_episode_is_added_to_the_info_of_the_next(results: ResultBuffer) -> None:
    last = results.last_observation(1)
    results.add_final(1, last, {"score": 3})
    fill_only = {"place": 500}
    results.column.write([fill_only], results.observations, results.rows([1]))
    observations, _, _, _, infos = results.take_all(copy=True)
    assert observations.tolist() == [0, 500, 20, 30]
    assert infos["final_obs"].tolist() == [None, 10, None, None]
    assert infos["final_info"]["score"].tolist() == [0, 3, 0, 0]
    assert infos["_final_info"].tolist() == [False, True, False, False]
    assert infos["which"].tolist() == [0, 1, 2, 3]


def test_the_last_observation_is_an_element_of_the_space_in_fresh_memory(results: ResultBuffer) -> None:
    last = results.last_observation(3)
    fill(results, [3], add=1)
    assert last == 30
    assert isinstance(last, np.int64)


def test_all_slots_are_a_slice_and_others_an_array(results: ResultBuffer) -> None:
    assert results.rows([0, 1, 2, 3]) == slice(None)
    rows: Any = results.rows([0, 3])
    assert rows.tolist() == [0, 3]
    assert results.rows([3, 2, 1, 0]).tolist() == [3, 2, 1, 0]  # type: ignore[union-attr]


def test_spaces_of_actions_are_made_once_a_size(results: ResultBuffer) -> None:
    assert results.action_space(2).shape == (2,)
    assert results.action_space(2) is results.action_space(2)


# --- infos ------------------------------------------------------------------------------------------------


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
