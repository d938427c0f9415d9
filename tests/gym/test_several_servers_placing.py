"""Which of several servers the slots of a vector environment are opened on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from fastapi.responses import JSONResponse

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import CapacityError, ConfigurationError
from openenv_gym.providers.process import ProcessProvider
from tests.faults.test_losses import sleepers
from tests.support.proxy import FaultProxy
from tests.support.servers import running, status_of, without_v2

GO = np.zeros(6)


@pytest.fixture(params=["v1", "v2"])
def served(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a server that forgets lost sessions at once."""

    def make(**keywords: Any) -> Any:
        app = sleepers(resume_grace_s=0, **keywords)
        return without_v2(app) if request.param == "v1" else app

    return make


def active(base_url: str) -> int:
    return int(status_of(f"{base_url}/health")[1]["active_sessions"])


def noting_paths(app: Any, paths: list[str]) -> Any:
    """The application, which notes what is asked of it over HTTP."""

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            paths.append(scope["path"])
        await app(scope, receive, send)

    return noting


def letting_in_unless(app: Any, closed: list[bool]) -> Any:
    """The application, whose WebSocket is closed to all once there is something in the list."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and closed:
            await send({"type": "websocket.close"})
        else:
            await app(scope, receive, send)

    return guarded


def without_figures(app: Any) -> Any:
    """The application, which does not say how many sessions it has."""

    async def secretive(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/health":
            await JSONResponse({"status": "healthy"})(scope, receive, send)
        else:
            await app(scope, receive, send)

    return secretive


def seconds_of(do: Callable[[], Any]) -> float:
    begin = time.monotonic()
    do()
    return time.monotonic() - begin


def test_a_silent_server_is_waited_for_briefly_and_then_avoided(served: Any) -> None:
    with running(served()) as away, FaultProxy(away, faults={}) as proxy, ExitStack() as dying:
        others = [ExitStack(), ExitStack()]
        urls = [dying.enter_context(other).enter_context(running(served())) for other in others]
        envs = RemoteVectorEnv([proxy.base_url, *urls], 6, on_session_lost="truncate", connect_timeout_s=20)
        envs.reset()
        proxy.pause()
        proxy.cut()
        assert envs.step(GO)[3].tolist() == [True, True, False, False, False, False]
        assert seconds_of(lambda: envs.step(GO)) < 3
        assert [active(url) for url in urls] == [3, 3]
        others[0].close()
        assert envs.step(GO)[3].sum() == 3
        assert seconds_of(lambda: envs.step(GO)) < 1
        assert active(urls[1]) == 6
        proxy.resume()
        others[1].close()
        assert envs.step(GO)[3].all()
        assert envs.step(GO)[0].tolist() == [0] * 6, "there is no other server any more"
        assert active(away) == 6
        envs.close()


def test_the_schemas_of_a_server_are_asked_for_once(served: Any) -> None:
    asked: list[list[str]] = [[], []]
    with ExitStack() as living, ExitStack() as dying:
        urls = [living.enter_context(running(noting_paths(served(), paths))) for paths in asked]
        dies = dying.enter_context(running(served()))
        envs = RemoteVectorEnv([*urls, dies], 6, on_session_lost="truncate")
        envs.reset()
        dying.close()
        envs.step(GO)
        envs.step(GO)
        assert [paths.count("/schema") for paths in asked] == [1, 1]
        assert [active(url) for url in urls] == [3, 3]
        envs.close()


def test_other_servers_may_take_the_place_of_the_first(served: Any) -> None:
    with running(served()) as second, running(served()) as third, ExitStack() as dying:
        urls = [dying.enter_context(running(served()))]
        envs = RemoteVectorEnv(lambda: urls, 6, on_session_lost="truncate")
        envs.reset()
        dying.close()
        urls[:] = [second, third]
        assert envs.step(GO)[3].all()
        assert envs.step(GO)[0].tolist() == [0] * 6
        assert [active(url) for url in urls] == [3, 3]
        envs.close()


@pytest.mark.integration
def test_a_server_that_dies_before_the_first_reset_gets_no_slots(served: Any) -> None:
    with running(served()) as alive, ExitStack() as dying:
        envs = RemoteVectorEnv([dying.enter_context(running(served())), alive], 6)
        dying.close()
        envs.reset()
        assert active(alive) == 6
        envs.close()


def test_a_server_that_has_no_free_session_gets_no_slots(served: Any) -> None:
    with running(served(max_concurrent_envs=2)) as full, running(served(max_concurrent_envs=6)) as free:
        other = RemoteVectorEnv(full, 2)
        other.reset()
        envs = RemoteVectorEnv([full, free], 6)
        envs.reset()
        assert (active(full), active(free)) == (2, 6)
        envs.close()
        other.close()


def test_a_server_that_says_that_it_is_well_and_lets_nobody_in_is_passed_over(served: Any) -> None:
    closed: list[bool] = []
    with (
        running(served()) as alive,
        running(letting_in_unless(served(), closed)) as shut,
        FaultProxy(shut, faults={}) as proxy,
    ):
        envs = RemoteVectorEnv([proxy.base_url, alive], 6, on_session_lost="truncate")
        envs.reset()
        closed.append(True)
        proxy.cut()
        assert envs.step(GO)[3].sum() == 3
        envs.step(GO)
        assert (active(shut), active(alive)) == (0, 6)
        envs.close()


def test_a_server_that_comes_back_in_an_older_release_is_passed_over() -> None:
    with (
        running(sleepers()) as alive,
        running(sleepers(resume_grace_s=0)) as replaced,
        running(without_v2(sleepers())) as old,
        FaultProxy(replaced, faults={}) as proxy,
    ):
        envs = RemoteVectorEnv([proxy.base_url, alive], 6, on_session_lost="truncate")
        envs.reset()
        proxy.lead_to(old)
        proxy.cut()
        assert envs.step(GO)[3].sum() == 3
        assert envs.step(GO)[0].tolist() == [0] * 3 + [2] * 3
        assert (active(alive), active(old)) == (6, 0)
        envs.close()


def test_servers_that_all_come_back_in_an_older_release_are_said() -> None:
    with (
        running(sleepers(resume_grace_s=0)) as replaced,
        running(without_v2(sleepers())) as old,
        FaultProxy(replaced, faults={}) as one,
        FaultProxy(replaced, faults={}) as other,
    ):
        envs = RemoteVectorEnv([one.base_url, other.base_url], 6, on_session_lost="truncate")
        envs.reset()
        for proxy in (one, other):
            proxy.lead_to(old)
            proxy.cut()
        assert envs.step(GO)[3].all()
        with pytest.raises(ConfigurationError, match="now speaks version 1 of the protocol only"):
            envs.step(GO)
        envs.close()


def test_slots_that_a_server_has_no_room_for_after_all_go_to_another(served: Any) -> None:
    """Where servers do not say how many sessions are free, as published ones do not."""
    with (
        running(without_figures(served(max_concurrent_envs=3))) as small,
        running(without_figures(served())) as large,
        ExitStack() as dying,
    ):
        dies = dying.enter_context(running(without_figures(served())))
        envs = RemoteVectorEnv([small, large, dies], 9, on_session_lost="truncate")
        envs.reset()
        dying.close()
        assert envs.step(np.zeros(9))[3].sum() == 3
        assert envs.step(np.zeros(9))[0].tolist() == [2] * 6 + [0] * 3
        envs.close()


def test_a_server_that_is_full_is_said_where_no_other_answers(served: Any) -> None:
    with running(without_figures(served(max_concurrent_envs=3))) as full, ExitStack() as dying:
        envs = RemoteVectorEnv([full, dying.enter_context(running(served()))], 6, on_session_lost="truncate")
        envs.reset()
        dying.close()
        envs.step(GO)
        with pytest.raises(CapacityError, match="at its capacity of 3 sessions"):
            envs.step(GO)
        envs.close()


def test_slots_that_no_server_has_room_for_after_all_wait(served: Any) -> None:
    with running(without_figures(served(max_concurrent_envs=3))) as full, ExitStack() as dying:
        urls = [full, dying.enter_context(running(served()))]
        envs = RemoteVectorEnv(lambda: urls, 6, on_session_lost="truncate", capacity_timeout_s=20)
        envs.reset()
        dying.close()
        assert envs.step(GO)[3].sum() == 3
        envs.send(GO)
        assert envs.recv(min_ready=3).slots.tolist() == [0, 1, 2]
        envs.send(np.zeros(3), slots=[0, 1, 2])
        with running(served()) as urls[1]:
            assert envs.recv(min_ready=6, timeout_s=10).observations.tolist() == [3] * 3 + [0] * 3
            envs.close()


@pytest.mark.integration
def test_slots_of_a_lost_server_go_where_most_sessions_are_free(served: Any) -> None:
    rooms = [4, 12, 20]
    with ExitStack() as living, ExitStack() as dying:
        urls = [living.enter_context(running(served(max_concurrent_envs=room))) for room in rooms]
        urls.append(dying.enter_context(running(served(max_concurrent_envs=18))))
        envs = RemoteVectorEnv(urls, 18, on_session_lost="truncate")
        envs.reset()
        assert [active(url) for url in urls] == [1, 4, 7, 6]
        dying.close()
        go = np.zeros(18)
        assert envs.step(go)[3].sum() == 6
        envs.step(go)
        free = [room - active(url) for room, url in zip(rooms, urls[:3], strict=True)]
        assert sum(free) == sum(rooms) - 18
        assert free[0] < free[1] < free[2], "no server is full while there is room on others"
        assert min(free) > 0
        envs.close()


def test_all_processes_of_a_server_count() -> None:
    with (
        ProcessProvider(gym="CartPole-v1", workers=2, max_sessions=3) as two,
        ProcessProvider(gym="CartPole-v1", max_sessions=3) as one,
    ):
        envs = RemoteVectorEnv([one.base_url, two.base_url], 9)
        envs.reset()
        assert active(one.base_url) == 3
        envs.close()
