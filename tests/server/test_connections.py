"""Version 2 of the protocol as a server: what a client that keeps to no rules sees, and where steps run."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import Environment, create_app, gymnasium_factory
from openenv_server.socket_takeover import TakeoverProtocol

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import RemoteEnvironmentError, RemoteError, ResetNeededError, SessionLostError
from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.types import State
from openenv_gym.wire import v2
from openenv_gym.wire.framing import CloseCode, Opcode, PeerClosedError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running
from tests.support.v2_client import V2Client


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


COUNTING = create_app(Sharing, CountAction, CountObservation, max_concurrent_envs=8)


@pytest.fixture(scope="module", params=[TakeoverProtocol, "websockets-sansio"], ids=["socket", "event loop"])
def counting(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(COUNTING, ws=request.param) as base_url:
        yield base_url


@contextmanager
def lane_to(base_url: str, slots: int = 2, **keywords: Any) -> Iterator[V2Client]:
    lane = V2Client(base_url)
    lane.open(range(slots), **keywords)
    try:
        yield lane
    finally:
        lane.close()


@pytest.fixture
def lane(counting: str) -> Iterator[V2Client]:
    with lane_to(counting) as opened:
        opened.ask(v2.Reset(id=1, slots=[0, 1]), "reset")
        yield opened


def add(lane: V2Client, *amounts: int, slots: list[int] | None = None) -> v2.Result:
    lane.send(
        v2.Step(id=lane.next_id(), slots=slots or [0, 1], actions=[{"amount": amount} for amount in amounts]),
        "step",
    )
    return lane.result("step")


def test_an_author_s_environments_answer_as_payloads(lane: V2Client) -> None:
    result = add(lane, 3, 4)
    totals = [observation["total"] for observation in result.observations]
    assert sorted(zip(result.slots, totals, result.rewards, strict=True)) == [(0, 3, 3.0), (1, 4, 4.0)]
    assert lane.values(v2.GetState(id=9, slots=[1]), "state") == [
        {"episode_id": None, "step_count": 1, "total": 4}
    ]


def test_actions_may_come_as_columns(lane: V2Client) -> None:
    lane.send(v2.Step(id=5, slots=[0, 1], actions={"amount": np.array([1, 2])}), "step")
    result = lane.result("step")
    assert sorted(part["total"] for part in result.observations) == [1, 2]


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (v2.Step(id=5, slots=[0, 0], actions=[{}, {}]), "VALIDATION_ERROR", "only once"),
        (v2.Step(id=5, slots=[0, 1], actions=[{}]), "VALIDATION_ERROR", "column over 2 slots"),
        (v2.Step(id=5, slots=[0, 1], actions="x"), "VALIDATION_ERROR", "got str"),
        (v2.Reset(id=5, slots=[0, 1], seeds=[1]), "VALIDATION_ERROR", "as many seeds"),
        (v2.Open(id=5, slots=list(range(20_000))), "VALIDATION_ERROR", "at most 16,384 slots"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value,
)
def test_a_request_that_makes_no_sense_does_nothing(
    lane: V2Client, request_: Any, code: str, reason: str
) -> None:
    with pytest.raises(RemoteError, match=reason) as refused:
        lane.ask(request_, "step")
    assert refused.value.code == code
    assert add(lane, 1, 1).errors == []


def test_what_is_no_message_does_nothing(lane: V2Client) -> None:
    for payload in (b"", b"x" * 30, b"\x04\x00\x00\x00junk"):
        lane.send_bytes(payload)
        with pytest.raises(RemoteError, match="Not a message of version 2"):
            lane.receive("junk")
    assert add(lane, 1, 1).errors == []


def test_a_text_frame_ends_the_lane(counting: str) -> None:
    with lane_to(counting) as lane:
        frames = FrameSocket(lane.connection.raw_socket, is_client=True, max_size=1000)
        frames.set_timeout(5)
        frames.send(b'{"type": "reset"}', opcode=Opcode.TEXT)
        answer = v2.decode_answer(frames.receive()[1])
        assert isinstance(answer, v2.Failed)
        assert (answer.code, "only binary frames" in answer.message) == ("INVALID_JSON", True)
        with pytest.raises(PeerClosedError) as closed:
            frames.receive()
        assert closed.value.code == CloseCode.NORMAL
    with lane_to(counting, 8):
        pass  # its places are free again


def test_each_slot_fails_for_itself(lane: V2Client) -> None:
    result = add(lane, 99, 2)  # more than 9 raises
    assert result.slots == [1]
    assert [(error.slot, error.code) for error in result.errors] == [(0, "EXECUTION_ERROR")]
    lane.send(v2.Step(id=6, slots=[0, 7, 1], actions=[{"amount": "x"}, {"amount": 1}, {"amount": 1}]), "step")
    result = lane.result("step")
    assert (result.slots, result.observations) == ([1], [{"total": 3}])
    assert {error.slot: error.code for error in result.errors} == {
        0: "VALIDATION_ERROR",
        7: "UNKNOWN_SESSION",
    }


@pytest.mark.parametrize("attached", [b"", bytes(64)], ids=["alone", "with attached arrays"])
def test_actions_that_are_nested_too_deep_are_refused(lane: V2Client, attached: bytes) -> None:
    deep: Any = {}
    for _ in range(700):
        deep = {"a": deep}
    body = b"".join(v2.encode(v2.Step(id=6, slots=[0, 1], actions=deep)))
    padding = bytes(-len(body) % 8)
    lane.send_bytes(body + padding + attached)
    with pytest.raises(RemoteError, match="recursion") as refused:
        lane.receive("step")
    assert refused.value.code == "VALIDATION_ERROR"
    assert add(lane, 1, 1).errors == []


def test_an_action_that_json_cannot_hold_is_refused_like_any_other(lane: V2Client) -> None:
    lane.send(v2.Step(id=6, slots=[0, 1], actions=[{"amount": b"\xff"}, {"amount": 1}]), "step")
    result = lane.result("step")
    (error,) = result.errors
    assert result.slots == [1]
    assert (error.slot, error.code, error.details["errors"][0]["loc"]) == (0, "VALIDATION_ERROR", ["amount"])


def test_slots_that_are_open_or_never_reset_are_refused(counting: str) -> None:
    with lane_to(counting) as lane:
        answer = lane.ask(v2.Open(id=3, slots=[1, 2]), "open")
        assert isinstance(answer, v2.Opened)
        assert answer.slots == [2]
        lane.slots.add(2)
        assert "is already open" in answer.errors[0].message
        assert "call reset before step" in add(lane, 1, slots=[2]).errors[0].message


def test_a_dropped_connection_frees_its_places(counting: str) -> None:
    lane = V2Client(counting)
    lane.open(range(8))
    lane.connection.drop()
    deadline = time.monotonic() + 5
    while True:
        try:
            with lane_to(counting, 8):
                return
        except RemoteError:
            assert time.monotonic() < deadline


def test_an_author_s_environment_stays_on_its_thread(counting: str) -> None:
    with lane_to(counting):
        pass  # the first session may get the instance that answered questions about the environment
    Counter.instances.clear()
    with lane_to(counting) as lane:
        lane.ask(v2.Reset(id=1, slots=[0, 1]), "reset")
        for _ in range(9):
            add(lane, 0, 0)
    assert [len(one.threads) for one in Counter.instances] == [1, 1]
    assert all(one.closed == 1 for one in Counter.instances)


class Threads(gym.Env[Any, Any]):
    """Sleeps as its action says, and tells which thread it ran on."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    observation_space = spaces.Box(0, 2**62, (), np.int64)
    action_space = spaces.Box(0, 1, (), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.int64(threading.get_ident()), {}

    def step(self, action: Any) -> Any:
        if action:
            time.sleep(float(action))
        return np.int64(threading.get_ident()), 1.0, False, False, {}

    def render(self) -> Any:
        return np.full((2, 2, 3), 7, np.uint8)


@contextmanager
def serving(make: Callable[[], gym.Env[Any, Any]]) -> Iterator[str]:
    factory, models = gymnasium_factory(make)
    with running(create_app(factory, models.action, models.observation, max_concurrent_envs=80)) as base_url:
        yield base_url


def test_fast_environments_move_together_and_slow_ones_apart() -> None:
    with serving(Threads) as base_url:
        envs = RemoteVectorEnv(base_url, 6)
        first, _ = envs.reset()
        assert len(set(first.tolist())) == 6
        for _ in range(5):
            together = envs.step(np.zeros(6))[0]
        assert len(set(together.tolist())) == 1
        for _ in range(4):
            apart = envs.step(np.full(6, 0.03))[0]
        assert len(set(apart.tolist())) == 6
        begin = time.perf_counter()
        envs.step(np.full(6, 0.2))
        assert time.perf_counter() - begin < 0.2 * 3
        for _ in range(4):
            mixed = envs.step(np.array([0, 0, 0, 0.03, 0.03, 0.03]))[0]
        assert len(set(mixed.tolist())) == 4
        envs.close()


def test_what_was_rendered_stays_on_its_thread() -> None:
    with serving(Threads) as base_url, lane_to(base_url, 1) as lane:
        lane.ask(v2.Reset(id=1, slots=[0]), "reset")
        (picture,) = lane.values(v2.Render(id=2, slots=[0]), "render")
        assert np.array_equal(picture, np.full((2, 2, 3), 7, np.uint8))
        seen = set()
        for _ in range(8):
            lane.send(v2.Step(id=3, slots=[0], actions={"action": np.zeros(1)}), "step")
            seen.add(int(lane.result("step").observations["observation"][0]))
        assert len(seen) == 1


class Waiting(Environment[CountAction, CountObservation, State]):
    """Waits on the event loop, beside all the others."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    loops: ClassVar[set[int]] = set()

    async def reset_async(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Any:
        return CountObservation(total=0)

    async def step_async(self, action: CountAction, timeout_s: float | None = None, **kwargs: Any) -> Any:
        self.loops.add(threading.get_ident())
        await asyncio.sleep(0.2)
        return CountObservation(total=action.amount)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    def step(self, action: CountAction, timeout_s: float | None = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    @property
    def state(self) -> State:
        return State()


def test_async_environments_are_gathered() -> None:
    with running(create_app(Waiting, CountAction, CountObservation, max_concurrent_envs=40)) as base_url:
        envs = RemoteVectorEnv(base_url, 40)
        envs.reset()
        begin = time.perf_counter()
        assert envs.step(np.arange(40))[0].tolist() == list(range(40))
        assert time.perf_counter() - begin < 0.2 * 4
        assert len(Waiting.loops) == 1
        envs.close()


class Odd(gym.Env[Any, Any]):
    """Gives what cannot be sent, where its action says so."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        observation: Any = np.full(3, 0.5, np.float32)
        info: dict[str, Any] = {}
        match int(action):
            case 1:
                observation = np.zeros(4, np.float32)
            case 2:
                info = {"text": "\ud800"}
            case 3:
                observation = "nothing"
            case 4:
                raise SystemExit("enough")
        return observation, 1.0, False, False, info


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (1, "shape"),
        (2, "metadata.text is text with a lone surrogate"),
        (3, "SpaceError"),
        (4, "SystemExit: enough"),
    ],
)
@pytest.mark.parametrize("warm_up", [0, 4], ids=["on its own thread", "in the lane"])
def test_what_one_slot_breaks_leaves_the_others_whole(action: int, reason: str, warm_up: int) -> None:
    with serving(Odd) as base_url:
        envs = RemoteVectorEnv(base_url, 4)
        envs.reset()
        for _ in range(warm_up):
            envs.step(np.zeros(4, np.int64))
        with pytest.raises(RemoteEnvironmentError, match=rf"step {warm_up + 1} of slot 2: .*{reason}"):
            envs.step(np.array([0, 0, action, 0]))
        assert envs.recv(min_ready=3).slots.tolist() == [0, 1, 3]
        assert envs.step(np.zeros(4, np.int64))[0].tolist() == [[0.5] * 3] * 4
        envs.close()


def test_a_message_that_is_too_big_is_refused_and_said(counting: str) -> None:
    connection = BlockingConnection(Endpoint(counting), connect_timeout_s=5, offers_v2=True)
    raw = connection.raw_socket
    frames = FrameSocket(raw, is_client=True, max_size=1000)
    frames.set_timeout(5)
    raw.sendall(b"\x82\xff" + (2**40).to_bytes(8, "big") + b"mask")
    with pytest.raises(ConnectionError):
        frames.receive()


def test_the_server_stops_while_lanes_are_open() -> None:
    with running(COUNTING) as base_url:
        lane = V2Client(base_url)
        lane.open([0])
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    with pytest.raises(ConnectionError):
        add(lane, 1, slots=[0])


def test_pings_are_answered(counting: str) -> None:
    connection = BlockingConnection(Endpoint(counting), connect_timeout_s=5, offers_v2=True)
    raw = connection.raw_socket
    raw.settimeout(5)
    ping = bytes([0x80 | Opcode.PING, 0x80 | 4]) + bytes(4) + b"ping"
    raw.sendall(ping)
    assert raw.recv(100) == bytes([0x80 | Opcode.PONG, 4]) + b"ping"
    raw.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("ws", [TakeoverProtocol, "websockets-sansio"], ids=["socket", "event loop"])
def test_silence_ends_the_sessions_but_not_those_that_are_at_work(ws: Any) -> None:
    factory, models = gymnasium_factory(Threads)
    app = create_app(factory, models.action, models.observation, session_timeout_s=0.3)
    with running(app, ws=ws) as base_url:
        envs = RemoteVectorEnv(base_url, 2)
        envs.reset()
        for seconds in (0.25, 0.3, 0.6, 0.9):  # its silence begins with the answer, whenever that comes
            envs.step(np.full(2, seconds))
            time.sleep(0.15)
            envs.step(np.zeros(2))
        time.sleep(1)
        with pytest.raises(SessionLostError, match="silent for too long"):
            envs.step(np.zeros(2))
        with pytest.raises(ResetNeededError):
            envs.step(np.zeros(2))
        envs.reset()
        envs.step(np.zeros(2))
        envs.close()


def test_many_connections_switch_threads_less_often(counting: str) -> None:
    usual = sys.getswitchinterval()
    connections = [V2Client(counting).connection for _ in range(150)]
    try:
        assert sys.getswitchinterval() > 2 * usual
    finally:
        for connection in connections:
            connection.drop()
    deadline = time.monotonic() + 10
    while sys.getswitchinterval() > usual and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sys.getswitchinterval() == pytest.approx(usual)
