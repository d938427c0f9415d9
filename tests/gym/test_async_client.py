"""The typed clients in an event loop: threads, cancellation, and cuts.

``OPENENV_TEST_STEPS`` and ``OPENENV_TEST_CUTS`` set the size of the runs through cuts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from openenv_server import State, create_app

from openenv_gym import EnvClient, StepResult
from openenv_gym.errors import EndpointUnreachableError, NotAnOpenEnvServerError, ResetNeededError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2
from tests.support.tls import WAYS, Way, cutting_proxy

T = TypeVar("T")
STEPS = int(os.environ.get("OPENENV_TEST_STEPS", "200"))
CUTS = int(os.environ.get("OPENENV_TEST_CUTS", "20"))
CLIENTS = 200
SHARING = 20


class Adder(Counter):
    """Adds up for 25 steps an episode. Amounts below zero sleep for as many hundredths of a second.

    Attributes:
        steps_taken: By all sessions together.
    """

    steps_taken = 0
    SUPPORTS_CONCURRENT_SESSIONS = True

    def step(self, action: CountAction) -> CountObservation:
        type(self).steps_taken += 1
        if action.amount < 0:
            time.sleep(-action.amount / 100)
        self._state.step_count += 1
        total: Any = self._state.total * 31 + action.amount  # type: ignore[attr-defined]
        total %= 1_000_003
        self._state.total = total  # type: ignore[attr-defined]
        return CountObservation(total=total, reward=total / 7, done=self._state.step_count == 25)


class AdderClient(EnvClient[CountAction, CountObservation, State]):
    def _step_payload(self, action: CountAction) -> dict[str, Any]:
        return {"amount": action.amount}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[CountObservation]:
        observation = CountObservation(total=payload["observation"]["total"])
        return StepResult(observation=observation, reward=payload["reward"], done=payload["done"])

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)


@pytest.fixture(params=["v1", "v2"])
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Adder, CountAction, CountObservation, max_concurrent_envs=CLIENTS)
    with running(without_v2(app) if request.param == "v1" else app) as url:
        yield url


# --- threads ----------------------------------------------------------------------------------------------


# In a process without the threads of the server.
MANY = """
import asyncio, contextlib, sys, threading
from openenv_gym import GenericEnvClient

async def drive(url, count):
    clients = [GenericEnvClient(url) for _ in range(count)]
    before = threading.active_count()
    async with contextlib.AsyncExitStack() as stack:
        faces = [await stack.enter_async_context(client) for client in clients]
        await asyncio.gather(*(face.reset(start=number) for number, face in enumerate(faces)))
        results = await asyncio.gather(*(face.step({"amount": 1}) for face in faces))
        assert [result.observation["total"] for result in results] == [31 * i + 1 for i in range(count)]
        print(threading.active_count() - before)

asyncio.run(drive(sys.argv[1], int(sys.argv[2])))
"""


def test_two_hundred_clients_share_the_thread_of_their_loop(base_url: str) -> None:
    command = [sys.executable, "-c", MANY, base_url, str(CLIENTS)]
    added = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert int(added) <= 2


# --- cancellation -----------------------------------------------------------------------------------------


def test_a_step_that_is_cancelled_needs_a_reset(base_url: str) -> None:
    async def drive() -> None:
        async with AdderClient(base_url=base_url) as client:
            await client.reset(start=1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.step(CountAction(amount=-30))
            with pytest.raises(ResetNeededError):
                await client.step(CountAction(amount=1))
            await asyncio.sleep(0.4)  # by now, the late response would be here
            with pytest.raises(ResetNeededError):
                await client.step(CountAction(amount=1))
            assert (await client.reset(start=5)).observation.total == 5
            assert (await client.step(CountAction(amount=1))).observation.total == 5 * 31 + 1

    asyncio.run(drive())


def test_a_call_that_is_cancelled_while_another_is_under_way_costs_nothing(base_url: str) -> None:
    """It has not been sent yet."""

    async def drive() -> None:
        async with AdderClient(base_url=base_url) as client:
            await client.reset(start=0)
            first = asyncio.create_task(_awaited(client.step(CountAction(amount=-10))))
            await asyncio.sleep(0.02)
            second = asyncio.create_task(_awaited(client.step(CountAction(amount=9))))
            await asyncio.sleep(0.02)
            second.cancel()
            assert (await first).observation.total == 1_000_003 - 10
            with pytest.raises(asyncio.CancelledError):
                await second
            assert (await client.state()).step_count == 1

    asyncio.run(drive())


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


@pytest.mark.parametrize("delay_s", [0.0, 0.0005, 0.001, 0.002, 0.005])
def test_a_cancelled_reset_leaves_a_client_that_resets(base_url: str, delay_s: float) -> None:
    async def drive() -> None:
        async with AdderClient(base_url=base_url) as client:
            task = asyncio.create_task(_awaited(client.reset(start=1)))
            await asyncio.sleep(delay_s)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert (await client.reset(start=2)).observation.total == 2
            assert (await client.step(CountAction(amount=3))).observation.total == 65

    asyncio.run(drive())


# --- cuts -------------------------------------------------------------------------------------------------


def _facts(result: StepResult[CountObservation]) -> tuple[Any, ...]:
    return result.observation.total, result.reward, result.done


async def walk(reset: Callable[[int], Any], step: Callable[[int], Any], enough: Callable[[int], bool]) -> Any:
    """Take steps until there were enough; everything that was observed."""
    seen: list[tuple[Any, ...]] = []
    steps, ended = 0, True
    while not enough(steps):
        if ended:
            seen.append(_facts(await reset(steps)))
        steps += 1
        seen.append(_facts(await step(steps % 10)))
        ended = seen[-1][2]
    return seen, steps


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Open a session. A first connection that is cut is an error, and nothing is lost with it."""
    for _ in range(20):
        with contextlib.suppress(EndpointUnreachableError, NotAnOpenEnvServerError):
            return await call()
    raise AssertionError("could not connect")


def faults() -> dict[Any, float]:
    bytes_a_step = 500
    return {
        "cut": bytes_a_step * STEPS / CUTS * 0.6,
        "half_close": bytes_a_step * STEPS / CUTS * 3,
        "split": bytes_a_step * 20,
        "delay": bytes_a_step * 20,
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_run_through_cuts_is_identical_to_an_uncut_one(face: str, way: Way) -> None:
    async def drive(url: str, enough: Callable[[int], bool]) -> Any:
        client = AdderClient(base_url=url)
        if face == "async":
            await patiently(client.connect)  # type: ignore[arg-type]
            async with client as awaited:
                return await walk(
                    lambda start: patiently(lambda: awaited.reset(start=start)),
                    lambda amount: awaited.step(CountAction(amount=amount)),
                    enough,
                )

        async def reset(start: int) -> StepResult[CountObservation]:
            return client.reset(start=start)

        async def step(amount: int) -> StepResult[CountObservation]:
            return client.step(CountAction(amount=amount))

        async def connect() -> None:
            client.sync().connect()

        await patiently(connect)
        with client:
            return await walk(lambda start: patiently(lambda: reset(start)), step, enough)

    app = create_app(Adder, CountAction, CountObservation)
    with running(app) as url:
        Adder.steps_taken = 0
        with cutting_proxy(url, way, faults=faults(), seed=11) as proxy:
            cut, steps = asyncio.run(
                drive(proxy.base_url, lambda done: done >= STEPS and proxy.counts["cut"] >= CUTS)
            )
            counts = dict(proxy.counts)
        assert Adder.steps_taken == steps  # none was lost, and none was taken twice
        uncut, _ = asyncio.run(drive(url, lambda done: done >= steps))
    assert cut == uncut
    assert counts["cut"] >= CUTS
    print(f"{steps} steps, {counts}")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
def test_clients_of_one_connection_through_cuts_are_identical_to_uncut_ones(way: Way) -> None:
    begun = 0

    async def play(client: AdderClient, enough: Callable[[int], bool]) -> Any:
        def reset(start: int) -> Awaitable[StepResult[CountObservation]]:
            return patiently(lambda: _awaited(client.reset(start=start)))  # type: ignore[arg-type]

        def step(amount: int) -> Any:
            nonlocal begun
            begun += 1
            return client.step(CountAction(amount=amount))

        return await walk(reset, step, enough)

    async def drive(url: str, enough: list[Callable[[int], bool]]) -> Any:
        async with contextlib.AsyncExitStack() as stack:
            clients = [AdderClient(base_url=url) for _ in enough]
            for client in clients:
                await patiently(client.connect)  # type: ignore[arg-type]
                await stack.enter_async_context(client)
            return await asyncio.gather(*map(play, clients, enough))

    app = create_app(Adder, CountAction, CountObservation, max_concurrent_envs=2 * SHARING)
    with running(app) as url:
        Adder.steps_taken = 0
        with cutting_proxy(url, way, faults=faults(), seed=12) as proxy:
            is_enough = [lambda _: begun >= STEPS and proxy.counts["cut"] >= CUTS] * SHARING
            cut = asyncio.run(drive(proxy.base_url, is_enough))  # type: ignore[arg-type]
            counts = dict(proxy.counts)
        assert Adder.steps_taken == begun  # none was lost, and none was taken twice
        lengths = [steps for _, steps in cut]
        as_long = [lambda done, steps=steps: done >= steps for steps in lengths]
        uncut = asyncio.run(drive(url, as_long))  # type: ignore[arg-type]
    assert cut == uncut
    assert counts["cut"] >= CUTS
    print(f"{sum(lengths)} steps, {counts}")
