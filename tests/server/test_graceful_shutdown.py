"""SIGTERM: what is under way is answered, nothing new is begun, and the process ends in time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import websocket
from openenv_server import Action, Environment, Observation, State, create_app
from openenv_server.socket_takeover import TakeoverProtocol

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import CapacityError, SessionLostError
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire import v2
from openenv_gym.wire.framing import PeerClosedError
from tests.support.processes import ServerProcess, serving, serving_sleeper
from tests.support.servers import running, status_of
from tests.support.waiting import wait_for

FOR_EVER_S = 1e5


class Client(Protocol):
    """One session, bare: what is sent and received is seen."""

    def step(self, seconds: float) -> None: ...
    def answer(self) -> int: ...
    def goodbye(self) -> tuple[int, str]: ...


class V1:
    def __init__(self, base_url: str) -> None:
        self._socket = websocket.create_connection(base_url.replace("http", "ws") + "/ws", timeout=10)
        self._socket.send('{"type":"reset"}')
        assert self.answer() == 0

    def step(self, seconds: float) -> None:
        self._socket.send(json.dumps({"type": "step", "data": {"seconds": seconds}}))

    def answer(self) -> int:
        return json.loads(self._socket.recv())["data"]["observation"]["steps"]

    def goodbye(self) -> tuple[int, str]:
        opcode, data = self._socket.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        return int.from_bytes(data[:2], "big"), data[2:].decode()

    def hang_up(self) -> None:
        self._socket.close()


class V2:
    def drop(self) -> None:
        self._connection.drop()

    def __init__(self, base_url: str) -> None:
        self._connection = BlockingConnection(Endpoint.parse(base_url), connect_timeout_s=5, offers_v2=True)
        self._frames = FrameSocket(self._connection.raw_socket, is_client=True, max_size=2**20)
        self._frames.set_timeout(10)
        self._frames.send(*v2.encode(v2.Open(id=1, slots=[0])))
        self._frames.receive()
        self._frames.send(*v2.encode(v2.Reset(id=2, slots=[0])))
        assert self.answer() == 0

    def step(self, seconds: float) -> None:
        with contextlib.suppress(BrokenPipeError):  # a server that stops reads nothing more, but answers
            self._frames.send(*v2.encode(v2.Step(id=3, slots=[0], actions=[{"seconds": seconds}])))

    def answer(self) -> int:
        answer = v2.decode_answer(self._frames.receive()[1])
        assert isinstance(answer, v2.Result)
        return answer.observations[0]["steps"]

    def goodbye(self) -> tuple[int, str]:
        with pytest.raises(PeerClosedError) as closed:
            self._frames.receive()
        return closed.value.code, closed.value.reason


both = pytest.mark.parametrize("kind", [V1, V2])
alone_or_in_a_crew = pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="one process"),
        pytest.param(["--workers", "2"], id="two workers", marks=pytest.mark.slow),
    ],
)


def made_by(arguments: list[str]) -> int:
    """The number of environments, if there is one session: each process makes one when it starts."""
    return 2 if "--workers" in arguments else 1


def begins(client: Client, seconds: float) -> None:
    """Sends a step and gives the server the time to begin it."""
    client.step(seconds)
    time.sleep(0.3)


@both
@alone_or_in_a_crew
def test_a_step_under_way_is_answered_and_its_environment_closed(
    kind: Any, arguments: list[str], tmp_path: Path
) -> None:
    with serving_sleeper(tmp_path, *arguments) as server:
        client = kind(server.base_url)
        begins(client, 1.0)
        server.signal(signal.SIGTERM)
        assert client.answer() == 1
        assert client.goodbye() == (1001, "The server is stopping")
        code, took = server.ends()
        assert (code, server.closed) == (0, made_by(arguments))
        assert took < 2
        assert server.lines == []


@pytest.mark.integration
@both
def test_sessions_at_rest_are_told_and_closed_at_once(kind: Any, tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server:
        clients = [kind(server.base_url) for _ in range(3)]
        clients[0].step(0)
        clients[0].answer()
        server.signal(signal.SIGTERM)
        assert {client.goodbye() for client in clients} == {(1001, "The server is stopping")}
        code, took = server.ends()
        assert (code, server.closed) == (0, 3)
        assert took < 2


@both
def test_a_request_that_has_not_begun_is_not_done(kind: Any, tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server:
        client = kind(server.base_url)
        begins(client, 1.0)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        client.step(0)
        assert client.answer() == 1
        assert client.goodbye()[0] == 1001
        assert server.ends()[0] == 0


def test_while_it_drains_nothing_new_is_begun_and_it_says_why(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server:
        client = V1(server.base_url)
        begins(client, 1.5)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(CapacityError, match="The server is stopping and opens no more sessions"):
            GenericEnvClient(server.base_url).reset()
        with pytest.raises(CapacityError, match="The server is stopping and opens no more sessions"):
            RemoteEnv(server.base_url).reset()
        for path, body in (("/reset", {}), ("/step", {"action": {}}), ("/state", None)):
            status, content = status_of(server.base_url + path, body)
            assert (status, content["code"]) == (503, "CAPACITY_REACHED")
        status, health = status_of(f"{server.base_url}/health")
        assert (status, health["status"], health["reasons"]) == (200, "degraded", ["the server is stopping"])
        assert client.answer() == 1
        assert server.ends()[0] == 0


@pytest.mark.integration
def test_an_http_request_under_way_is_answered(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server, ThreadPoolExecutor(1) as thread:
        answer = thread.submit(status_of, f"{server.base_url}/step", {"action": {"seconds": 1.0}})
        time.sleep(0.4)
        server.signal(signal.SIGTERM)
        status, content = answer.result(timeout=5)
        assert (status, content["observation"]["steps"]) == (200, 1)
        assert (server.ends()[0], server.closed) == (0, 1)


def test_a_client_that_steps_on_and_on_does_not_hold_it_up(tmp_path: Path) -> None:
    with serving(tmp_path, "--gym", "CartPole-v1") as server, ThreadPoolExecutor(1) as thread:
        envs = RemoteVectorEnv(server.base_url, 8)
        envs.reset()

        def step_for_seconds() -> None:
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                envs.step(np.zeros(8, np.int64))

        stepping = thread.submit(step_for_seconds)
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        with pytest.raises(SessionLostError, match="The server is stopping"):
            stepping.result(timeout=5)
        code, took = server.ends()
        assert code == 0
        assert took < 1


class Nap(Action):
    seconds: float


class Napped(Observation):
    steps: int


class Napper(Environment[Nap, Napped, State]):
    closed = 0

    def reset(self, seed: int | None = None) -> Napped:
        return Napped(steps=0)

    def step(self, action: Nap) -> Napped:
        time.sleep(action.seconds)
        return Napped(steps=1)

    @property
    def state(self) -> State:
        return State()

    def close(self) -> None:
        Napper.closed += 1


@pytest.mark.parametrize("ws", [TakeoverProtocol, "websockets-sansio"], ids=["socket", "event loop"])
@pytest.mark.parametrize("seconds", [0.0, 0.6], ids=["at rest", "at work"])
def test_a_lane_is_seen_off_on_either_kind_of_socket(ws: Any, seconds: float) -> None:
    app = create_app(Napper, Nap, Napped)

    @app.post("/drain")
    async def drain() -> int:
        await app.state.graceful_shutdown.run()
        return Napper.closed

    Napper.closed = 0
    with running(app, ws=ws) as base_url, ThreadPoolExecutor(1) as thread:
        client = V2(base_url)
        begins(client, seconds)
        drained = thread.submit(status_of, f"{base_url}/drain", {})
        assert client.answer() == 1
        assert client.goodbye() == (1001, "The server is stopping")
        assert drained.result(timeout=5) == (200, 1)


def test_sessions_that_wait_for_their_client_do_not_hold_it_up(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server:
        client = V2(server.base_url)
        client.drop()
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        code, took = server.ends()
        assert (code, server.closed) == (0, 1)
        assert took < 2


def test_an_environment_that_was_given_up_shortly_before_is_closed(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server:
        client = V1(server.base_url)
        begins(client, 2.0)
        client.hang_up()
        wait_for(lambda: status_of(f"{server.base_url}/health")[1]["abandoned_threads"] == 1)
        server.signal(signal.SIGTERM)
        code, took = server.ends()
        assert (code, server.closed) == (0, 1)
        assert 0.3 < took < 3


def test_one_that_never_returns_does_not_keep_the_process(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path, DRAIN_TIMEOUT="1") as server:
        client = V1(server.base_url)
        begins(client, FOR_EVER_S)
        client.hang_up()
        wait_for(lambda: status_of(f"{server.base_url}/health")[1]["abandoned_threads"] == 1)
        server.signal(signal.SIGTERM)
        code, took = server.ends()
        assert code == 0
        assert took < 3
        assert "the process ends, with 0 sessions open and 1 given up" in server.lines[-1]


def stuck(server: ServerProcess, kind: Any) -> Client:
    """Send a step that never returns, and SIGTERM; keep the client, because a session without is given up."""
    client: Client = kind(server.base_url)
    begins(client, FOR_EVER_S)
    server.signal(signal.SIGTERM)
    return client


@both
@alone_or_in_a_crew
def test_an_environment_that_never_returns_does_not_keep_the_process(
    kind: Any, arguments: list[str], tmp_path: Path
) -> None:
    with serving_sleeper(tmp_path, *arguments, DRAIN_TIMEOUT="1") as server:
        other = V2(server.base_url)
        _client = stuck(server, kind)
        assert other.goodbye()[0] == 1001
        code, took = server.ends()
        assert code == 0
        assert 0.5 < took < 3
        (said,) = server.lines
        assert "the graceful shutdown took more than 1 s: the process ends, with 1 sessions open" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@alone_or_in_a_crew
def test_a_second_signal_ends_it_at_once(number: int, arguments: list[str], tmp_path: Path) -> None:
    with serving_sleeper(tmp_path, *arguments) as server:
        _client = stuck(server, V2)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.signal(number)
        code, took = server.ends()
        assert code == 128 + number
        assert took < 1


@alone_or_in_a_crew
def test_ctrl_c_drains_as_well_and_ends_with_130(arguments: list[str], tmp_path: Path) -> None:
    with serving_sleeper(tmp_path, *arguments) as server:
        client = V2(server.base_url)
        begins(client, 0.8)
        os.killpg(server.process.pid, signal.SIGINT)  # a terminal sends it to all of them
        assert client.answer() == 1
        assert (server.ends()[0], server.closed) == (130, made_by(arguments))


@pytest.mark.slow
def test_a_sigterm_to_parent_and_workers_alike_is_one_signal(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path, "--workers", "2") as server:
        client = V2(server.base_url)
        begins(client, 0.8)
        os.killpg(server.process.pid, signal.SIGTERM)
        assert client.answer() == 1
        assert (server.ends()[0], server.closed) == (0, made_by(["--workers"]))
