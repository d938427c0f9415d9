"""Slots of a vector environment whose sessions are lost, and their new episodes."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from openenv_server import create_app

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import SessionLostError
from openenv_gym.vector.results import named
from tests.support.napper import Nap, Napper, Slept
from tests.support.processes import serving_sleeper
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2
from tests.support.tls import WAYS, cutting_proxy


# Version 1 has no way over a Unix socket.
@pytest.fixture(params=sorted({*itertools.product(["v1", "v2"], WAYS)} - {("v1", "Unix")}), ids=" ".join)
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    """The way to a server of nappers, in either version of the protocol, that keeps no session."""
    version, way = request.param
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=16, resume_grace_s=0)
    with (
        running(without_v2(app) if version == "v1" else app) as base_url,
        cutting_proxy(base_url, way) as proxy,
    ):
        yield proxy


@pytest.mark.parametrize("on_session_lost", ["raise", "truncate"])
def test_a_reset_whose_connection_breaks_is_tried_in_a_new_session(
    proxy: FaultProxy, on_session_lost: Any
) -> None:
    env = RemoteEnv(proxy.base_url, on_session_lost=on_session_lost)
    envs = RemoteVectorEnv(proxy.base_url, 2, on_session_lost=on_session_lost)
    for _ in range(3):
        assert env.reset()[0] == 0
        assert envs.reset()[0].tolist() == [0, 0]
        proxy.cut()
    env.close()
    envs.close()


@pytest.mark.parametrize("on_session_lost", ["raise", "truncate"])
def test_an_autoreset_whose_connection_breaks_is_tried_in_a_new_session(
    proxy: FaultProxy, on_session_lost: Any
) -> None:
    envs = RemoteVectorEnv(proxy.base_url, 2, max_episode_steps=1, on_session_lost=on_session_lost)
    envs.reset()
    for _ in range(3):
        assert envs.step(np.zeros(2))[3].tolist() == [True, True]
        proxy.cut()
        observations, _, terminations, truncations, _ = envs.step(np.zeros(2))
        assert observations.tolist() == [0, 0]
        assert not (terminations | truncations).any()
    envs.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_the_info_of_a_lost_session_says_why_and_nothing_that_is_done_anyway(
    proxy: FaultProxy, mode: AutoresetMode, caplog: pytest.LogCaptureFixture
) -> None:
    env = RemoteEnv(proxy.base_url, on_session_lost="truncate")
    envs = RemoteVectorEnv(proxy.base_url, 2, on_session_lost="truncate", autoreset_mode=mode)
    env.reset()
    envs.reset()
    proxy.cut()
    info = envs.step(np.zeros(2))[4]
    lost = info["final_info"] if mode is AutoresetMode.SAME_STEP else info
    for reason in [*lost["session_lost"], env.step(0.0)[4]["session_lost"]]:
        assert reason.startswith(f"The connection to {proxy.base_url} broke during ")
        assert "reset" not in reason
        assert reason.endswith(".")
    warned = [
        record.getMessage() for record in caplog.records if "truncated: The conn" in record.getMessage()
    ]
    assert "The episode is truncated" in warned[-1]
    assert all(text.startswith("The episodes of slot") for text in warned[:-1])
    assert 1 <= len(warned[:-1]) <= 2  # a warning for a connection; version 1 has one for each slot
    env.close()
    envs.close()


def test_an_error_names_its_slots_in_a_sentence(proxy: FaultProxy) -> None:
    envs = RemoteVectorEnv(proxy.base_url, 5)
    envs.reset()
    proxy.cut()
    whose = "during (the step of slots 0 to 4|step 1 of slot 0)"
    with pytest.raises(
        SessionLostError,
        match=rf"{whose} \(.*\. Call reset for a new session\. With on_session_lost=\"truncate\"",
    ):
        envs.step(np.zeros(5))
    envs.close()


@pytest.mark.parametrize(
    ("slots", "name"),
    [
        ([3], "slot 3"),
        ([2, 3], "slots 2 and 3"),
        ([2, 7], "slots 2 and 7"),
        ([2, 3, 4, 5], "slots 2 to 5"),
        ([2, 4, 9], "slots 2, 4 and 1 more"),
    ],
)
def test_slots_are_named_briefly(slots: list[int], name: str) -> None:
    assert named(slots) == name


def test_an_autoreset_on_a_server_that_shuts_down_begins_on_another_one(tmp_path: Path) -> None:
    folders = tmp_path / "stopping", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    with (
        serving_sleeper(folders[0]) as stopping,
        serving_sleeper(folders[1]) as other,
        FaultProxy(stopping.base_url, faults={}) as proxy,
    ):
        envs = RemoteVectorEnv(
            proxy.base_url,
            2,
            max_episode_steps=1,
            on_session_lost="truncate",
            capacity_timeout_s=10,
        )
        envs.reset()
        action = {"seconds": np.zeros(2), "fail": ("", "")}
        assert envs.step(action)[3].tolist() == [True, True]
        proxy.lead_to(other.base_url)
        stopping.signal(signal.SIGTERM)
        stopping.ends()
        observations, _, terminations, truncations, _ = envs.step(action)
        assert observations.tolist() == [0, 0]
        assert not (terminations | truncations).any()
        assert envs.step(action)[0].tolist() == [1, 1]
        envs.close()


def test_an_autoreset_that_meets_silence_begins_in_a_new_session(proxy: FaultProxy) -> None:
    envs = RemoteVectorEnv(
        proxy.base_url, 2, max_episode_steps=1, on_session_lost="truncate", reset_timeout_s=0.5
    )
    envs.reset()
    assert envs.step(np.zeros(2))[3].tolist() == [True, True]
    proxy.pause()
    threading.Timer(1.0, proxy.resume).start()
    observations, _, terminations, truncations, _ = envs.step(np.zeros(2))
    assert observations.tolist() == [0, 0]
    assert not (terminations | truncations).any()
    envs.close()
