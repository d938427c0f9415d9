"""Several threads that call one object: their calls are carried out one after the other."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from openenv_server import create_app

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, without_v2

THREADS, STEPS = 4, 150


class Shared(Counter):
    """Goes on for ever."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def step(self, action: CountAction) -> CountObservation:
        observation = super().step(action)
        observation.done = False
        return observation


@pytest.fixture(params=["v1", "v2"])
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Shared, CountAction, CountObservation)
    with running(without_v2(app) if request.param == "v1" else app) as url:
        yield url


def in_threads(call: Callable[[], Any]) -> list[Any]:
    """Call from several threads at the same time, many times each."""
    barrier = threading.Barrier(THREADS)

    def work() -> list[Any]:
        barrier.wait()
        return [call() for _ in range(STEPS)]

    with ThreadPoolExecutor(THREADS) as pool:
        working = [pool.submit(work) for _ in range(THREADS)]
        return [result for future in working for result in future.result(60)]


ALL_TOTALS = list(range(1, THREADS * STEPS + 1))


def test_each_step_of_an_env_is_done_once_and_answered_to_its_caller(base_url: str) -> None:
    env = RemoteEnv(base_url)
    env.reset()
    one = np.int64(1)
    assert sorted(int(result[0]) for result in in_threads(lambda: env.step(one))) == ALL_TOTALS
    assert env.metrics["steps"] == len(ALL_TOTALS)
    env.close()


def test_each_step_of_a_vector_env_is_done_once(base_url: str) -> None:
    envs = RemoteVectorEnv(base_url, 2)
    envs.reset(seed=0)
    ones = np.ones(2, np.int64)
    results = in_threads(lambda: envs.step(ones)[0].tolist())
    assert sorted(first for first, _ in results) == ALL_TOTALS
    assert all(second == first + 1 for first, second in results)
    envs.close()


def test_each_step_of_a_client_is_done_once(base_url: str) -> None:
    with GenericEnvClient(base_url) as client:
        client.reset()
        results = in_threads(lambda: client.step({"amount": 1}).observation["total"])
        assert sorted(results) == ALL_TOTALS


def test_other_calls_wait_for_a_step_too(base_url: str) -> None:
    with GenericEnvClient(base_url) as client:
        client.reset()

        def look() -> None:
            while not is_done.is_set():
                client.state()

        is_done = threading.Event()
        looking = threading.Thread(target=look)
        looking.start()
        for number in range(STEPS):
            assert client.step({"amount": 1}).observation["total"] == number + 1
        is_done.set()
        looking.join(10)
        assert not looking.is_alive()


def test_copies_and_pickles_have_a_lock_for_themselves(base_url: str) -> None:
    for original in (RemoteEnv(base_url), RemoteVectorEnv(base_url, 1), GenericEnvClient(base_url)):
        original.reset()
        for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
            twin.reset()
            twin.close()
        original.close()


def test_a_thread_that_steps_slowly_holds_up_only_its_own_object(base_url: str) -> None:
    busy, free = RemoteEnv(base_url), RemoteEnv(base_url)
    busy.reset()
    free.reset()
    with busy.call_lock.lock:
        begin = time.monotonic()
        thread = threading.Thread(target=lambda: [free.step(np.int64(1)) for _ in range(10)])
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        assert time.monotonic() - begin < 5
    busy.close()
    free.close()
