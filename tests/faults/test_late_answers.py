"""Answers that do not come in time while `recv` waits for whichever slot is ready first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from openenv_server import create_app

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import DeadlineExceededError, UsageError
from tests.support.napper import Nap, Napper, Slept
from tests.support.servers import running, without_v2

MOST_S = 0.5


@pytest.fixture(params=["v1", "v2"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., RemoteVectorEnv]]:
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=16)
    with running(without_v2(app) if request.param == "v1" else app) as base_url:
        yield lambda **keywords: RemoteVectorEnv(base_url, 2, step_timeout_s=MOST_S, **keywords)


def reset(envs: RemoteVectorEnv) -> RemoteVectorEnv:
    envs.reset()
    envs.send(np.array([0.0, 2.0]))
    assert envs.recv().slots.tolist() == [0]
    return envs


def test_a_slot_whose_answer_is_late_fails(make: Callable[..., RemoteVectorEnv]) -> None:
    envs = reset(make())
    begin = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=rf"did not answer .* within {MOST_S} s"):
        envs.recv()
    assert MOST_S / 2 < time.monotonic() - begin < 3 * MOST_S
    with pytest.raises(UsageError, match="0 slots are pending"):
        envs.recv()
    envs.reset()
    envs.close()


def test_looking_in_short_turns_comes_to_the_same(make: Callable[..., RemoteVectorEnv]) -> None:
    envs = reset(make())
    for _ in range(3):
        with pytest.raises(DeadlineExceededError, match="requested slots are ready"):
            envs.recv(timeout_s=0.05)
    time.sleep(MOST_S)
    with pytest.raises(DeadlineExceededError, match="did not answer"):
        envs.recv(timeout_s=0.05)
    envs.close()


def test_a_late_answer_is_the_end_of_the_episode_where_losses_are(
    make: Callable[..., RemoteVectorEnv],
) -> None:
    envs = reset(make(on_session_lost="truncate"))
    ready = envs.recv()
    assert 1 in ready.slots
    assert ready.truncations[-1]
    assert "did not answer" in ready.infos["session_lost"][-1]
    envs.close()


def test_an_answer_that_has_come_is_read_however_long_the_learner_thinks(
    make: Callable[..., RemoteVectorEnv],
) -> None:
    envs = make()
    envs.reset()
    envs.send(np.array([0.0, 0.1]))
    time.sleep(2 * MOST_S)
    slots: list[Any] = []
    while len(slots) < 2:
        slots += envs.recv().slots.tolist()
    assert sorted(slots) == [0, 1]
    envs.close()
