"""The typed clients, in their sync and their async face."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from openenv_server import State, create_app

from openenv_gym import EnvClient, GenericEnvClient, StepResult
from openenv_gym.errors import (
    InvalidEndpointError,
    MissingExtraError,
    RemoteEnvironmentError,
)
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


class CounterClient(EnvClient[CountAction, CountObservation, State]):
    def _step_payload(self, action: CountAction) -> dict[str, Any]:
        return {"amount": action.amount}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[CountObservation]:
        observation = CountObservation(total=payload["observation"]["total"])
        return StepResult(observation=observation, reward=payload["reward"], done=payload["done"])

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running(create_app(Counter, CountAction, CountObservation)) as url:
        yield url


def test_typed_client(base_url: str) -> None:
    with CounterClient(base_url=base_url) as client:
        result = client.reset(start=3, episode_id="mine")
        assert result.observation == CountObservation(total=3)
        assert (result.reward, result.done, result.metadata) == (None, False, {"fresh": True})
        result = client.step(CountAction(amount=8))
        assert (result.observation.total, result.reward, result.done, result.truncated) == (
            11,
            8.0,
            True,
            False,
        )
        state = client.state()
        assert (state.episode_id, state.step_count) == ("mine", 1)
    assert client.reset().observation.total == 0, "it opens another session"
    client.close()


def test_generic_client_and_sync_face(base_url: str) -> None:
    with GenericEnvClient(base_url).sync() as client:
        assert client.reset(seed=2).observation == {"total": 2, "metadata": {"fresh": True}}
        assert client.step({"amount": 4}).observation == {"total": 6, "metadata": {}}
        with pytest.raises(RemoteEnvironmentError, match="too much"):
            client.step({"amount": 40})
        assert client.state()["step_count"] == 1


def test_async_face(base_url: str) -> None:
    async def drive() -> tuple[int, int, float | None]:
        async with CounterClient(base_url=base_url) as client:
            first = await client.reset(start=1)
            second = await client.step(CountAction(amount=2))
            state = await client.state()
            return first.observation.total, state.step_count, second.reward

    assert asyncio.run(drive()) == (1, 1, 2.0)


def test_async_clients_run_beside_each_other() -> None:
    class Sleepy(Counter):
        def step(self, action: CountAction) -> CountObservation:
            time.sleep(0.3)
            return super().step(action)

    async def drive(url: str) -> float:
        async def one() -> int:
            async with CounterClient(base_url=url) as client:
                await client.reset()
                return (await client.step(CountAction(amount=1))).observation.total

        begin = time.perf_counter()
        assert await asyncio.gather(*(one() for _ in range(8))) == [1] * 8
        return time.perf_counter() - begin

    with running(create_app(Sleepy, CountAction, CountObservation)) as url:
        assert asyncio.run(drive(url)) < 8 * 0.3


def test_the_session_is_opened_when_it_is_needed() -> None:
    client = CounterClient(base_url="http://127.0.0.1:9")
    client.close()
    with pytest.raises(InvalidEndpointError):
        CounterClient(base_url="nowhere")


def test_containers_and_the_hub_say_which_extra_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("docker", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"docker extra.*openenv-gym\[docker\]"):
        CounterClient.from_docker_image("counter:latest").sync()
    with pytest.raises(MissingExtraError, match=r"hub extra.*openenv-gym\[hub\]"):
        CounterClient.from_hub("my-org/counter").sync()


def test_clients_leave_no_thread_behind(base_url: str) -> None:
    async def drive() -> None:
        async with CounterClient(base_url=base_url) as client:
            await client.reset()

    asyncio.run(drive())
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("openenv-client") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_step_before_the_first_reset_is_the_environment_s_to_judge(base_url: str) -> None:
    with CounterClient(base_url=base_url) as client:
        with pytest.raises(RemoteEnvironmentError, match="AttributeError"):
            client.step(CountAction(amount=1))
        assert client.state().step_count == 1, "the environment was called"
        client.reset()
        assert client.step(CountAction(amount=1)).observation.total == 1
