"""Servers whose environment raises, or ends them: what is said, and what becomes of the slots."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from openenv_gym.errors import RemoteEnvironmentError, ServerEndedError, SessionLostError
from tests.support.ending import END_IN_RESET, END_IN_STEP

APP = "tests.support.ending:app"
NEW = "Close this environment and make a new one"


def make(**keywords: Any) -> gym.Env[Any, Any]:
    return gym.make("openenv/remote", app=APP, disable_env_checker=True, **keywords)


@pytest.mark.integration
def test_the_end_of_the_server_in_a_step_is_said_with_its_last_words() -> None:
    env = make()
    env.reset()
    with pytest.raises(ServerEndedError, match=f"exit code 3[^$]*the end in step[^$]*{NEW}"):
        env.step(np.int64(END_IN_STEP))
    with pytest.raises(ServerEndedError, match="exit code 3") as said:
        env.reset()
    assert "openenv serve" not in str(said.value)
    env.close()


def test_the_end_of_the_server_in_a_reset_is_said_at_once() -> None:
    env = make(capacity_timeout_s=60)
    begin = time.monotonic()
    with pytest.raises(ServerEndedError, match=f"exit code 4[^$]*the end in reset[^$]*{NEW}"):
        env.reset(seed=END_IN_RESET)
    assert time.monotonic() - begin < 15
    env.close()


def test_where_lost_sessions_truncate_the_next_reset_says_that_the_server_has_ended() -> None:
    env = make(on_session_lost="truncate", capacity_timeout_s=60)
    env.reset()
    _, _, _, truncated, info = env.step(np.int64(END_IN_STEP))
    assert truncated
    assert "session_lost" in info
    begin = time.monotonic()
    with pytest.raises(ServerEndedError, match="exit code 3"):
        env.reset()
    assert time.monotonic() - begin < 15
    env.close()


def test_the_slots_of_a_replica_that_ends_go_to_the_others() -> None:
    envs = gym.make_vec("openenv/remote", 4, app=APP, replicas=2)
    envs.reset()
    one_ends = np.array([1, 1, 1, END_IN_STEP])
    with pytest.raises(ServerEndedError, match=r"not restarted.*its slots to the 1 of 2 that still run"):
        envs.step(one_ends)
    envs.reset()
    with pytest.raises(RemoteEnvironmentError):
        envs.step(np.array([1, 1, 1, 50]))
    envs.reset()
    envs.send(one_ends)
    with pytest.raises(ServerEndedError, match=rf"the end in step[^$]*None of the 2 servers is left. {NEW}"):
        envs.recv(4)
    with pytest.raises(ServerEndedError, match=NEW):
        envs.reset()
    envs.close()


@pytest.mark.parametrize("slot", [0, 3])
def test_what_a_replica_raises_is_shown_with_the_end_of_its_own_log(slot: int) -> None:
    envs = gym.make_vec("openenv/remote", 4, app=APP, replicas=2)
    envs.reset()
    actions = np.ones(4, np.int64)
    actions[slot] = 50
    with pytest.raises(RemoteEnvironmentError) as raised:
        envs.step(actions)
    (note,) = raised.value.__notes__
    assert note.startswith("The server's log ends with:\n")
    assert note.endswith("RuntimeError: too much")
    launch = envs.unwrapped._servers  # type: ignore[attr-defined]
    assert [url in note for url in launch.endpoints] == [url in str(raised.value) for url in launch.endpoints]
    envs.close()


def test_a_worker_that_ends_is_not_the_end_of_its_server() -> None:
    env = make(provider_options={"workers": 2}, capacity_timeout_s=60)
    env.reset()
    with pytest.raises(SessionLostError) as lost:
        env.step(np.int64(END_IN_STEP))
    assert not isinstance(lost.value, ServerEndedError)
    env.reset()
    env.step(np.int64(1))
    env.close()
