"""One vector environment over several servers."""

from __future__ import annotations

import copy
import pickle
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteVectorEnv
from openenv_gym.errors import CapacityError, ClosedError, ConfigurationError, EndpointUnreachableError
from openenv_gym.providers.managed import make_provider
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.sources import Source
from openenv_gym.vector.server_pool import in_proportion
from tests.faults.test_losses import sleepers
from tests.support.engine import free_port
from tests.support.proxy import FaultProxy
from tests.support.servers import running, status_of, without_v2
from tests.support.vectors import compare

VERSIONS = ["v1", "v2"]
GRID = Path(__file__).parents[2] / "envs" / "grid_world_env"


@pytest.fixture(params=VERSIONS)
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., str]]:
    """Serves an application in either version of the protocol."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(running(without_v2(app) if request.param == "v1" else app))


def gym_app(gym_id: str, **keywords: Any) -> Any:
    factory, models = gymnasium_factory(lambda: gym.make(gym_id))
    return create_app(factory, *models, **keywords)


def active(base_url: str) -> int:
    return int(status_of(f"{base_url}/health")[1]["active_sessions"])


@pytest.mark.parametrize("mode", AutoresetMode)
def test_trajectories_are_those_of_gymnasiums_own(mode: AutoresetMode, serve: Callable[..., str]) -> None:
    theirs = gym.make_vec("CartPole-v1", 7, "sync", vector_kwargs={"autoreset_mode": mode})
    urls = [serve(gym_app("CartPole-v1")) for _ in range(3)]
    ours = gym.make_vec("openenv/remote", 7, base_url=urls, autoreset_mode=mode)
    try:
        assert compare(theirs, ours, steps=120) >= 5
        assert [active(url) for url in urls] == [3, 2, 2]
    finally:
        ours.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_256_slots_over_4_replicas_are_those_of_one_server() -> None:
    with ProcessProvider(gym="CartPole-v1", max_sessions=256, replicas=5) as provider:
        urls = provider.endpoints
        one = RemoteVectorEnv(urls[0], 256)
        four = RemoteVectorEnv(urls[1:], 256)
        assert compare(one, four, steps=100) > 256
        assert [active(url) for url in urls] == [256, 64, 64, 64, 64]
        one.close()
        four.close()


def test_slots_go_where_sessions_are_free(serve: Callable[..., str]) -> None:
    small, large = serve(sleepers(max_concurrent_envs=3)), serve(sleepers(max_concurrent_envs=9))
    other = RemoteVectorEnv(large, 3)
    other.reset()
    envs = RemoteVectorEnv([small, large], 6)
    envs.reset()
    assert (active(small), active(large)) == (2, 3 + 4)
    envs.close()
    other.close()


def test_too_few_free_sessions_in_all_are_said_before_one_is_opened(serve: Callable[..., str]) -> None:
    urls = [serve(sleepers(max_concurrent_envs=count)) for count in (2, 4)]
    other = RemoteVectorEnv(urls[1], 1)
    other.reset()
    envs = RemoteVectorEnv(urls, 6)
    with pytest.raises(
        CapacityError, match=rf"{urls[0]} and 1 other have 5 of the 6 requested sessions"
    ) as caught:
        envs.reset()
    assert (caught.value.asked_for, caught.value.available) == (6, 5)
    assert [active(url) for url in urls] == [0, 1]
    envs.close()
    other.close()


def test_different_environments_are_refused(serve: Callable[..., str]) -> None:
    one, other = serve(gym_app("CartPole-v1")), serve(gym_app("Blackjack-v1"))
    with pytest.raises(ConfigurationError, match=f"{one} and {other} serve different environments"):
        RemoteVectorEnv([one, other], 2)


def test_different_versions_are_refused() -> None:
    with running(sleepers()) as new, running(without_v2(sleepers())) as old:
        envs = RemoteVectorEnv([new, old], 2)
        with pytest.raises(ConfigurationError, match=f"{new} speaks version 2 .* {old} version 1"):
            envs.reset()


def test_no_address_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="list of base URLs is empty"):
        RemoteVectorEnv([], 2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_those_that_do_not_answer_at_the_start_are_left_out(place: int, serve: Callable[..., str]) -> None:
    urls = [serve(sleepers()), serve(sleepers())]
    urls.insert(place, f"http://127.0.0.1:{free_port()}")
    with pytest.warns(UserWarning, match=rf"1 of the 3 servers .*: {urls[place]}") as warned:
        envs = RemoteVectorEnv(urls, 6)
    assert len(warned) == 1
    envs.reset()
    assert [active(url) for url in urls if url != urls[place]] == [3, 3]
    envs.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_one_that_did_not_answer_at_the_start_gets_slots_once_it_is_back(version: str) -> None:
    app = without_v2 if version == "v1" else lambda app: app
    with ExitStack() as living, ExitStack() as dying:
        dies = dying.enter_context(running(app(sleepers(resume_grace_s=0))))
        away = living.enter_context(FaultProxy(f"http://127.0.0.1:{free_port()}", faults={}))
        with pytest.warns(UserWarning, match=f"do not answer.*{away.base_url}"):
            envs = RemoteVectorEnv([dies, away.base_url], 4, on_session_lost="truncate")
        envs.reset()
        assert envs.step(np.zeros(4))[0].tolist() == [1] * 4
        back = living.enter_context(running(app(sleepers())))
        away.lead_to(back)
        dying.close()
        assert envs.step(np.zeros(4))[3].all()
        assert envs.step(np.zeros(4))[0].tolist() == [0] * 4
        assert active(back) == 4
        envs.close()


def test_where_none_answers_at_the_start_it_is_an_error() -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    with pytest.raises(EndpointUnreachableError, match=f"None of the 2 servers answers. .*{urls[0]}"):
        RemoteVectorEnv(urls, 2)


def test_a_slow_server_does_not_hold_back_the_others(serve: Callable[..., str]) -> None:
    envs = RemoteVectorEnv([serve(sleepers()), serve(sleepers())], 4)
    envs.reset()
    envs.send(np.array([1.0, 1.0, 0.0, 0.0]))
    begin = time.monotonic()
    for steps in range(1, 6):
        ready = envs.recv(min_ready=2)
        assert ready.slots.tolist() == [2, 3]
        assert ready.observations.tolist() == [steps, steps]
        envs.send(np.zeros(2), slots=[2, 3])
    assert time.monotonic() - begin < 0.9
    assert envs.recv(min_ready=4).observations.tolist() == [1, 1, 6, 6]
    envs.close()


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_dies_costs_only_its_slots_their_episodes(mode: AutoresetMode, version: str) -> None:
    app = without_v2 if version == "v1" else lambda app: app
    with running(app(sleepers())) as alive, ExitStack() as dying:
        dies = dying.enter_context(running(app(sleepers(resume_grace_s=0))))
        envs = RemoteVectorEnv([dies, alive], 6, on_session_lost="truncate", autoreset_mode=mode)
        envs.reset()
        go = np.zeros(6)
        assert envs.step(go)[0].tolist() == [1] * 6
        dying.close()
        observations, _, _, truncations, infos = envs.step(go)
        assert truncations.tolist() == [True] * 3 + [False] * 3
        if mode is AutoresetMode.SAME_STEP:
            assert observations.tolist() == [0, 0, 0, 2, 2, 2]
            assert infos["final_info"]["session_lost"][0]
        else:
            assert observations.tolist() == [1, 1, 1, 2, 2, 2]
            assert infos["_session_lost"].tolist() == truncations.tolist()
            if mode is AutoresetMode.DISABLED:
                observations, _ = envs.reset(options={"reset_mask": truncations})
                assert observations.tolist() == [0, 0, 0, 2, 2, 2]
            else:
                observations, _, _, truncations, _ = envs.step(go)
                assert observations.tolist() == [0, 0, 0, 3, 3, 3]
                assert not truncations.any()
        before = observations
        assert envs.step(go)[0].tolist() == (before + 1).tolist()
        assert active(alive) == 6
        envs.close()


def test_a_server_to_which_there_is_no_way_any_more_is_given_up_soon() -> None:
    """It keeps the sessions for a minute, but the others do not stand still for so long."""
    with running(sleepers()) as alive, running(sleepers()) as away, FaultProxy(away, faults={}) as proxy:
        envs = RemoteVectorEnv([alive, proxy.base_url], 4, on_session_lost="truncate", connect_timeout_s=8.0)
        envs.reset()
        proxy.pause()
        proxy.cut()
        begin = time.monotonic()
        assert envs.step(np.zeros(4))[3].tolist() == [False, False, True, True]
        assert 2.9 < time.monotonic() - begin < 4
        assert envs.step(np.zeros(4))[0].tolist() == [2, 2, 0, 0]
        assert active(alive) == 4
        proxy.resume()
        envs.close()


def test_the_ways_back_to_several_servers_take_hardly_longer_than_to_one() -> None:
    with running(sleepers()) as alive, ExitStack() as stack:
        away = [stack.enter_context(running(sleepers())) for _ in range(3)]
        proxies = [stack.enter_context(FaultProxy(url, faults={})) for url in away]
        urls = [alive, *(proxy.base_url for proxy in proxies)]
        envs = RemoteVectorEnv(urls, 8, on_session_lost="truncate")
        envs.reset()
        for proxy in proxies:
            proxy.cut()
        assert not envs.step(np.zeros(8))[3].any(), "to all there is a way back"
        for proxy in proxies:
            proxy.pause()
            proxy.cut()
        begin = time.monotonic()
        assert envs.step(np.zeros(8))[3].tolist() == [False] * 2 + [True] * 6
        assert time.monotonic() - begin < 5
        assert envs.step(np.zeros(8))[0].tolist() == [3] * 2 + [0] * 6
        envs.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_slots_for_which_there_is_no_room_wait_and_the_others_go_on(version: str) -> None:
    """Until another server takes the place of the one that died."""
    app = without_v2 if version == "v1" else lambda app: app
    with ExitStack() as living, ExitStack() as dying:
        alive = living.enter_context(running(app(sleepers(max_concurrent_envs=2))))
        urls = [alive, dying.enter_context(running(app(sleepers(max_concurrent_envs=2, resume_grace_s=0))))]
        envs = RemoteVectorEnv(lambda: urls, 4, on_session_lost="truncate", capacity_timeout_s=30)
        envs.reset()
        envs.step(np.zeros(4))
        dying.close()
        assert envs.step(np.zeros(4))[3].tolist() == [False, False, True, True]
        envs.send(np.zeros(4))
        for steps in range(3, 30):
            ready = envs.recv(min_ready=2, timeout_s=5)
            assert ready.slots.tolist() == [0, 1]
            assert ready.observations.tolist() == [steps, steps]
            envs.send(np.zeros(2), slots=[0, 1])
        urls[1] = living.enter_context(running(app(sleepers(max_concurrent_envs=2))))
        observations = envs.recv(min_ready=4, timeout_s=10).observations
        assert observations.tolist() == [30, 30, 0, 0]
        assert envs.step(np.zeros(4))[0].tolist() == [31, 31, 1, 1]
        assert [active(url) for url in urls] == [2, 2]
        envs.close()


def test_a_wait_for_room_ends_with_an_error() -> None:
    with running(sleepers(max_concurrent_envs=1)) as alive, ExitStack() as dying:
        dies = dying.enter_context(running(sleepers(max_concurrent_envs=1, resume_grace_s=0)))
        envs = RemoteVectorEnv([alive, dies], 2, on_session_lost="truncate", capacity_timeout_s=0.3)
        envs.reset()
        dying.close()
        assert envs.step(np.zeros(2))[3].tolist() == [False, True]
        with pytest.raises(CapacityError, match="have 0 of the 1 requested sessions"):
            envs.step(np.zeros(2))
        assert envs.recv(min_ready=1).observations.tolist() == [2]
        envs.close()


def test_a_copy_has_the_addresses_as_they_are(serve: Callable[..., str]) -> None:
    urls = [serve(sleepers())]
    envs = RemoteVectorEnv(lambda: urls, 2)
    urls.append(serve(sleepers()))
    envs.reset()
    twin = copy.deepcopy(envs)
    twin.reset()
    assert [active(url) for url in urls] == [2, 2]
    envs.close()
    twin.close()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
def test_what_is_closed_has_a_name_and_copies_where_its_servers_have_ended(copied: Any) -> None:
    def addresses() -> list[str]:
        if has_ended:
            raise RuntimeError("there are no servers any more")
        return urls

    has_ended = False
    with running(sleepers()) as first, running(sleepers()) as second:
        urls = [first, second]
        envs = RemoteVectorEnv(addresses, 2)
        envs.reset()
        envs.close()
    has_ended = True
    assert repr(envs) == str(envs) == f"RemoteVectorEnv('{first} and 1 other', num_envs=2)"
    twin = copied(envs)
    assert repr(twin) == repr(envs)
    with pytest.raises(ClosedError, match="was closed; make a new one"):
        twin.reset()


def test_replicas_of_a_folder_share_the_slots() -> None:
    envs = gym.make_vec("openenv/remote", 5, path=GRID, replicas=2)
    remote = cast(RemoteVectorEnv, envs.unwrapped)
    assert remote._servers is not None
    urls = remote._servers.endpoints
    envs.reset(seed=3)
    assert [active(url) for url in urls] == [3, 2]
    envs.step(envs.action_space.sample())
    name = repr(remote)
    envs.close()
    assert repr(copy.deepcopy(remote)) == repr(remote) == name
    with pytest.raises(urllib.error.URLError):
        active(urls[1])


def test_each_of_several_replicas_has_room_for_the_slots_of_one_that_dies() -> None:
    with running(sleepers()) as base_url:
        provider = cast(ProcessProvider, make_provider(Source("path", str(GRID)), 512, 3))
        assert provider.server.variables == {"MAX_CONCURRENT_ENVS": "256"}
        with pytest.raises(ConfigurationError, match="runs already"):
            gym.make_vec("openenv/remote", 2, base_url=base_url, replicas=2)
        with pytest.raises(ConfigurationError, match="runs already"):
            gym.make_vec("openenv/remote", 2, base_url=[base_url], provider="ray")
        with pytest.raises(ConfigurationError, match="got 'slurm'"):
            gym.make_vec("openenv/remote", 2, path=GRID, provider="slurm")


@pytest.mark.parametrize(
    ("count", "free", "shares"),
    [
        (10, [64, 64, 64], [4, 3, 3]),
        (9, [3, 6, 9], [2, 3, 4]),
        (3, [0, 1, 9], [0, 0, 3]),
        (7, [2, 3], [2, 3]),
        (1, [5, 6], [0, 1]),
    ],
)
def test_shares_are_in_proportion_to_what_is_free(count: int, free: list[int], shares: list[int]) -> None:
    assert in_proportion(count, free) == shares
