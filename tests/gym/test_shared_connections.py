"""The async clients of one event loop share a connection, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import Action, Environment, Observation, State, create_app, gymnasium_factory
from openenv_server.sessions.lifecycle import EndReason

from openenv_gym import GenericEnvClient
from openenv_gym.errors import (
    ActionRefusedError,
    CapacityError,
    DeadlineExceededError,
    ProtocolError,
    RemoteEnvironmentError,
    ResetNeededError,
    SessionLostError,
)
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.transport.asynchronous import AsyncConnection
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2

CLIENTS = 50
SLOW_S = 3.0
NAP_S = 0.05


class Told(Action):
    sleep_s: float = 0.0
    fails: bool = False
    extra: Any = None


class Count(Observation):
    steps: int


class Modelled(Environment[Told, Count, State]):
    """Counts its steps; sleeps and fails as it is told.

    Attributes:
        sleeps_s: For how long the next call of a method sleeps; each call takes its own.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True
    sleeps_s: ClassVar[dict[str, float]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._sleep("make")
        self._steps = 0

    def _sleep(self, what: str) -> None:
        time.sleep(self.sleeps_s.pop(what, 0.0))

    def reset(self, seed: int | None = None, sleep_s: float = 0.0, **_: Any) -> Count:
        time.sleep(sleep_s)
        self._steps = 0
        return Count(steps=0)

    def step(self, action: Told) -> Count:
        time.sleep(action.sleep_s)
        if action.fails:
            raise ValueError("told to fail")
        self._steps += 1
        return Count(steps=self._steps)

    @property
    def state(self) -> State:
        self._sleep("state")
        return State(step_count=self._steps)

    def close(self) -> None:
        self._sleep("close")


class Spaces(gym.Env[Any, Any]):
    """Counts its steps; sleeps for the action in seconds. The connection's thread steps it if it is fast."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    observation_space = gym.spaces.Box(0, 1e9, (1,), np.float64)
    action_space = gym.spaces.Box(0, 10, (), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        time.sleep(float(action))
        self._steps += 1
        return np.full(1, float(self._steps)), 0.0, False, False, {}


def _factory_and_models() -> tuple[Any, Any, Any]:
    factory, models = gymnasium_factory(Spaces)
    return factory, models.action, models.observation


class Kind(NamedTuple):
    """A kind of environment: how to serve it, an action that sleeps, and the steps in an observation."""

    app: Callable[[], Any]
    sleeping: Callable[[float], dict[str, Any]]
    steps: Callable[[Any], float]


KINDS = {
    "modelled": Kind(
        lambda: create_app(Modelled, Told, Count, max_concurrent_envs=CLIENTS),
        lambda seconds: {"sleep_s": seconds},
        lambda observation: observation["steps"],
    ),
    "gymnasium": Kind(
        lambda: create_app(*_factory_and_models(), max_concurrent_envs=CLIENTS),
        lambda seconds: {"action": seconds},
        lambda observation: observation["observation"][0],
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def base_url() -> Iterator[str]:
    with running(KINDS["modelled"].app()) as url:
        yield url


@contextmanager
def counting(url: str) -> Iterator[FaultProxy]:
    """A proxy that counts connections."""
    with FaultProxy(url, faults={}) as proxy:
        yield proxy


@asynccontextmanager
async def playing(url: str, count: int, **keywords: Any) -> AsyncIterator[list[Any]]:
    """Clients with an episode each."""
    async with AsyncExitStack() as stack:
        clients = [GenericEnvClient(url, **keywords) for _ in range(count)]
        faces = await asyncio.gather(*map(stack.enter_async_context, clients))
        await asyncio.gather(*(face.reset() for face in faces))
        yield faces


# --- one connection ---------------------------------------------------------------------------------------


def test_all_clients_of_a_loop_use_one_connection_until_the_last_closes(base_url: str) -> None:
    async def drive(proxy: FaultProxy) -> None:
        async with playing(proxy.base_url, CLIENTS) as clients:
            for client in clients[1:]:
                await client.close()
            assert (await clients[0].step({})).observation["steps"] == 1
            assert proxy.counts["connections"] == 1
        async with playing(proxy.base_url, 2):
            assert proxy.counts["connections"] == 2

    with counting(base_url) as proxy:
        asyncio.run(drive(proxy))


def test_the_requests_of_one_turn_travel_in_one_message(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    send = AsyncConnection.send

    async def counted(self: AsyncConnection, message: Any, **keywords: Any) -> None:
        sent.append(message)
        await send(self, message, **keywords)

    async def drive(url: str) -> None:
        async with playing(url, CLIENTS) as clients:
            for _ in range(5):
                await asyncio.gather(*(client.step(kind.sleeping(0.0)) for client in clients))
            monkeypatch.setattr(AsyncConnection, "send", counted)
            results = await asyncio.gather(*(client.step(kind.sleeping(0.0)) for client in clients))
            assert [kind.steps(result.observation) for result in results] == [6] * CLIENTS
            assert len(sent) == 1

    with running(kind.app()) as url:
        asyncio.run(drive(url))


def test_other_credentials_loops_and_threads_have_other_connections(base_url: str) -> None:
    async def drive(url: str, **keywords: Any) -> None:
        async with playing(url, 2, **keywords) as clients:
            await asyncio.gather(*(client.step({}) for client in clients))
            await asyncio.sleep(0.2)

    async def with_two_keys(url: str) -> None:
        await asyncio.gather(drive(url), drive(url, headers={"X-Team": "b"}))

    with counting(base_url) as proxy:
        asyncio.run(with_two_keys(proxy.base_url))
        assert proxy.counts["connections"] == 2
        threads = [threading.Thread(target=lambda: asyncio.run(drive(proxy.base_url))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert proxy.counts["connections"] == 4


# In a process without the threads of the server.
FORK = """
import asyncio, os, sys
from openenv_gym import GenericEnvClient

async def drive(clients):
    for client in clients:
        await client.reset()
    return [(await client.step({})).observation["steps"] for client in clients]

async def main(url):
    clients = [GenericEnvClient(url) for _ in range(2)]
    print(await drive(clients))
    child = os.fork()
    if not child:
        from asyncio import events
        events._set_running_loop(None)
        print(asyncio.run(drive(clients)), asyncio.run(drive([GenericEnvClient(url)])), flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(await asyncio.to_thread(lambda: os.waitpid(child, 0)[1])))
    print([(await client.step({})).observation["steps"] for client in clients])

asyncio.run(main(sys.argv[1]))
"""


def test_a_forked_process_has_its_own_connection(base_url: str) -> None:
    command = [sys.executable, "-u", "-c", FORK, base_url]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=20).stdout
    assert shown.splitlines() == ["[1, 1]", "[1, 1] [1]", "0", "[2, 2]"]


def test_version_1_has_a_connection_for_each_client() -> None:
    async def drive(proxy: FaultProxy) -> None:
        async with playing(proxy.base_url, 5) as clients:
            assert [(await client.step({})).observation["steps"] for client in clients] == [1] * 5
            assert proxy.counts["connections"] == 5

    with running(without_v2(KINDS["modelled"].app())) as url, counting(url) as proxy:
        asyncio.run(drive(proxy))


def test_a_connection_that_is_full_is_followed_by_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_SLOTS_PER_SOCKET", "2")

    async def drive(proxy: FaultProxy) -> None:
        async with playing(proxy.base_url, 5) as clients:
            results = await asyncio.gather(*(client.step({}) for client in clients))
            assert [result.observation["steps"] for result in results] == [1] * 5
            assert proxy.counts["connections"] == 3

    with running(KINDS["modelled"].app()) as url, counting(url) as proxy:
        asyncio.run(drive(proxy))


def test_sessions_are_spread_over_the_processes_of_a_server() -> None:
    async def drive(url: str) -> set[int]:
        async with playing(url, 40) as clients:
            return {client._session._channel._channel.connection.worker[0] for client in clients}

    with ProcessProvider(gym="CartPole-v1", workers=2, max_sessions=64) as server:
        assert asyncio.run(drive(server.base_url)) == {0, 1}


def test_a_client_that_is_collected_frees_its_place() -> None:
    async def drive(url: str) -> None:
        async with playing(url, 1) as clients:
            forgotten = GenericEnvClient(url)
            await forgotten.reset()
            with pytest.raises(CapacityError):
                await GenericEnvClient(url).reset()
            del forgotten
            gc.collect()
            await asyncio.sleep(0.3)
            other = GenericEnvClient(url)
            await other.reset()
            assert (await clients[0].step({})).observation["steps"] == 1
            await other.close()

    with running(create_app(Modelled, Told, Count, max_concurrent_envs=2)) as url:
        asyncio.run(drive(url))


# --- no client waits for another one ----------------------------------------------------------------------


async def slowest_s(clients: list[Any], action: dict[str, Any], until: asyncio.Future[Any]) -> float:
    """Step clients until something is done; the longest that one of them waited."""

    async def step(client: Any) -> float:
        longest = 0.0
        while not until.done():
            begin = time.perf_counter()
            await client.step(action)
            longest = max(longest, time.perf_counter() - begin)
            await asyncio.sleep(0.01)
        return longest

    return max(await asyncio.gather(*map(step, clients)))


@pytest.mark.timeout(60)
def test_a_slow_step_holds_up_no_other_client(kind: Kind) -> None:
    async def drive(url: str) -> None:
        async with playing(url, CLIENTS) as (slow, *others):
            for _ in range(4):  # by then the server knows that they are fast
                await asyncio.gather(*(client.step(kind.sleeping(0.0)) for client in (slow, *others)))
            begin = time.perf_counter()
            sleeping = asyncio.ensure_future(slow.step(kind.sleeping(SLOW_S)))

            async def walk(client: Any) -> float:
                for _ in range(100):
                    result = await client.step(kind.sleeping(0.0))
                return kind.steps(result.observation)

            assert await asyncio.gather(*map(walk, others)) == [104] * len(others)
            assert time.perf_counter() - begin < SLOW_S - 0.3
            assert not sleeping.done()
            assert kind.steps((await sleeping).observation) == 5

    with running(kind.app()) as url:
        asyncio.run(drive(url))


def test_a_fast_client_that_is_slow_now_and_then_holds_up_no_other_one() -> None:
    """Its steps ran on the connection's thread."""
    kind = KINDS["gymnasium"]

    async def drive(url: str) -> None:
        async with playing(url, CLIENTS) as (slow, *others):
            for _ in range(3):
                for _ in range(4):
                    await asyncio.gather(*(client.step(kind.sleeping(0.0)) for client in (slow, *others)))
                sleeping = asyncio.ensure_future(slow.step(kind.sleeping(0.5)))
                assert await slowest_s(others, kind.sleeping(0.0), sleeping) < 0.25

    with running(kind.app()) as url:
        asyncio.run(drive(url))


def test_slow_steps_run_side_by_side(kind: Kind) -> None:
    async def drive(url: str) -> None:
        async with playing(url, CLIENTS) as clients:
            begin = time.perf_counter()
            for _ in range(5):
                await asyncio.gather(*(client.step(kind.sleeping(NAP_S)) for client in clients))
            assert time.perf_counter() - begin < 5 * NAP_S * 5  # one after another, 50 times as long

    with running(kind.app()) as url:
        asyncio.run(drive(url))


@pytest.mark.parametrize("what", ["make", "state", "close", "reset"])
def test_no_slow_call_holds_up_another_client(base_url: str, what: str) -> None:
    async def drive() -> None:
        async with playing(base_url, 5) as (slow, *others):
            calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
                "make": GenericEnvClient(base_url).__aenter__,
                "state": slow.state,
                "close": slow.close,
                "reset": partial(slow.reset, sleep_s=1.0),
            }
            Modelled.sleeps_s[what] = 0.0 if what == "reset" else 0.8
            try:
                sleeping = asyncio.ensure_future(calls[what]())
                assert await slowest_s(others, {}, sleeping) < 0.2
                opened = await sleeping
                if what == "make":
                    await opened.close()
            finally:
                Modelled.sleeps_s.clear()

    asyncio.run(drive())


# --- each has its own errors, timeouts and cancellation ---------------------------------------------------


def test_a_failure_is_that_of_one_client(base_url: str) -> None:
    async def drive() -> None:
        async with playing(base_url, 5) as clients:
            actions: list[Any] = [
                {},
                {"fails": True},
                {"sleep_s": "long"},
                {"extra": object()},
                {"extra": [0] * 1_100_000},  # more values than a message may have
            ]
            for _ in range(2):  # alone, until the size of an answer is known, and then together
                results = await asyncio.gather(
                    *(client.step(action) for client, action in zip(clients, actions, strict=True)),
                    return_exceptions=True,
                )
            assert results[0].observation["steps"] == 2
            kinds = [RemoteEnvironmentError, ActionRefusedError, ProtocolError, ActionRefusedError]
            assert [type(error) for error in results[1:]] == kinds
            results = await asyncio.gather(*(client.step({}) for client in clients))
            assert [result.observation["steps"] for result in results] == [3, 1, 1, 1, 1]

    asyncio.run(drive())


def test_a_message_that_is_too_large_ends_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_MESSAGE_BYTES", "100000")

    async def drive(url: str) -> None:
        async with playing(url, 2) as (large, other):
            with pytest.raises(SessionLostError, match=r"200,0\d\d bytes is larger than it takes"):
                await large.step({"extra": "x" * 200_000})
            assert (await other.step({})).observation["steps"] == 1
            assert (await large.reset()).observation["steps"] == 0
            many = await asyncio.gather(*(client.step({"extra": "x" * 90_000}) for client in (large, other)))
            assert [result.observation["steps"] for result in many] == [1, 2]

    with running(KINDS["modelled"].app()) as url:
        asyncio.run(drive(url))


def test_answers_that_are_too_large_together_come_one_by_one() -> None:
    class Large(Modelled):
        def step(self, action: Told) -> Count:
            return Count(steps=1, metadata={"text": "x" * 400_000})

    async def drive(url: str) -> None:
        async with playing(url, 10, max_message_size_mb=0.5) as clients:
            for _ in range(3):
                results = await asyncio.gather(*(client.step({}) for client in clients))
                assert [result.observation["steps"] for result in results] == [1] * 10

    with running(create_app(Large, Told, Count, max_concurrent_envs=10)) as url:
        asyncio.run(drive(url))


def test_a_full_server_refuses_one_client() -> None:
    async def drive(url: str) -> None:
        async with playing(url, 3) as clients:
            for _ in range(2):
                with pytest.raises(CapacityError):
                    await GenericEnvClient(url).connect()
            results = await asyncio.gather(*(client.step({}) for client in clients))
            assert [result.observation["steps"] for result in results] == [1, 1, 1]

    with running(create_app(Modelled, Told, Count, max_concurrent_envs=3)) as url:
        asyncio.run(drive(url))


@pytest.mark.parametrize("way", ["cancel", "timeout"])
def test_a_step_that_is_given_up_disturbs_no_other_client(base_url: str, way: str) -> None:
    async def drive() -> None:
        async with playing(base_url, 3) as (slow, *others):
            if way == "cancel":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await slow.step({"sleep_s": 0.5})
            else:
                with pytest.raises(DeadlineExceededError):
                    await slow.step({"sleep_s": 0.8}, timeout_s=0.2)
            results = await asyncio.gather(*(client.step({}) for client in others))
            with pytest.raises(ResetNeededError):
                await slow.step({})
            await asyncio.sleep(0.8)  # by now, the late answer would be here
            assert (await slow.reset()).observation["steps"] == 0
            results += await asyncio.gather(*(client.step({}) for client in (*others, slow)))
            assert [result.observation["steps"] for result in results] == [1, 1, 2, 2, 1]

    asyncio.run(drive())


@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.02, 0.2])
def test_an_open_that_is_cancelled_frees_its_place(delay_s: float) -> None:
    async def drive(url: str) -> None:
        async with playing(url, 1) as (client,):
            Modelled.sleeps_s["make"] = 0.1
            opening = asyncio.ensure_future(GenericEnvClient(url).__aenter__())
            await asyncio.sleep(delay_s)
            opening.cancel()
            await asyncio.wait([opening])
            Modelled.sleeps_s.clear()
            opened = None if opening.cancelled() else opening.result()
            if opened is not None:
                await opened.close()
            await asyncio.sleep(0.3)
            other = GenericEnvClient(url)
            await other.connect()
            await other.close()
            assert (await client.step({})).observation["steps"] == 1

    with running(create_app(Modelled, Told, Count, max_concurrent_envs=2)) as url:
        asyncio.run(drive(url))


def test_a_client_that_is_silent_loses_its_session_while_others_continue() -> None:
    async def drive(url: str) -> None:
        async with playing(url, 4) as (silent, *others):
            for number in range(1, 16):
                results = await asyncio.gather(*(client.step({}) for client in others))
                assert [result.observation["steps"] for result in results] == [number] * 3
                await asyncio.sleep(0.1)
            with pytest.raises(SessionLostError):
                await silent.step({})
            assert (await silent.reset()).observation["steps"] == 0
            assert (await silent.step({})).observation["steps"] == 1

    app = create_app(Modelled, Told, Count, max_concurrent_envs=4, session_timeout_s=0.6)
    with running(app) as url:
        asyncio.run(drive(url))
        assert app.state.sessions.counters.closed == {EndReason.IDLE: 1, EndReason.CLIENT_LEFT: 4}


# --- the connection breaks, or the server stops -----------------------------------------------------------


def test_a_broken_connection_is_resumed_once_for_all(base_url: str) -> None:
    async def drive(proxy: FaultProxy) -> None:
        async with playing(proxy.base_url, 20) as clients:
            for number in range(1, 4):
                steps = [asyncio.ensure_future(client.step({"sleep_s": 0.1})) for client in clients]
                await asyncio.sleep(0.05)
                proxy.cut()
                results = await asyncio.gather(*steps)
                assert [result.observation["steps"] for result in results] == [number] * 20
                assert proxy.counts["connections"] == 1 + number

    with counting(base_url) as proxy:
        asyncio.run(drive(proxy))


def test_a_server_that_stops_tells_each_client() -> None:
    async def drive(server: Any) -> list[Any]:
        async with playing(server.base_url, 4) as clients:
            stepping = [asyncio.ensure_future(client.step({"action": 0})) for client in clients[:2]]
            await asyncio.gather(*stepping)
            await asyncio.to_thread(server.stop)
            return await asyncio.gather(
                *(client.step({"action": 0}) for client in clients), return_exceptions=True
            )

    server = ProcessProvider(gym="CartPole-v1")
    server.launch()
    errors = asyncio.run(drive(server))
    assert [type(error) for error in errors] == [SessionLostError] * 4
    assert len(set(map(id, errors))) == 4
