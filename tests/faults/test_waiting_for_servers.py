"""Servers that are not up yet, or have no free session: what is waited for, and what is refused at once."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import pytest

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import CapacityError, EndpointUnreachableError
from openenv_gym.providers.process import ProcessProvider
from tests.faults.test_losses import sleepers
from tests.support.engine import free_port
from tests.support.proxy import FaultProxy
from tests.support.servers import running, without_v2


@pytest.fixture(params=["v1", "v2"])
def served(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return (lambda **keywords: without_v2(sleepers(**keywords))) if request.param == "v1" else sleepers


@pytest.fixture
def nowhere() -> str:
    """An address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def test_a_server_that_is_not_up_yet_is_an_error(nowhere: str) -> None:
    with pytest.raises(EndpointUnreachableError, match=nowhere):
        RemoteEnv(nowhere)
    begin = time.monotonic()
    with pytest.raises(EndpointUnreachableError, match=nowhere):
        RemoteEnv(nowhere, capacity_timeout_s=0.5)
    assert 0.5 <= time.monotonic() - begin < 3


@pytest.mark.parametrize("kind", ["env", "vector env", "vector env of two servers"])
def test_a_server_that_is_not_up_yet_is_waited_for_where_that_is_asked_for(
    kind: str, nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as living:
        proxies = [living.enter_context(FaultProxy(nowhere, faults={})) for _ in range(2)]
        one, other = (proxy.base_url for proxy in proxies)

        def start() -> None:
            for proxy in proxies:
                proxy.lead_to(living.enter_context(running(sleepers())))

        starting = threading.Timer(0.5, start)
        starting.start()
        env = (
            RemoteEnv(one, capacity_timeout_s=20)
            if kind == "env"
            else RemoteVectorEnv(one if kind == "vector env" else [one, other], 2, capacity_timeout_s=20)
        )
        starting.join()
        env.reset()
        env.close()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "openenv_gym"]
    assert said.endswith("Retrying for up to 20 s (capacity_timeout_s).")


@pytest.mark.parametrize("capacities", [[5], [2, 3]])
def test_more_slots_than_there_are_sessions_in_all_are_refused_at_once(
    served: Any, capacities: list[int]
) -> None:
    with ExitStack() as living:
        urls = [living.enter_context(running(served(max_concurrent_envs=count))) for count in capacities]
        envs = gym.make_vec(
            "openenv/remote", 6, base_url=urls if len(urls) > 1 else urls[0], capacity_timeout_s=30
        )
        begin = time.monotonic()
        with pytest.raises(
            CapacityError, match=r"ha(s|ve) 5 sessions in all, and 6 were .*--max-sessions"
        ) as caught:
            envs.reset()
        assert time.monotonic() - begin < 3
        assert (caught.value.asked_for, caught.value.available, caught.value.in_all) == (6, 5, 5)
        assert "capacity_timeout_s" not in str(caught.value)
        envs.close()


def test_the_sessions_of_all_processes_of_a_server_count() -> None:
    with ProcessProvider(gym="CartPole-v1", workers=2, max_sessions=3) as server:
        envs = RemoteVectorEnv(server.base_url, 7, capacity_timeout_s=30)
        with pytest.raises(CapacityError, match="has 6 sessions in all, and 7 were requested"):
            envs.reset()
        envs.close()


def test_a_wait_for_sessions_in_use_says_how_long_it_was(served: Any) -> None:
    with running(served(max_concurrent_envs=2)) as one, running(served(max_concurrent_envs=2)) as other:
        user = RemoteVectorEnv([one, other], 2)
        user.reset()
        for urls in (one, [one, other]):
            with pytest.raises(CapacityError, match="Pass capacity_timeout_s= to wait"):
                RemoteVectorEnv(urls, 2 if urls == one else 4).reset()
            with pytest.raises(CapacityError, match=r"Retried for 0\.3 s \(capacity_timeout_s\)") as caught:
                RemoteVectorEnv(urls, 2 if urls == one else 4, capacity_timeout_s=0.3).reset()
            assert "waits for its turn" not in str(caught.value)
            assert caught.value.in_all is None
        user.close()


def test_where_a_server_is_away_the_sessions_of_the_others_are_waited_for(served: Any, nowhere: str) -> None:
    """As that one may have them once it is back, the error says that it did not answer."""
    with ExitStack() as living, FaultProxy(nowhere, faults={}) as away:
        alive = living.enter_context(running(served(max_concurrent_envs=2)))
        urls = [alive, away.base_url]
        with pytest.warns(UserWarning, match=f"1 of the 2 servers .*{away.base_url}"):
            envs = RemoteVectorEnv(urls, 4)
        with pytest.raises(
            CapacityError, match=f"{away.base_url} did not answer. The others have 2 sessions"
        ):
            envs.reset()
        with pytest.warns(UserWarning, match=f"1 of the 2 servers .*{away.base_url}"):
            envs = RemoteVectorEnv(urls, 4, capacity_timeout_s=20)
        back = threading.Timer(
            0.5, lambda: away.lead_to(living.enter_context(running(served(max_concurrent_envs=2))))
        )
        back.start()
        envs.reset()
        back.join()
        envs.close()


@pytest.mark.filterwarnings("ignore:.*do not answer")
def test_the_traceback_of_an_error_where_nothing_answers_is_short(served: Any, nowhere: str) -> None:
    """It has frames of ours, and of the libraries below only the system's error."""

    def reset_where_the_server_is_gone(make: Callable[[str], gym.Env[Any, Any] | Any]) -> None:
        with running(served()) as base_url:
            env = make(base_url)
        env.reset()

    for fail in (
        lambda: RemoteEnv(nowhere),
        lambda: RemoteVectorEnv(nowhere, 2),
        lambda: RemoteVectorEnv([nowhere, nowhere.replace("127.0.0.1", "localhost")], 2),
        lambda: GenericEnvClient(nowhere).reset(),
        lambda: reset_where_the_server_is_gone(RemoteEnv),
        lambda: reset_where_the_server_is_gone(lambda base_url: RemoteVectorEnv(base_url, 2)),
        lambda: reset_where_the_server_is_gone(lambda base_url: RemoteVectorEnv([base_url, nowhere], 2)),
    ):
        with pytest.raises(EndpointUnreachableError, match="Connection refused") as caught:
            fail()
        shown = "".join(traceback.format_exception(caught.value))
        assert "http/client.py" not in shown
        assert "site-packages/websocket" not in shown
        assert shown.count("Traceback (most recent call last)") == 1, shown
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
