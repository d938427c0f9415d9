"""Clients used as code for the published client uses them; `tests/interop` compares the two."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openenv_server import Environment, State, create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EndpointUnreachableError,
    ResetNeededError,
    UsageError,
)
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.sync_client import SyncEnvClient
from openenv_gym.tool_client import ToolClient
from openenv_gym.types import StepResult
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2

ECHO = Path(__file__).parents[2] / "envs" / "echo_env"


class Slow(Counter):
    """Amounts below zero sleep for as many hundredths of a second; reports the keywords of a reset."""

    def reset(self, seed: int | None = None, episode_id: str | None = None, **given: Any) -> CountObservation:
        self._state = State(episode_id=episode_id, step_count=0, total=given.get("start") or 0)
        return CountObservation(total=self._state.total, metadata={"given": {"seed": seed, **given}})  # type: ignore[attr-defined]

    def step(self, action: CountAction) -> CountObservation:
        if action.amount < 0:
            time.sleep(-action.amount / 100)
        return super().step(action)


@pytest.fixture(scope="module", params=["v1", "v2"])
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Slow, CountAction, CountObservation, max_concurrent_envs=40)
    with running(without_v2(app) if request.param == "v1" else app) as url:
        yield url


class Renting:
    """A provider as the published package has them; its server runs already."""

    def __init__(self, base_url: str, *, start_s: float = 0.0) -> None:
        self.base_url, self.start_s = base_url, start_s
        self.calls: list[str] = []

    def start(self) -> str:
        self.calls.append("start")
        time.sleep(self.start_s)
        return self.base_url

    def start_container(self, image: str) -> str:
        return self.start()

    def wait_for_ready(self, *base_url: str) -> None:
        self.calls.append("wait_for_ready")

    def stop(self) -> None:
        self.calls.append("stop")

    stop_container = stop


class Runtime(Renting):
    start_container = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        if name.endswith("_container"):
            raise AttributeError(name)
        return super().__getattribute__(name)


# --- awaited or not ---------------------------------------------------------------------------------------


def test_a_call_that_is_neither_awaited_nor_used_is_reported(base_url: str) -> None:
    async def drive() -> None:
        client = GenericEnvClient(base_url)
        pending = client.reset()
        assert "reset() is pending: await it" in repr(pending)
        with pytest.warns(RuntimeWarning, match=r"GenericEnvClient\.reset\(\) was neither awaited nor"):
            del pending
        client.reset().close()  # type: ignore[attr-defined]

    asyncio.run(drive())


def test_the_first_use_decides_for_the_calls_that_follow(base_url: str) -> None:
    async def drive() -> None:
        used, awaited = GenericEnvClient(base_url), GenericEnvClient(base_url)
        assert used.reset(start=1).observation["total"] == 1
        assert isinstance(used.step({"amount": 1}), StepResult)
        assert isinstance(await awaited.reset(start=1), StepResult)  # type: ignore[misc]
        step = awaited.step({"amount": 1})
        assert asyncio.iscoroutine(step)
        await step
        with pytest.raises(UsageError, match="same event loop"):
            awaited.sync().reset()
        assert (await awaited.state())["step_count"] == 1  # type: ignore[misc]
        used.close()
        await awaited.close()  # type: ignore[func-returns-value]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(drive())


def test_an_episode_ends_with_its_loop(base_url: str) -> None:
    client = GenericEnvClient(base_url)

    async def begin() -> None:
        await client.reset(start=3)  # type: ignore[misc]

    async def step() -> Any:
        return await client.step({"amount": 1})  # type: ignore[misc]

    asyncio.run(begin())
    for _ in range(2):
        with pytest.raises(ResetNeededError):
            asyncio.run(step())
    with pytest.raises(ResetNeededError):
        client.step({"amount": 1})
    assert client.reset(start=5).observation["total"] == 5
    assert client.step({"amount": 1}).observation["total"] == 6
    client.close()


def test_clients_in_loops_of_two_threads_at_the_same_time(base_url: str) -> None:
    client = GenericEnvClient(base_url)
    seen: list[int] = []

    async def use() -> None:
        result = await client.reset(start=3)  # type: ignore[misc]
        seen.append(result.observation["total"])

    async def drive() -> None:
        await use()
        await asyncio.to_thread(asyncio.run, use())
        await use()
        await client.close()  # type: ignore[func-returns-value]

    asyncio.run(drive())
    assert seen == [3, 3, 3]


def test_async_methods_of_a_subclass_on_a_client_that_is_not_awaited(base_url: str) -> None:
    class Twice(GenericEnvClient):
        async def twice(self, amount: int) -> int:
            first, second = self.step({"amount": amount}), self.step({"amount": amount})
            results = await asyncio.gather(first, second)  # type: ignore[call-overload]
            await asyncio.sleep(0.001)
            return int(results[1].observation["total"])

        async def fails(self) -> None:
            await asyncio.sleep(0)
            raise LookupError("nothing")

    async def drive() -> int:
        with Twice(base_url).sync() as client:
            client.reset()
            with pytest.raises(LookupError):
                client.fails()
            return int(client.twice(3))

    assert asyncio.run(drive()) == 6


def test_plain_methods_of_a_subclass_work_awaited_and_not(base_url: str) -> None:
    class Easy(GenericEnvClient):
        def reset(self, level: int = 2, **kwargs: Any) -> StepResult[dict[str, Any]]:
            return super().reset(start=level, **kwargs)

    async def drive() -> int:
        client = Easy(base_url)
        total = (await client.reset(level=4)).observation["total"]  # type: ignore[misc]
        await client.close()  # type: ignore[func-returns-value]
        return int(total)

    with Easy(base_url).sync() as client:
        assert [client.reset().observation["total"], client.reset(level=3).observation["total"]] == [2, 3]
    assert asyncio.run(drive()) == 4


# --- the session ------------------------------------------------------------------------------------------


def test_none_and_every_name_reach_the_environment(base_url: str) -> None:
    row = {"seed": None, "x": None, "method": 1, "name": "a", "call": [None], "timeout_s": 3}
    with GenericEnvClient(base_url) as client:
        assert client.reset(**row).metadata["given"] == row


def test_a_step_has_its_own_timeout(base_url: str) -> None:
    with GenericEnvClient(base_url, message_timeout_s=0.3) as client:
        client.reset()
        assert client.step({"amount": -50}, timeout_s=5).observation["total"] == -50
        with pytest.raises(DeadlineExceededError, match=r"0\.1 s"):
            client.step({"amount": -30}, timeout_s=0.1)
        with pytest.raises(RuntimeError) as caught:  # the episode is lost, and a step would not say so
            client.step({"amount": 1})
        assert isinstance(caught.value, ResetNeededError)
        assert client.reset(start=2).observation["total"] == 2


def test_keywords_that_a_step_does_not_carry_are_logged(
    base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), GenericEnvClient(base_url) as client:
        client.reset()
        client.step({"amount": 1}, request_id="a")
    assert "step does not send request_id" in caplog.text


def test_an_answer_larger_than_the_limit_ends_the_session(base_url: str) -> None:
    text = "x" * 5000
    for size, is_enough in ((0.001, False), (1, True)):
        client = GenericEnvClient(base_url, max_message_size_mb=size)
        if is_enough:
            assert client.reset(start=0, text=text).metadata["given"]["text"] == text
        else:
            with pytest.raises(ConnectionError, match="too much"):
                client.reset(start=0, text=text)
        client.close()


def test_new_sessions_are_closed_with_their_client(base_url: str) -> None:
    with GenericEnvClient(base_url) as client:
        children = [client.new_session() for _ in range(3)]
        for number, child in enumerate(children):
            child.reset(start=number)
        assert [child.step({"amount": 5}).observation["total"] for child in children] == [5, 6, 7]
    assert all(child._session is None for child in children)


# --- providers --------------------------------------------------------------------------------------------


def test_servers_start_beside_each_other_and_do_not_block_the_loop(base_url: str) -> None:
    providers = [Renting(base_url, start_s=0.3) for _ in range(4)]

    async def drive() -> float:
        begin = time.perf_counter()
        clients = await asyncio.gather(
            *(GenericEnvClient.from_docker_image("a", provider=provider) for provider in providers)
        )
        took_s = time.perf_counter() - begin
        for client in clients:
            await client.reset()  # type: ignore[misc]
            await client.close()
        return took_s

    assert asyncio.run(drive()) < 1.0
    assert [provider.calls for provider in providers] == [["start", "wait_for_ready", "stop"]] * 4


def test_a_server_whose_start_is_cancelled_is_stopped(base_url: str) -> None:
    provider = Renting(base_url, start_s=0.3)

    async def drive() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(GenericEnvClient.from_docker_image("a", provider=provider), 0.1)
        deadline = time.monotonic() + 5
        while "stop" not in provider.calls:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    asyncio.run(drive())


def test_a_client_starts_the_server_of_its_provider_again_after_close(base_url: str) -> None:
    provider = Runtime(base_url)
    client = GenericEnvClient(provider=provider)
    assert client.base_url is None
    with pytest.raises(UsageError, match="Call connect first"):
        _ = client.endpoint
    for starts in (1, 2):
        assert client.reset(start=1).observation["total"] == 1
        assert client.base_url == client._base_url == base_url
        child = client.new_session()
        assert child.reset().done is False
        client.close()
        assert provider.calls == ["start", "wait_for_ready", "stop"] * starts


def test_a_provider_of_ours_serves_a_client() -> None:
    provider = ProcessProvider(gym="CartPole-v1")
    with GenericEnvClient(provider=provider) as client:
        assert len(client.reset(seed=1).observation) > 0
        assert client.base_url == provider.base_url
    assert client.base_url is None


def test_a_folder_is_served_for_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    with GenericEnvClient.from_env("org/echo", use_docker=False, project_path=ECHO) as client:
        assert client.reset().done is False
    monkeypatch.delenv("OPENENV_TRUST_REMOTE_CODE", raising=False)
    with pytest.raises(ConfigurationError, match="trust_remote_code=True"):
        GenericEnvClient.from_env("org/echo", use_docker=False).sync()
    with pytest.raises(ConfigurationError, match="reload"):
        GenericEnvClient.from_env("org/echo", use_docker=False, project_path=ECHO, reload=True).sync()


@pytest.mark.parametrize("provider", [Renting, object(), 3, "docker"])
def test_what_is_no_provider_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigurationError, match="start, wait_for_ready and stop"):
        GenericEnvClient(provider=provider)


def test_a_provider_that_needs_an_image_says_what_to_do() -> None:
    provider = Renting("http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"'image'.*from_docker_image"):
        GenericEnvClient(provider=provider).connect()
    assert provider.calls == ["stop"]


def test_a_server_that_cannot_be_reached_is_stopped() -> None:
    for use in (lambda client: client.connect(), lambda client: client.__enter__()):
        provider = Runtime("http://127.0.0.1:9")
        with pytest.raises(EndpointUnreachableError):
            use(GenericEnvClient(provider=provider))
        assert provider.calls == ["start", "wait_for_ready", "stop"]


# --- arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "needs base_url= or provider="),
        ({"base_url": "http://localhost:1", "mode": "fast"}, "mode= must be one of simulation, production"),
        ({"base_url": "http://localhost:1", "max_message_size_mb": 0}, "max_message_size_mb"),
        ({"base_url": "http://localhost:1", "connect_timeout_s": -1}, "connect_timeout_s"),
    ],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        GenericEnvClient(**arguments)


def test_a_client_of_tools_has_one_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no mode but 'production'"):
        ToolClient("http://localhost:1", mode="simulation")
    monkeypatch.setenv("OPENENV_CLIENT_MODE", "sideways")
    with pytest.raises(ValueError, match="OPENENV_CLIENT_MODE"):
        GenericEnvClient("http://localhost:1")
    assert ToolClient("http://localhost:1").base_url == "http://localhost:1"


def test_a_pickle_has_no_secret_and_no_provider(base_url: str) -> None:
    secret = "a-long-secret"
    client = GenericEnvClient(
        base_url, api_key=secret, headers={"X-More": secret}, provider=Runtime(base_url)
    )
    pickled = pickle.dumps(client)
    assert secret.encode() not in pickled
    with pickle.loads(pickled).sync() as copied:
        assert copied.reset(start=4).observation["total"] == 4
    unstarted = pickle.loads(pickle.dumps(GenericEnvClient(provider=Runtime(base_url))))
    with pytest.raises(UsageError, match="Connect the original first"):
        unstarted.reset()


def test_a_synchronous_client_has_the_attributes_of_its_client(base_url: str) -> None:
    client = GenericEnvClient(base_url)
    wrapped = client.sync()
    assert isinstance(wrapped, SyncEnvClient)
    assert (wrapped.base_url, wrapped.endpoint) == (client.base_url, client.endpoint)
    with pytest.raises(AttributeError):
        _ = wrapped.nothing


def test_an_environment_s_actions_of_any_form(base_url: str) -> None:
    class Plain:
        def __init__(self) -> None:
            self.amount = 3

    with GenericEnvClient(base_url) as client:
        client.reset()
        for action in ({"amount": 3}, CountAction(amount=3), Plain(), [("amount", 3)]):
            client.reset()
            assert client.step(action).observation["total"] == 3  # type: ignore[arg-type]
    assert issubclass(Slow, Environment)


@pytest.mark.parametrize("name", ["connect_timeout_s", "message_timeout_s"])
def test_a_malformed_timeout_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} must be a positive number of seconds, got -1"):
        GenericEnvClient("http://localhost:8000", **{name: -1})
