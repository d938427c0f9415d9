"""A reset of some slots leaves the others alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from openenv_server import create_app

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import RemoteEnvironmentError, ResetNeededError, SessionLostError, UsageError
from tests.support.napper import Nap, Napper, Slept
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2


@pytest.fixture(params=["v1", "v2"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Serves nappers in either version of the protocol."""
    with ExitStack() as stack:

        def serving(**keywords: Any) -> str:
            app = create_app(Napper, Nap, Slept, max_concurrent_envs=16, **keywords)
            return stack.enter_context(running(without_v2(app) if request.param == "v1" else app))

        yield serving


@pytest.fixture
def nappers(serve: Callable[..., str]) -> Iterator[RemoteVectorEnv]:
    envs = RemoteVectorEnv(serve(), 4)
    envs.reset()
    yield envs
    envs.close()


def reset(envs: RemoteVectorEnv, *slots: int) -> tuple[Any, dict[str, Any]]:
    mask = np.zeros(envs.num_envs, np.bool_)
    mask[list(slots)] = True
    return envs.reset(options={"reset_mask": mask})


def test_it_does_not_wait_for_the_steps_of_others(nappers: RemoteVectorEnv) -> None:
    nappers.send(np.array([0.8]), [3])
    begin = time.monotonic()
    reset(nappers, 0, 1)
    assert time.monotonic() - begin < 0.6
    with pytest.raises(UsageError, match=r"slot 3 still pending"):
        reset(nappers, 3)
    assert nappers.recv().slots.tolist() == [3]


def test_results_and_infos_of_others_are_left_for_their_recv(nappers: RemoteVectorEnv) -> None:
    nappers.send(np.array([0.0, 0.1]), [2, 3])
    time.sleep(0.3)  # their answers are here before that of the reset
    _, infos = reset(nappers, 0)
    assert "slept" not in infos
    assert infos["_seed"].tolist() == [True, False, False, False]
    ready = nappers.recv(min_ready=2)
    assert (ready.slots.tolist(), ready.observations.tolist()) == ([2, 3], [1, 1])
    assert ready.infos["slept"].tolist() == [0.0, 0.1]
    assert nappers.metrics["steps"].tolist() == [0, 0, 1, 1]


def test_a_result_that_was_not_received_is_left_by_a_reset_of_others(nappers: RemoteVectorEnv) -> None:
    with pytest.raises(RemoteEnvironmentError, match="slot 3"):
        nappers.step(np.array([0.0, 0.0, 0.0, -1.0]))
    reset(nappers, 0)
    ready = nappers.recv(min_ready=2)
    assert (ready.slots.tolist(), ready.observations.tolist()) == ([1, 2], [1, 1])
    assert ready.infos["slept"].tolist() == [0.0, 0.0]


def test_a_failure_of_others_is_left_for_their_recv(nappers: RemoteVectorEnv) -> None:
    nappers.send(np.array([-1.0, 0.0]), [1, 2])
    time.sleep(0.3)
    assert reset(nappers, 0)[0].shape == (4,)
    with pytest.raises(RemoteEnvironmentError, match=r"step 1 of slot 1: .*cannot sleep backwards"):
        nappers.recv()
    assert nappers.recv().slots.tolist() == [2]
    assert nappers.step(np.zeros(4))[0].tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize("on_session_lost", ["raise", "truncate"])
def test_the_loss_of_those_that_were_asked_nothing_is_said_by_their_next_step(
    serve: Callable[..., str], on_session_lost: Any
) -> None:
    with FaultProxy(serve(resume_grace_s=0), faults={}) as proxy:
        envs = RemoteVectorEnv(proxy.base_url, 4, on_session_lost=on_session_lost)
        envs.reset()
        proxy.cut()
        reset(envs, 0)
        if on_session_lost == "truncate":
            assert envs.step(np.zeros(4))[3].tolist() == [False, True, True, True]
        else:
            with pytest.raises(SessionLostError, match=proxy.base_url):
                envs.step(np.zeros(4))
            with pytest.raises(ResetNeededError):
                envs.step(np.zeros(4))
        envs.close()


def test_the_loss_of_others_is_left_for_their_recv(serve: Callable[..., str]) -> None:
    with FaultProxy(serve(resume_grace_s=0), faults={}) as proxy:
        envs = RemoteVectorEnv(proxy.base_url, 4)
        envs.reset()
        envs.send(np.full(2, 0.5), [2, 3])
        proxy.cut()
        with pytest.raises(SessionLostError):
            envs.recv()
        if envs._results.pending.any():  # in version 1, each slot has its own connection to lose
            with pytest.raises(SessionLostError, match="slot 3"):
                envs.recv()
        assert reset(envs, 0, 2)[0].tolist() == [0, 0, 0, 0]
        envs.send(np.zeros(2), [0, 2])
        assert envs.recv(min_ready=2).observations.tolist() == [1, 1]
        envs.close()


@pytest.mark.parametrize("on_session_lost", ["raise", "truncate"])
def test_a_connection_that_breaks_under_a_reset_of_some_is_said_of_the_others(
    serve: Callable[..., str], on_session_lost: Any
) -> None:
    with FaultProxy(serve(resume_grace_s=0), faults={}) as proxy:
        envs = RemoteVectorEnv(proxy.base_url, 4, on_session_lost=on_session_lost)
        envs.reset()
        envs.send(np.full(2, 0.5), [2, 3])
        proxy.cut()
        assert reset(envs, 0)[0].tolist() == [0, 0, 0, 0]
        if on_session_lost == "truncate":
            ready = envs.recv(min_ready=2)
            assert (ready.slots.tolist(), ready.truncations.tolist()) == ([2, 3], [True, True])
            assert all(proxy.base_url in reason for reason in ready.infos["session_lost"])
        else:
            with pytest.raises(SessionLostError):
                envs.recv(min_ready=2)
        envs.close()
