"""Slots of a vector environment whose sessions are lost, and how they begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from openenv_server import create_app

from openenv_gym import RemoteEnv, RemoteVectorEnv
from tests.support.napper import Nap, Napper, Slept
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2


@pytest.fixture(params=["v1", "v2"])
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    """The way to a server of nappers, in either version of the protocol, that keeps no session."""
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=16, resume_grace_s=0)
    with (
        running(without_v2(app) if request.param == "v1" else app) as base_url,
        FaultProxy(base_url, faults={}) as proxy,
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
