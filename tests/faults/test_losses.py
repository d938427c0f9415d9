"""Sessions that are lost for good: what a trainer sees, and how it continues."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from openenv_server import create_app, gymnasium_factory
from openenv_server.connections import transports

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    ResetNeededError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.transport.blocking import BlockingTransport
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2
from tests.support.tls import WAYS, Way, cutting_proxy

KILLS = int(os.environ.get("OPENENV_TEST_KILLS", "3"))


class Sleeper(gym.Env[Any, Any]):
    """Sleeps for as many seconds as its action says; observes how many steps it took."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Discrete(1000)
        self.action_space = gym.spaces.Box(0, 60, (), np.float64)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._steps = 0
        return np.int64(0), {}

    def step(self, action: Any) -> Any:
        time.sleep(float(action))
        self._steps += 1
        return np.int64(self._steps), 1.0, False, False, {}


def sleepers(**keywords: Any) -> Any:
    factory, models = gymnasium_factory(Sleeper)
    return create_app(factory, models.action, models.observation, **keywords)


@pytest.fixture(params=["v1", "v2"])
def served(request: pytest.FixtureRequest) -> Callable[..., Any]:
    if request.param == "v1" and request.node.callspec.params.get("way") == "Unix":
        pytest.skip("version 1 has no way over a Unix socket")
    return (lambda **keywords: without_v2(sleepers(**keywords))) if request.param == "v1" else sleepers


ways = pytest.mark.parametrize("way", WAYS)


@ways
def test_a_cut_is_an_error_that_names_the_step_where_nothing_can_be_resumed(served: Any, way: Way) -> None:
    with running(served(resume_grace_s=0)) as base_url, cutting_proxy(base_url, way) as proxy:
        env = RemoteEnv(proxy.base_url)
        env.reset()
        assert env.step(0.0)[0] == 1
        proxy.cut()
        with pytest.raises(SessionLostError, match=r"broke during step 2.*[Cc]all reset for a new session"):
            env.step(0.0)
        with pytest.raises(ResetNeededError):
            env.step(0.0)
        env.reset()
        assert env.step(0.0)[0] == 1
        env.close()


@ways
def test_a_cut_truncates_the_episode_where_that_is_asked_for(served: Any, way: Way) -> None:
    with running(served(resume_grace_s=0)) as base_url, cutting_proxy(base_url, way) as proxy:
        env = RemoteEnv(proxy.base_url, on_session_lost="truncate")
        env.reset()
        env.step(0.0)
        proxy.cut()
        observation, reward, terminated, truncated, info = env.step(0.0)
        assert (observation, reward, terminated, truncated) == (1, 0.0, False, True)
        assert proxy.base_url in info["session_lost"]
        with pytest.raises(ResetNeededError):
            env.step(0.0)
        env.reset()
        assert env.step(0.0)[0] == 1
        env.close()


@ways
@pytest.mark.parametrize("mode", AutoresetMode)
def test_slots_whose_sessions_are_lost_start_new_episodes(served: Any, mode: AutoresetMode, way: Way) -> None:
    with running(served(resume_grace_s=0)) as base_url, cutting_proxy(base_url, way) as proxy:
        envs = RemoteVectorEnv(proxy.base_url, 3, on_session_lost="truncate", autoreset_mode=mode)
        envs.reset()
        go = np.zeros(3)
        assert envs.step(go)[0].tolist() == [1, 1, 1]
        proxy.cut()
        observations, rewards, terminations, truncations, infos = envs.step(go)
        assert truncations.tolist() == [True] * 3
        assert not terminations.any()
        assert rewards.tolist() == [0.0] * 3
        if mode is AutoresetMode.SAME_STEP:
            assert observations.tolist() == [0, 0, 0]
            assert infos["final_obs"].tolist() == [1, 1, 1]
            assert all(proxy.base_url in reason for reason in infos["final_info"]["session_lost"])
        else:
            assert observations.tolist() == [1, 1, 1]
            assert all(proxy.base_url in reason for reason in infos["session_lost"])
        if mode is AutoresetMode.NEXT_STEP:
            observations, _, _, truncations, _ = envs.step(go)
            assert observations.tolist() == [0, 0, 0]
            assert not truncations.any()
        if mode is AutoresetMode.DISABLED:
            with pytest.raises(ResetNeededError):
                envs.step(go)
            envs.reset(options={"reset_mask": np.ones(3, np.bool_)})
        observations, _, _, truncations, _ = envs.step(go)
        assert observations.tolist() == [1, 1, 1]
        assert not truncations.any()
        envs.close()


def test_one_slots_loss_leaves_the_others_alone() -> None:
    app = sleepers(step_timeout_s=0.4)
    with running(app) as base_url:
        envs = RemoteVectorEnv(base_url, 3, on_session_lost="truncate")
        envs.reset()
        for _ in range(4):  # until the slots are known to be fast
            envs.step(np.zeros(3))
        observations, _, _, truncations, infos = envs.step(np.array([0.0, 2.0, 0.0]))
        assert truncations.tolist() == [False, True, False]
        assert observations.tolist() == [5, 4, 5]
        assert "more than 0.4 s" in infos["session_lost"][1]
        assert envs.step(np.zeros(3))[0].tolist() == [6, 0, 6]
        assert envs.step(np.zeros(3))[0].tolist() == [7, 1, 7]
        assert app.state.sessions.abandoned_threads == 1
        deadline = time.monotonic() + 5
        while app.state.sessions.abandoned_threads:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert app.state.sessions.active == 3
        envs.close()


def test_a_step_that_outruns_the_servers_limit_closes_its_session(served: Any) -> None:
    with running(served(step_timeout_s=0.3)) as base_url:
        env, other = RemoteEnv(base_url), RemoteEnv(base_url)
        env.reset()
        other.reset()
        begin = time.monotonic()
        with pytest.raises(StepTimeoutError, match=r"step 1: .* more than 0\.3 s"):
            env.step(30.0)
        assert time.monotonic() - begin < 3
        assert other.step(0.0)[0] == 1
        with pytest.raises(ResetNeededError):
            env.step(0.0)
        env.reset()
        assert env.step(0.0)[0] == 1
        env.close()
        other.close()


def test_each_timeout_says_what_it_waited_for(served: Any) -> None:
    with running(served()) as base_url:
        env = RemoteEnv(base_url, step_timeout_s=0.2)
        env.reset()
        with pytest.raises(DeadlineExceededError, match=r"did not answer step 1 within 0\.2 s"):
            env.step(1.0)
        envs = RemoteVectorEnv(base_url, 2, step_timeout_s=0.2)
        envs.reset()
        with pytest.raises(DeadlineExceededError, match=r"did not answer .*slot.* within 0\.2 s"):
            envs.step(np.ones(2))
        envs.close()
        env.close()


def test_a_reset_waits_for_a_free_session(served: Any) -> None:
    with running(served(max_concurrent_envs=2)) as base_url:
        first = RemoteEnv(base_url)
        first.reset()
        begin = time.monotonic()
        with pytest.raises(CapacityError, match="capacity_timeout_s") as refused:
            RemoteVectorEnv(base_url, 2, capacity_timeout_s=0.5).reset()
        assert (refused.value.asked_for, refused.value.available) == (2, 1)
        assert 0.4 < time.monotonic() - begin < 3
        threading.Timer(0.3, first.close).start()
        envs = RemoteVectorEnv(base_url, 2, capacity_timeout_s=10)
        envs.reset()
        assert envs.step(np.zeros(2))[0].tolist() == [1, 1]
        envs.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_client_that_is_unplugged_frees_its_session(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "PING_INTERVAL_S", 0.5)
    app = sleepers(resume_grace_s=0.5)
    pinging: dict[str, Any] = {"ws_ping_interval": 0.5, "ws_ping_timeout": 0.5}
    with (
        running(app if version == "v2" else without_v2(app), **pinging) as base_url,
        FaultProxy(base_url, faults={}) as proxy,
    ):
        env = RemoteEnv(proxy.base_url)
        env.reset()
        time.sleep(2)
        assert app.state.sessions.active == 1
        proxy.pause()
        deadline = time.monotonic() + 5
        while app.state.sessions.active:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        proxy.resume()
        env.close()


@ways
@pytest.mark.parametrize("ws", ["auto", "websockets-sansio"])
def test_a_cut_is_resumed_whatever_serves_the_sockets(ws: Any, way: Way) -> None:
    with running(sleepers(), ws=ws) as base_url, cutting_proxy(base_url, way) as proxy:
        envs = RemoteVectorEnv(proxy.base_url, 2)
        envs.reset()
        for step in range(1, 4):
            assert envs.step(np.zeros(2))[0].tolist() == [step, step]
            proxy.cut()
        envs.close()


@ways
def test_an_idle_slot_whose_session_was_lost_is_truncated_when_it_is_asked(way: Way) -> None:
    for mode in AutoresetMode:
        with running(sleepers(resume_grace_s=0)) as base_url, cutting_proxy(base_url, way) as proxy:
            envs = RemoteVectorEnv(proxy.base_url, 2, on_session_lost="truncate", autoreset_mode=mode)
            envs.reset()
            envs.send(np.array([0.5]), [0])
            proxy.cut()
            assert envs.recv(min_ready=1).truncations.tolist() == [True]
            envs.send(np.zeros(1), [1])
            ready = envs.recv(min_ready=1)
            assert (ready.slots.tolist(), ready.truncations.tolist()) == ([1], [True])
            envs.close()


def test_a_session_that_is_closed_in_a_step_without_an_end_is_given_up_once() -> None:
    app = sleepers(step_timeout_s=0.4)
    sessions = app.state.sessions
    with running(app) as base_url:
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        envs.send(np.full(2, 3.0))
        envs.close()
        deadline = time.monotonic() + 2.5
        while sessions.active:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert sessions.abandoned_threads == 2
        while sessions.abandoned_threads:
            assert time.monotonic() < deadline + 5
            time.sleep(0.05)
        assert sessions.active == 0
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        assert sessions.active == 2
        envs.close()


def test_a_reset_waits_for_a_server_that_restarts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    go = np.zeros(2, np.int64)
    with serving(port):
        envs = RemoteVectorEnv(
            f"http://127.0.0.1:{port}", 2, on_session_lost="truncate", capacity_timeout_s=30
        )
        envs.reset()
        envs.step(go)
    assert envs.step(go)[3].tolist() == [True, True]
    is_done = threading.Event()

    def later() -> None:
        time.sleep(0.5)
        with serving(port):
            is_done.wait(30)

    server = threading.Thread(target=later)
    server.start()
    try:
        assert envs.step(go)[0].tolist() == [0, 0]
        assert envs.step(go)[0].tolist() == [1, 1]
        envs.close()
    finally:
        is_done.set()
        server.join()


@pytest.mark.parametrize("keyword", ["connect_timeout_s", "reset_timeout_s", "step_timeout_s"])
@pytest.mark.parametrize("seconds", [0, -1, "5", float("nan")])
def test_times_are_positive_numbers(keyword: str, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{keyword} must be a positive number"):
        RemoteEnv("http://127.0.0.1:9", **{keyword: seconds})


def test_a_full_server_says_how_many_sessions_wait_for_their_clients() -> None:
    with (
        running(sleepers(max_concurrent_envs=2)) as base_url,
        FaultProxy(base_url, faults={}) as proxy,
    ):
        envs = RemoteVectorEnv(proxy.base_url, 2)
        envs.reset()
        proxy.cut()
        time.sleep(0.2)
        with pytest.raises(CapacityError, match="2 of them wait for a client to reconnect"):
            RemoteEnv(base_url).reset()
        envs.step(np.zeros(2))  # which comes back
        with pytest.raises(CapacityError, match=r"capacity of 2 sessions\. "):
            RemoteEnv(base_url).reset()
        envs.close()


def test_an_answer_that_is_too_large_is_not_asked_for_again(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlockingTransport.__init__, "__defaults__", (20,))
    with running(served()) as base_url:
        env = RemoteEnv(base_url)
        begin = time.monotonic()
        with pytest.raises(SessionLostError, match="exceeds the limit of 20"):
            env.reset()
        assert time.monotonic() - begin < 2
        env.close()


def test_nothing_else_is_to_be_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="on_session_lost"):
        RemoteEnv("http://127.0.0.1:9", on_session_lost="ignore")  # type: ignore[arg-type]


@pytest.fixture
def stopped_later() -> Iterator[list[int]]:
    """Processes that were stopped, and have to go on to end."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


CLIENT = """
import sys, time
from openenv_gym import RemoteEnv
env = RemoteEnv(sys.argv[1])
env.reset()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_client_that_is_gone_frees_its_session(how: signal.Signals) -> None:
    app = sleepers(resume_grace_s=0.5)
    with running(app) as base_url:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, base_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        assert app.state.sessions.active == 1
        client.send_signal(how)
        client.wait(10)
        deadline = time.monotonic() + 5
        while app.state.sessions.active:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_client_that_is_stopped_frees_its_session(
    stopped_later: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "PING_INTERVAL_S", 0.5)
    app = sleepers(resume_grace_s=0.5)
    with running(app) as base_url:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, base_url], stdout=subprocess.PIPE, text=True)
        stopped_later.append(client.pid)
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        time.sleep(2)
        assert app.state.sessions.active == 1  # it sleeps, but its pings are answered
        os.kill(client.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 5
        while app.state.sessions.active:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[str]]:
    """Serves naps of 50 ms at a port."""
    command = [sys.executable, "-m", "openenv_cli", "serve", "--port", str(port)]
    command += ["--gym", "benchmarks.environments:Nap50ms-v0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == f"http://127.0.0.1:{port}\n"
        yield server
    finally:
        server.kill()
        server.wait(10)


@pytest.mark.timeout(900)
def test_a_server_that_is_killed_in_a_step_is_known_soon_and_training_goes_on() -> None:
    """``OPENENV_TEST_KILLS`` times."""
    longest_s = 0.0
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    envs: RemoteVectorEnv | None = None
    go = np.zeros(2, np.int64)
    for _ in range(KILLS):
        with serving(port) as server:
            if envs is None:
                envs = RemoteVectorEnv(f"http://127.0.0.1:{port}", 2, on_session_lost="truncate")
                envs.reset()
            else:
                observations, _, _, truncations, _ = envs.step(go)
                assert observations.tolist() == [0, 0]  # a new episode, on the new server
                assert not truncations.any()
            assert envs.step(go)[0].tolist() == [1, 1]
            envs.send(go)
            time.sleep(0.01)
            server.kill()
            begin = time.monotonic()
            ready = envs.recv(min_ready=2)
            longest_s = max(longest_s, time.monotonic() - begin)
            assert ready.truncations.tolist() == [True, True]
            assert "broke during" in ready.infos["session_lost"][0]
    assert envs is not None
    envs.close()
    assert longest_s < 2
    print(f"{KILLS} kills, known after {longest_s:.2f} s at the most")


def test_no_key_of_a_session_leaves_the_process() -> None:
    with running(sleepers()) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        token = env._session._channel._token  # type: ignore[union-attr]
        assert len(token) >= 32
        assert token.encode() not in pickle.dumps(env)
        assert token not in repr(env.__dict__)
        env.close()
