"""A vector environment's batch stays writable, whatever its size and whichever slots answer first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteVectorEnv
from openenv_gym.spaces import codec_from_space
from openenv_gym.spaces.columns import column_of
from openenv_gym.wire import v2
from openenv_gym.wire.v2 import Attachments
from tests.support.servers import running

COUNT = 3
# Bytes of one slot. A batch has three times as many: both sides of each threshold of the wire and the socket.
SIZES = [1, 100, 84 * 84, 1 << 14, 21_000, 1 << 16, 10_000_000]


class FilledFrames(gym.Env[Any, Any]):
    """Frames filled with the step count. An action is the duration of a step, in twentieths of a second."""

    def __init__(self, size: int) -> None:
        self.observation_space = spaces.Box(0, 255, (size,), np.uint8)
        self.action_space = spaces.Discrete(10)
        self._steps = 0

    def reset(self, **_: Any) -> Any:
        self._steps = 0
        return self._frame(), {}

    def step(self, action: Any) -> Any:
        time.sleep(int(action) / 20)
        self._steps += 1
        return self._frame(), 0.0, False, False, {}

    def _frame(self) -> Any:
        return np.full(self.observation_space.shape, self._steps, np.uint8)


@pytest.fixture(params=SIZES)
def envs(request: pytest.FixtureRequest) -> Iterator[RemoteVectorEnv]:
    factory, models = gymnasium_factory(lambda: FilledFrames(request.param))
    with running(create_app(factory, *models)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT)
        yield envs
        envs.close()


def steps_in(observations: Any) -> list[int]:
    assert (observations == observations[:, :1]).all()
    steps: list[int] = observations[:, 0].tolist()
    return steps


def test_slots_answer_in_any_order(envs: RemoteVectorEnv) -> None:
    envs.reset()
    for step, durations in enumerate(permutations(range(COUNT)), start=1):
        assert steps_in(envs.step(np.array(durations))[0]) == [step] * COUNT


def test_some_slots_are_reset(envs: RemoteVectorEnv) -> None:
    envs.reset()
    envs.step(np.zeros(COUNT, np.int64))
    for slots, expected in (([1], [1, 0, 1]), ([0, 2], [0, 0, 0])):
        mask = np.isin(np.arange(COUNT), slots)
        assert steps_in(envs.reset(options={"reset_mask": mask})[0]) == expected
    assert steps_in(envs.step(np.zeros(COUNT, np.int64))[0]) == [1, 1, 1]


def test_some_slots_are_stepped(envs: RemoteVectorEnv) -> None:
    envs.reset()
    for slots, expected in (([2], [0, 0, 1]), ([1, 0], [1, 1, 1]), ([0, 1, 2], [2, 2, 2])):
        envs.send(np.zeros(len(slots), np.int64), slots)
        received = envs.recv(min_ready=len(slots))
        assert steps_in(received.observations) == [expected[slot] for slot in received.slots]
    assert steps_in(envs.step(np.zeros(COUNT, np.int64))[0]) == [3, 3, 3]


@pytest.mark.parametrize("is_writable", [True, False], ids=["writable", "read-only"])
@pytest.mark.parametrize("size", SIZES)
def test_a_batch_taken_from_a_message_is_writable(size: int, is_writable: bool) -> None:
    space = spaces.Dict({"frame": spaces.Box(0, 255, (size,), np.uint8), "step": spaces.Discrete(9)})
    column = column_of(codec_from_space(space))
    memory = column.allocate(COUNT)
    for step in (1, 2, 3):
        elements = [{"frame": np.full(size, step, np.uint8), "step": np.int64(step)}] * COUNT
        memory = column.write_zero_copy(message(column, elements, is_writable), memory)
        for order in permutations(range(COUNT)):
            for slot in order:
                changed = [{"frame": np.full(size, 7 + slot, np.uint8), "step": np.int64(slot)}]
                column.write(message(column, changed, is_writable), memory, np.array([slot]))
        assert steps_in(memory["frame"]) == [7, 8, 9]
        assert memory["step"].tolist() == [0, 1, 2]


def message(column: Any, elements: list[Any], is_writable: bool) -> Any:
    """A column of elements after its way over the wire."""
    attachments = Attachments()
    observations = column.from_elements(elements, attachments)
    result = v2.Result(id=1, slots=list(range(len(elements))), observations=observations, rewards=[])
    received = v2.decode_answer(
        memoryview((bytearray if is_writable else bytes)(b"".join(v2.encode(result, attachments))))
    )
    assert isinstance(received, v2.Result)
    return received.observations
