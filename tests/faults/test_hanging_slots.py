"""Environments that do not return: only their own slots are lost, and their places are free again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import websocket
from gymnasium.vector import AutoresetMode
from openenv_server import Action, Environment, Observation, State, create_app, gymnasium_factory
from openenv_server.sessions import capacity

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import CapacityError, DeadlineExceededError
from openenv_gym.session import recovery
from openenv_gym.wire import v2
from tests.support.servers import leave, running, status_of, without_v2
from tests.support.v2_client import V2Client

SLOTS = 8
TIMEOUT_S = 1.0
GO, HANG = 0, 1


class Hang:
    """Where environments hang, and until when.

    Attributes:
        where: The calls that hang, "reset", "close", "make" or "state", each with how often it still does.
        is_over: Set it to let them return.
    """

    def __init__(self) -> None:
        self.where: dict[str, int] = {}
        self.is_over = threading.Event()
        self._lock = threading.Lock()

    def pass_by(self, where: str) -> None:
        with self._lock:
            left = self.where.get(where, 0)
            self.where[where] = left - 1
        if left > 0:
            self.wait()

    def wait(self) -> None:
        assert self.is_over.wait(60)


class InTurn(gym.Env[Any, Any]):
    """Counts its steps, and hangs in a step whose action is `HANG`. One at a time runs in a process."""

    observation_space = gym.spaces.Box(0, 1000, (), np.float64)
    action_space = gym.spaces.Discrete(2)
    hang: ClassVar[Hang]

    def __init__(self) -> None:
        self.hang.pass_by("make")
        self._steps = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.hang.pass_by("reset")
        self._steps = 0.0
        return np.array(0.0), {}

    def step(self, action: Any) -> Any:
        if action == HANG:
            self.hang.wait()
        self._steps += 1
        return np.array(self._steps), 1.0, False, False, {}

    def close(self) -> None:
        self.hang.pass_by("close")


class InParallel(InTurn):
    SUPPORTS_CONCURRENT_SESSIONS = True


class Move(Action):
    action: int


class Seen(Observation):
    observation: float


class Modelled(Environment[Move, Seen, State]):
    """The same, with models, on its session's thread."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    hang: ClassVar[Hang]

    def __init__(self) -> None:
        super().__init__()
        self.hang.pass_by("make")
        self._steps = 0.0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Seen:
        self.hang.pass_by("reset")
        self._steps = 0.0
        return Seen(observation=0.0)

    def step(self, action: Move, timeout_s: float | None = None, **kwargs: Any) -> Seen:
        if action.action == HANG:
            self.hang.wait()
        self._steps += 1
        return Seen(observation=self._steps, reward=1.0)

    @property
    def state(self) -> State:
        self.hang.pass_by("state")
        return State()

    def close(self) -> None:
        self.hang.pass_by("close")


@pytest.fixture(autouse=True)
def hang() -> Iterator[Hang]:
    current = InTurn.hang = Modelled.hang = Hang()
    yield current
    current.is_over.set()


class Server:
    """A running server.

    Attributes:
        base_url: Its base URL.
        sessions: Its sessions.
    """

    def __init__(self, base_url: str, sessions: Any) -> None:
        self.base_url = base_url
        self.sessions = sessions

    def eventually(self, *, active: int, abandoned: int, within_s: float = 10.0) -> None:
        """Wait until it has so many sessions and abandoned threads."""
        deadline = time.monotonic() + within_s
        while (self.sessions.active, self.sessions.abandoned_threads) != (active, abandoned):
            assert time.monotonic() < deadline, (self.sessions.active, self.sessions.abandoned_threads)
            time.sleep(0.02)


def app_of(kind: Any, **keywords: Any) -> Any:
    if kind is Modelled:
        return create_app(Modelled, Move, Seen, **keywords)
    factory, models = gymnasium_factory(kind)
    return create_app(factory, models.action, models.observation, **keywords)


@contextmanager
def serving(kind: Any, version: str, **keywords: Any) -> Iterator[Server]:
    app = app_of(kind, **{"max_concurrent_envs": SLOTS, **keywords})
    with running(without_v2(app) if version == "v1" else app) as base_url:
        try:
            yield Server(base_url, app.state.sessions)
        finally:
            InTurn.hang.is_over.set()  # before the server stops, which waits


versions = pytest.mark.parametrize("version", ["v1", "v2"])
kinds = pytest.mark.parametrize("kind", [InTurn, InParallel, Modelled])


def make(server: Server, **keywords: Any) -> RemoteVectorEnv:
    given: dict[str, Any] = {"on_session_lost": "truncate", "step_timeout_s": TIMEOUT_S, **keywords}
    return RemoteVectorEnv(server.base_url, SLOTS, **given)


def actions(hanging: list[int]) -> Any:
    return np.array([HANG if slot in hanging else GO for slot in range(SLOTS)])


def warm_up(envs: RemoteVectorEnv) -> None:
    """Take steps until fast slots are known to be fast."""
    envs.reset(seed=1)
    for _ in range(3):
        envs.step(actions([]))


@versions
@kinds
@pytest.mark.parametrize("mode", AutoresetMode)
def test_only_the_slot_that_hangs_is_truncated(kind: Any, version: str, mode: AutoresetMode) -> None:
    with serving(kind, version) as server, closing(make(server, autoreset_mode=mode)) as envs:
        warm_up(envs)
        begin = time.monotonic()
        observations, rewards, terminations, truncations, infos = envs.step(actions([3]))
        assert TIMEOUT_S * 0.8 < time.monotonic() - begin < TIMEOUT_S + 5
        others = [slot for slot in range(SLOTS) if slot != 3]
        assert np.flatnonzero(truncations).tolist() == [3]
        assert not terminations.any()
        assert rewards.tolist() == [0.0 if slot == 3 else 1.0 for slot in range(SLOTS)]
        assert [float(observations[slot]) for slot in others] == [4.0] * 7
        lost = infos if mode is not AutoresetMode.SAME_STEP else infos["final_info"]
        assert f"did not answer step 4 of slot 3 within {TIMEOUT_S:g} s" in lost["session_lost"][3]
        if mode is AutoresetMode.DISABLED:
            envs.reset(options={"reset_mask": np.arange(SLOTS) == 3})
        for _ in range(3):
            _, _, _, truncations, _ = envs.step(actions([]))
            assert not truncations.any()
        server.eventually(active=SLOTS, abandoned=1)
        InTurn.hang.is_over.set()
        server.eventually(active=SLOTS, abandoned=0)
        assert not envs.step(actions([]))[3].any()


@versions
@kinds
@pytest.mark.parametrize("hanging", [[1, 4, 6], list(range(SLOTS))])
def test_as_many_are_truncated_as_hang(kind: Any, version: str, hanging: list[int]) -> None:
    with serving(kind, version) as server, closing(make(server)) as envs:
        warm_up(envs)
        begin = time.monotonic()
        truncations = envs.step(actions(hanging))[3]
        assert time.monotonic() - begin < TIMEOUT_S + 8
        assert np.flatnonzero(truncations).tolist() == hanging
        for _ in range(3):
            assert not envs.step(actions([]))[3].any()
        server.eventually(active=SLOTS, abandoned=len(hanging))
        InTurn.hang.is_over.set()
        server.eventually(active=SLOTS, abandoned=0)


@versions
@kinds
def test_with_raise_the_error_names_the_slot_and_the_others_results_count(kind: Any, version: str) -> None:
    with serving(kind, version) as server, closing(make(server, on_session_lost="raise")) as envs:
        warm_up(envs)
        with pytest.raises(DeadlineExceededError, match=r"step 4 of slot 3 within 1 s") as caught:
            envs.step(actions([3]))
        assert caught.value.slots == (3,)
        ready = envs.recv()
        assert ready.slots.tolist() == [0, 1, 2, 4, 5, 6, 7]
        assert ready.rewards.tolist() == [1.0] * 7
        envs.reset(options={"reset_mask": np.arange(SLOTS) == 3})
        assert envs.step(actions([]))[1].tolist() == [1.0] * SLOTS
        server.eventually(active=SLOTS, abandoned=1)


@versions
@kinds
def test_a_reset_that_hangs_is_repeated_in_a_new_session(kind: Any, version: str, hang: Hang) -> None:
    with serving(kind, version) as server, closing(make(server, reset_timeout_s=TIMEOUT_S)) as envs:
        warm_up(envs)
        hang.where["reset"] = 1
        observations, _ = envs.reset(seed=2)
        assert observations.tolist() == [0.0] * SLOTS
        assert envs.step(actions([]))[1].tolist() == [1.0] * SLOTS
        server.eventually(active=SLOTS, abandoned=1)


@versions
@pytest.mark.parametrize("kind", [InTurn, InParallel])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_an_autoreset_that_hangs_is_repeated_in_a_new_session(
    kind: Any, version: str, mode: AutoresetMode, hang: Hang
) -> None:
    keywords: dict[str, Any] = {"autoreset_mode": mode, "max_episode_steps": 4}
    with (
        serving(kind, version) as server,
        closing(make(server, reset_timeout_s=TIMEOUT_S, **keywords)) as envs,
    ):
        warm_up(envs)
        if mode is AutoresetMode.NEXT_STEP:
            assert envs.step(actions([]))[3].all()
        hang.where["reset"] = 1
        observations, _, _, truncations, infos = envs.step(actions([]))
        assert observations.tolist() == [0.0] * SLOTS
        assert truncations.all() == (mode is AutoresetMode.SAME_STEP)
        lost = infos.get("final_info", infos).get("session_lost", np.full(SLOTS, None))
        # With version 1, and in a step of its own, the reset is a request, which is repeated.
        is_lost = version == "v2" and mode is AutoresetMode.SAME_STEP
        assert sum(reason is not None for reason in lost) == is_lost
        assert envs.step(actions([]))[0].tolist() == [1.0] * SLOTS
        server.eventually(active=SLOTS, abandoned=1)


@versions
@kinds
def test_the_places_of_environments_that_hang_when_closed_are_free(
    kind: Any, version: str, hang: Hang
) -> None:
    with serving(kind, version) as server:
        envs = make(server)
        warm_up(envs)
        hang.where["close"] = SLOTS
        begin = time.monotonic()
        envs.close()
        assert time.monotonic() - begin < 2 * SLOTS
        server.eventually(active=0, abandoned=SLOTS)
        again = make(server, step_timeout_s=10.0)
        again.reset(seed=1)
        again.close()
        hang.is_over.set()
        server.eventually(active=0, abandoned=0)


@versions
@kinds
@pytest.mark.parametrize("where", ["step", "reset"])
def test_a_server_with_one_session_has_it_again_after_a_timeout(
    kind: Any, version: str, where: str, hang: Hang
) -> None:
    with (
        serving(kind, version, max_concurrent_envs=1) as server,
        closing(RemoteEnv(server.base_url, step_timeout_s=TIMEOUT_S, reset_timeout_s=TIMEOUT_S)) as env,
    ):
        env.reset()
        hang.where["reset"] = 1 if where == "reset" else 0
        call = env.reset if where == "reset" else partial(env.step, HANG)
        with pytest.raises(DeadlineExceededError, match=rf"did not answer {where}.* within 1 s"):
            call()
        env.reset()
        assert env.step(GO)[1] == 1.0
        server.eventually(active=1, abandoned=1)
        hang.is_over.set()
        server.eventually(active=1, abandoned=0)


@kinds
@pytest.mark.parametrize("ending", ["hang_up", "drop"])
def test_a_client_without_timeouts_frees_its_places_by_leaving(kind: Any, ending: str) -> None:
    with serving(kind, "v2", resume_grace_s=0.3) as server:
        client = V2Client(server.base_url)
        client.open([0, 1])
        client.send(v2.Reset(id=client.next_id(), slots=[0, 1]), "reset")
        client.result("reset")
        for _ in range(3):
            client.send(v2.Step(id=client.next_id(), slots=[0, 1], actions=[{"action": GO}] * 2), "step")
            client.result("step")
        moves = [{"action": HANG}, {"action": GO}]
        client.send(v2.Step(id=client.next_id(), slots=[0, 1], actions=moves), "step")
        time.sleep(0.1)
        getattr(client.connection, ending)()
        server.eventually(active=0, abandoned=1)
        InTurn.hang.is_over.set()
        server.eventually(active=0, abandoned=0)


@pytest.mark.parametrize("ending", ["close", "many requests"])
def test_a_client_of_version_1_frees_its_place_by_leaving(ending: str) -> None:
    with serving(Modelled, "v1") as server:
        socket = websocket.create_connection(server.base_url.replace("http", "ws") + "/ws", timeout=5)
        socket.send('{"type":"reset"}')
        socket.recv()
        socket.send('{"type":"step","data":{"action":1}}')
        time.sleep(0.1)
        if ending == "close":
            socket.close()
        else:
            for _ in range(1100):
                socket.send('{"type":"state"}')
        server.eventually(active=0, abandoned=1)
        InTurn.hang.is_over.set()
        server.eventually(active=0, abandoned=0)


def test_a_slow_step_holds_up_no_other_slot() -> None:
    with serving(InParallel, "v2") as server, closing(make(server, step_timeout_s=20)) as envs:
        warm_up(envs)
        threading.Timer(3.0, InTurn.hang.is_over.set).start()
        envs.send(actions([0]))
        begin = time.monotonic()
        slots: list[int] = []
        while len(slots) < SLOTS - 1:
            slots += envs.recv(timeout_s=10).slots.tolist()
        assert sorted(slots) == list(range(1, SLOTS))
        assert time.monotonic() - begin < 2.5
        ready = envs.recv(timeout_s=10)
        assert (ready.slots.tolist(), ready.rewards.tolist()) == ([0], [1.0])
        assert not envs.step(actions([]))[3].any()
        server.eventually(active=SLOTS, abandoned=0)


@kinds
def test_a_state_or_a_factory_that_hangs_holds_up_no_other_slot(kind: Any, hang: Hang) -> None:
    with serving(kind, "v2") as server:
        client = V2Client(server.base_url)
        client.open([0, 1])
        client.send(v2.Reset(id=client.next_id(), slots=[0, 1]), "reset")
        client.result("reset")
        if kind is Modelled:
            hang.where["state"] = 1
            request = v2.GetState(id=client.next_id(), slots=[0, 1], timeout_s=1.0)
            client.send(request, "state")
            values = client.receive("state")
            assert isinstance(values, v2.Values)
            assert [error.code for error in values.errors] == ["DEADLINE_EXCEEDED"]
            assert len(values.values) == 1
            lost = values.errors[0].slot
            server.eventually(active=1, abandoned=1)
        else:
            lost = 0
            client.send(v2.Close(id=client.next_id(), slots=[0]), "close")
            assert isinstance(client.receive("close"), v2.Closed)
        before = server.sessions.abandoned_threads
        hang.where["make"] = 1
        client.send(v2.Open(id=client.next_id(), slots=[5], timeout_s=1.0), "open")
        step = v2.Step(id=client.next_id(), slots=[1 - lost], actions=[{"action": GO}])
        client.send(step, "step")
        answers = [client.receive("step"), client.receive("open")]
        if kind is InTurn:  # one at a time may run, so the step waited
            answers.sort(key=lambda answer: isinstance(answer, v2.Opened))
        result, opened = answers
        assert isinstance(result, v2.Result)
        assert isinstance(opened, v2.Opened)
        assert not result.errors
        assert [error.code for error in opened.errors] == ["DEADLINE_EXCEEDED"]
        server.eventually(active=1, abandoned=before + 1)
        client.open([6])
        hang.is_over.set()
        server.eventually(active=2, abandoned=0)
        client.close()


@versions
def test_a_client_that_leaves_while_its_environment_is_made_frees_the_place(version: str, hang: Hang) -> None:
    with serving(InTurn, version) as server:
        RemoteEnv(server.base_url).reset()  # with the environment that the server made when it started
        server.eventually(active=0, abandoned=0)
        hang.where["make"] = 1
        env = RemoteEnv(server.base_url, step_timeout_s=TIMEOUT_S, reset_timeout_s=TIMEOUT_S)
        with pytest.raises(DeadlineExceededError):
            env.reset()
        server.eventually(active=0, abandoned=1)
        env.reset()
        hang.is_over.set()
        server.eventually(active=1, abandoned=0)
        env.close()


@pytest.mark.parametrize("where", ["make", "step", "state"])
def test_a_request_over_http_is_given_up_when_its_client_leaves(where: str, hang: Hang) -> None:
    path, body = ("/state", None) if where == "state" else ("/step", {"action": {"action": GO}})
    if where == "step":
        body = {"action": {"action": HANG}}
    with serving(Modelled, "v2", max_concurrent_envs=1) as server:
        status_of(f"{server.base_url}/state")  # the environment that the server made when it started
        hang.where = {} if where == "step" else {where: 1}
        leave(server.base_url + path, body)
        server.eventually(active=0, abandoned=1)
        # There is one place for requests: it is free again.
        assert status_of(f"{server.base_url}/step", {"action": {"action": GO}})[0] == 200
        hang.is_over.set()
        server.eventually(active=0, abandoned=0)
        assert server.sessions.passing == 0


def test_too_many_threads_that_do_not_return_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_LEAST_ABANDONED", 2)
    monkeypatch.setattr(recovery, "_LOST_PLACE_S", 0.3)
    with (
        serving(Modelled, "v2", max_concurrent_envs=1) as server,
        closing(RemoteEnv(server.base_url, step_timeout_s=0.2)) as env,
    ):
        for abandoned, status in ((1, "degraded"), (2, "unhealthy"), (3, "unhealthy")):
            env.reset()
            with pytest.raises(DeadlineExceededError):
                env.step(HANG)
            code, health = status_of(f"{server.base_url}/health")
            assert (code, health["status"]) == (503 if status == "unhealthy" else 200, status)
            assert f"{abandoned} threads have an environment that does not return" in health["reasons"]
        assert (server.sessions.active, server.sessions.abandoned_threads) == (1, 3)
        with pytest.raises(CapacityError):
            env.reset()
        InTurn.hang.is_over.set()
        server.eventually(active=0, abandoned=0)
        assert status_of(f"{server.base_url}/health")[1]["status"] == "healthy"
        env.reset()
        assert env.step(GO)[1] == 1.0
