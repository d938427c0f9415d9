"""A server of several processes is full once each of them is. The kernel chooses that of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing

import pytest

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import CapacityError
from openenv_gym.providers.process import ProcessProvider

TIMES = 8


@pytest.fixture(scope="module")
def two_places() -> Iterator[str]:
    """A server of two processes with a place each."""
    with ProcessProvider(gym="CartPole-v1", workers=2, max_sessions=1) as server:
        yield server.base_url


def fill_with_environments(base_url: str) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(closing(RemoteEnv(base_url))).reset()
        with pytest.raises(CapacityError):
            stack.enter_context(closing(RemoteEnv(base_url))).reset()


def fill_with_clients(base_url: str) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(GenericEnvClient(base_url).sync())
        with pytest.raises(CapacityError):
            stack.enter_context(GenericEnvClient(base_url).sync())


def fill_with_async_clients(base_url: str) -> None:
    async def fill() -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(GenericEnvClient(base_url)) for _ in range(2)]
            for client in clients:
                await client.reset()
            with pytest.raises(CapacityError):
                await (await stack.enter_async_context(GenericEnvClient(base_url))).reset()

    asyncio.run(fill())


def fill_with_slots(base_url: str) -> None:
    with closing(RemoteVectorEnv(base_url, 2)) as envs:
        envs.reset()
    with closing(RemoteVectorEnv(base_url, 3)) as envs, pytest.raises(CapacityError):
        envs.reset()


@pytest.mark.parametrize(
    "fill", [fill_with_environments, fill_with_clients, fill_with_async_clients, fill_with_slots]
)
def test_each_process_is_filled(two_places: str, fill: Callable[[str], None]) -> None:
    for _ in range(TIMES):
        fill(two_places)
