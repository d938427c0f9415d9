"""A coroutine of an environment that blocks the event loop is named in the log, once for each class."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from openenv_server import create_app
from openenv_server.blocking import watched

from openenv_gym import GenericEnvClient, RemoteEnv
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


def sleep() -> None:
    time.sleep(0.15)


def compute() -> None:
    end = time.perf_counter() + 0.15
    while time.perf_counter() < end:
        pass


def make(block: Any, method: str) -> type[Counter]:
    """A class whose ``method`` blocks as ``block`` does, after an await of its own."""

    async def blocking(self: Counter, *arguments: Any, **keywords: Any) -> CountObservation:
        await asyncio.sleep(0)
        block()
        return getattr(Counter, method.removesuffix("_async"))(self, *arguments, **keywords)

    return type("Blocking", (Counter,), {method: blocking})


@pytest.mark.parametrize("block", [sleep, compute])
@pytest.mark.parametrize("method", ["step", "step_async", "reset_async"])
@pytest.mark.parametrize("client", [GenericEnvClient, RemoteEnv])
def test_it_is_named_once_with_its_method_and_the_remedy(
    client: Any, method: str, block: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with running(create_app(make(block, method), CountAction, CountObservation)) as url, client(url) as one:
        one.reset()
        for _ in range(3):
            one.step({"amount": 1} if client is GenericEnvClient else 1)
    logged = [record.getMessage() for record in caplog.records if "event loop" in record.getMessage()]
    assert len(logged) == 1
    assert logged[0].startswith(f"Blocking.{method} blocks the event loop: it ran for 0.")
    assert "plain `def`" in logged[0]
    assert "asyncio.to_thread" in logged[0]


def test_one_that_only_waits_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    class Waiting(Counter):
        async def step_async(self, action: CountAction) -> CountObservation:
            await asyncio.sleep(0.15)
            await asyncio.to_thread(sleep)
            return super().step(action)

    with running(create_app(Waiting, CountAction, CountObservation)) as url, GenericEnvClient(url) as client:
        client.reset()
        client.step({"amount": 1})
    assert not [record for record in caplog.records if "event loop" in record.getMessage()]


def test_results_errors_and_cancellation_pass_through() -> None:
    class Kind:
        pass

    async def catches() -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(10), 0.01)
        except TimeoutError:
            return "late"
        return "done"

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def is_cancelled() -> bool:
        seen: list[bool] = []

        async def waits() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                seen.append(True)
                raise

        task = asyncio.ensure_future(watched(waits(), Kind, "step"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen == [True]

    async def all_of_them() -> None:
        assert await watched(catches(), Kind, "step") == "late"
        with pytest.raises(ZeroDivisionError):
            await watched(fails(), Kind, "step")
        assert await is_cancelled()

    logging.getLogger("openenv_server").propagate = True
    asyncio.run(all_of_them())
