"""A learner that thinks for long: idle sockets stay alive, and so does no thread that is of no use.

``OPENENV_TEST_SILENCE`` sets the seconds of silence.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from openenv_server import create_app
from openenv_server.connections import transports

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.transport import keepalive
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2
from tests.support.waiting import wait_for

SILENCE_S = float(os.environ.get("OPENENV_TEST_SILENCE", "4"))


# A server that pings every second, and waits no longer for the answer.
PINGING: dict[str, Any] = {"ws": "websockets-sansio", "ws_ping_interval": 1.0, "ws_ping_timeout": 1.0}


@pytest.fixture(params=["v1", "v2", "v2 on its own socket"])
def quiet_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    app = create_app(Counter, CountAction, CountObservation, resume_grace_s=0)
    if request.param == "v2 on its own socket":
        monkeypatch.setattr(transports, "PING_INTERVAL_S", 1.0)
        with running(app) as base_url:
            yield base_url
    else:
        with running(without_v2(app) if request.param == "v1" else app, **PINGING) as base_url:
            yield base_url


@pytest.mark.timeout(300)
def test_silence_ends_no_session(quiet_server: str) -> None:
    env, envs = RemoteEnv(quiet_server), RemoteVectorEnv(quiet_server, 3)
    with GenericEnvClient(quiet_server) as client:
        env.reset()
        envs.reset()
        client.reset()
        time.sleep(SILENCE_S)  # this thread is blocked; pings are answered anyway
        assert env.step(np.int64(3))[0] == 3
        assert envs.step(np.array([1, 2, 3]))[0].tolist() == [1, 2, 3]
        assert client.step({"amount": 4}).observation["total"] == 4
    env.close()
    envs.close()


def test_silence_between_send_and_recv_ends_no_session(
    quiet_server: str, request: pytest.FixtureRequest
) -> None:
    envs = RemoteVectorEnv(quiet_server, 3)
    envs.reset()
    envs.send(np.array([1, 2, 3]))
    time.sleep(SILENCE_S)
    assert envs.recv(min_ready=3).observations.tolist() == [1, 2, 3]
    if "own socket" in request.node.name:  # elsewhere what was sent stands before the pings
        assert envs.step(np.array([1, 2, 3]))[0].tolist() == [2, 4, 6]
    envs.close()


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "openenv-keepalive"]


def test_one_thread_serves_all_connections_and_ends_with_the_last() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        environments = [RemoteEnv(base_url) for _ in range(5)]
        for env in environments:
            env.reset()
        assert len(_threads()) == 1
        for env in environments:
            env.close()
        deadline = time.monotonic() + 5
        while _threads():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _in_a_child(env: RemoteEnv, answers: Any) -> None:
    threads = len(_threads())
    observation = env.reset(seed=4)[0]
    answers.put((threads, int(observation), len(_threads())))
    env.close()


class FakeConnection:
    uses = 0

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.is_open = True
        self.answered = 0

    def answer_pings(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.answered += 1

    def hang_up(self) -> None:
        self.drop()

    def drop(self) -> None:
        self.is_open = False


def test_a_connection_that_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    keeper = keepalive.Keeper()
    failing, working = FakeConnection(AttributeError("no such flag")), FakeConnection()
    for connection in (failing, working):
        keeper.add(connection)
    wait_for(lambda: working.answered >= 2)
    assert not failing.is_open
    assert "no such flag" in caplog.text
    working.drop()


def test_a_fork_a_pickle_and_a_copy_open_new_connections() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        env.step(np.int64(1))
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=_in_a_child, args=(env, answers))
        child.start()
        assert answers.get(timeout=20) == (0, 4, 1)
        child.join(20)
        assert child.exitcode == 0
        for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            assert twin.reset(seed=5)[0] == 5
            twin.close()
        assert env.step(np.int64(1))[0] == 2
        env.close()


def test_a_connection_that_nobody_holds_is_closed() -> None:
    app = create_app(Counter, CountAction, CountObservation)
    with running(app) as base_url:
        env: RemoteEnv | None = RemoteEnv(base_url)
        assert env is not None
        env.reset()
        env = None
        deadline = time.monotonic() + 5
        while app.state.sessions.active or keepalive.keeper._connections:
            assert time.monotonic() < deadline
            time.sleep(0.05)
