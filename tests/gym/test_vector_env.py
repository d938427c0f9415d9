"""Many sessions as one vector environment, against Gymnasium's own."""

from __future__ import annotations

import copy
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics
from openenv_server import create_app, gymnasium_factory
from openenv_server.socket_takeover import TakeoverProtocol

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import (
    ActionOutsideSpaceError,
    CapacityError,
    ClosedError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointUnreachableError,
    RemoteEnvironmentError,
    ResetNeededError,
    SessionLostError,
    UsageError,
)
from openenv_gym.session.channel import Channel
from openenv_gym.spaces.infos import batch_infos
from openenv_gym.transport.blocking import BlockingConnection, run
from tests.support.napper import Nap, Napper, Slept
from tests.support.servers import running, without_v2
from tests.support.vectors import assert_equal, compare

VERSIONS = ["v1", "v2", "v2 on the event loop"]


@pytest.fixture(scope="module", params=VERSIONS)
def napping(request: pytest.FixtureRequest) -> Iterator[str]:
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=80)
    ws = TakeoverProtocol if request.param == "v2" else "websockets-sansio"
    with running(without_v2(app) if request.param == "v1" else app, ws=ws) as base_url:
        yield base_url


@pytest.fixture
def v1_nappers() -> Iterator[RemoteVectorEnv]:
    with running(without_v2(create_app(Napper, Nap, Slept, max_concurrent_envs=80))) as base_url:
        envs = RemoteVectorEnv(base_url, 8)
        yield envs
        envs.close()


@pytest.fixture
def nappers(napping: str) -> Iterator[RemoteVectorEnv]:
    envs = RemoteVectorEnv(napping, 8)
    yield envs
    envs.close()


@pytest.fixture(params=["v1", "v2"])
def serve(request: pytest.FixtureRequest, serve_gym: Callable[[str], str]) -> Iterator[Callable[[str], str]]:
    """Serves a Gymnasium id in either version of the protocol."""
    with ExitStack() as stack:

        def serve_v1(gym_id: str) -> str:
            factory, models = gymnasium_factory(lambda: gym.make(gym_id))
            return stack.enter_context(running(without_v2(create_app(factory, *models))))

        yield serve_gym if request.param == "v2" else serve_v1


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("gym_id", ["CartPole-v1", "FrozenLake-v1", "Blackjack-v1", "Pendulum-v1"])
def test_it_is_gymnasiums_sync_vector_env(
    gym_id: str, mode: AutoresetMode, serve: Callable[[str], str]
) -> None:
    theirs = gym.make_vec(gym_id, 5, "sync", vector_kwargs={"autoreset_mode": mode})
    ours = gym.make_vec("openenv/remote", 5, base_url=serve(gym_id), autoreset_mode=mode)
    try:
        assert compare(theirs, ours, steps=250) >= 5
    finally:
        ours.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_max_episode_steps_truncates(mode: AutoresetMode, serve: Callable[[str], str]) -> None:
    keywords: dict[str, Any] = {"max_episode_steps": 9}
    theirs = gym.make_vec("CartPole-v1", 3, "sync", vector_kwargs={"autoreset_mode": mode}, **keywords)
    ours = gym.make_vec("openenv/remote", 3, base_url=serve("CartPole-v1"), autoreset_mode=mode, **keywords)
    try:
        assert compare(theirs, ours, steps=60) > 3
    finally:
        ours.close()


def test_where_the_time_goes(serve: Callable[[str], str], request: pytest.FixtureRequest) -> None:
    base_url = serve("CartPole-v1")
    says = "v2" in request.node.name
    envs = RemoteVectorEnv(base_url, 3, report_times=True)
    envs.reset(seed=1)
    begin = time.perf_counter()
    infos = [envs.step(np.array([0, 1, 0]))[4]["times_us"] for _ in range(5)]
    took_us = (time.perf_counter() - begin) * 1e6
    metrics = envs.metrics
    assert metrics["steps"].tolist() == [5, 5, 5]
    for part in ("environment", "other_slots", "server", "network", "client"):
        each = np.array([info[part] for info in infos])
        np.testing.assert_allclose(each.mean(axis=0), metrics[part])
        is_known = says or part in ("network", "client")
        assert (each > 0).all() if is_known else np.isnan(each).all()
    slowest = np.nansum([metrics[part] for part in infos[0]], axis=0).max() * 5
    assert slowest <= took_us
    envs.reset_metrics()
    assert envs.metrics["steps"].tolist() == [0, 0, 0]
    envs.close()
    env = RemoteEnv(base_url, report_times=True)
    env.reset(seed=1)
    info = env.step(0)[4]
    assert env.metrics == {"steps": 1, **info["times_us"]} if says else env.metrics["steps"] == 1
    env.close()


def test_an_answer_that_does_not_come_in_time_drops_the_slots_that_wait_for_it(napping: str) -> None:
    envs = RemoteVectorEnv(napping, 2, step_timeout_s=0.3)
    envs.reset()
    with pytest.raises(DeadlineExceededError, match="did not answer"):
        envs.step(np.full(2, 0.8))
    with pytest.raises(ResetNeededError):
        envs.step(np.zeros(2))
    envs.reset()
    assert envs.step(np.zeros(2))[0].tolist() == [1, 1]
    envs.close()


@pytest.mark.parametrize("wrapper", [RecordEpisodeStatistics, NormalizeObservation])
def test_gymnasiums_vector_wrappers_work_on_it(wrapper: Any, serve_gym: Callable[[str], str]) -> None:
    theirs = wrapper(gym.make_vec("CartPole-v1", 4, "sync"))
    ours = wrapper(gym.make_vec("openenv/remote", 4, base_url=serve_gym("CartPole-v1")))
    theirs.action_space.seed(1)
    try:
        assert_equal(theirs.reset(seed=1), ours.reset(seed=1))
        for _ in range(100):
            actions = theirs.action_space.sample()
            expected, actual = theirs.step(actions), ours.step(actions)
            for infos in (expected[4], actual[4]):
                infos.get("episode", {}).pop("t", None)  # the time that an episode took
            assert_equal(expected, actual)
    finally:
        ours.close()


@pytest.mark.parametrize("seed", [np.int64(3), [3, None, 5, 6, 7, 8, 9, 10], np.arange(3, 11)], ids=type)
def test_every_kind_of_seed(seed: Any, nappers: RemoteVectorEnv) -> None:
    _, infos = nappers.reset(seed=seed)
    seeds = infos["seed"].tolist()
    assert seeds == ([3, None, 5, 6, 7, 8, 9, 10] if isinstance(seed, list) else list(range(3, 11)))


def test_slots_step_at_the_same_time(nappers: RemoteVectorEnv) -> None:
    nappers.reset()
    begin = time.perf_counter()
    nappers.step(np.full(8, 0.2))
    assert time.perf_counter() - begin < 0.2 * 8 / 2


def test_those_that_are_ready_come_first(nappers: RemoteVectorEnv) -> None:
    nappers.reset()
    naps = np.zeros(8)
    naps[[1, 6]] = 0.5
    nappers.send(naps)
    first = nappers.recv(min_ready=6)
    assert first.slots.tolist() == [0, 2, 3, 4, 5, 7]
    assert first.observations.tolist() == [1] * 6
    nappers.send(np.zeros(6), first.slots)
    with pytest.raises(UsageError, match=r"slots 1 and 6 still pending"):
        nappers.send(np.zeros(2), [1, 6])
    second = nappers.recv(min_ready=6)
    assert second.observations.tolist() == [2] * 6
    last = nappers.recv(min_ready=2)
    assert (last.slots.tolist(), last.observations.tolist()) == ([1, 6], [1, 1])
    with pytest.raises(UsageError, match="min_ready=1, but 0 slots"):
        nappers.recv()


def test_a_deadline_loses_nothing(nappers: RemoteVectorEnv) -> None:
    nappers.reset()
    naps = np.zeros(8)
    naps[3] = 0.6
    nappers.send(naps)
    with pytest.raises(DeadlineExceededError, match="7 of the 8 requested slots"):
        nappers.recv(min_ready=8, timeout_s=0.3)
    assert nappers.recv(min_ready=8).slots.tolist() == list(range(8))


def test_one_that_fails_leaves_the_others_whole(nappers: RemoteVectorEnv) -> None:
    nappers.reset()
    naps = np.zeros(8)
    naps[5] = -1
    with pytest.raises(RemoteEnvironmentError, match=r"step 1 of slot 5: .*cannot sleep backwards"):
        nappers.step(naps)
    assert nappers.recv(min_ready=7).slots.tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert nappers.step(np.zeros(8))[0].tolist() == [2, 2, 2, 2, 2, 1, 2, 2]


def channel_of(envs: RemoteVectorEnv, slot: int) -> Channel:
    assert envs._backend is not None
    (share,) = envs._backend._partition.shares([slot])
    return share.part.channel


def test_a_slot_that_cannot_connect_leaves_the_others_whole(v1_nappers: RemoteVectorEnv) -> None:
    nappers = v1_nappers
    nappers.reset()
    run(channel_of(nappers, 3).close())
    right, nappers._pool._addresses = nappers._pool._addresses, "http://127.0.0.1:9"
    for _ in range(2):
        with pytest.raises(EndpointUnreachableError, match=r"127\.0\.0\.1:9"):
            nappers.reset()
    nappers._pool._addresses = right
    assert nappers.reset()[0].tolist() == [0] * 8


def test_a_slot_that_is_cut_off_is_said_and_reset_anew(v1_nappers: RemoteVectorEnv) -> None:
    nappers = v1_nappers
    nappers.reset()
    connection = channel_of(nappers, 5).connection
    assert isinstance(connection, BlockingConnection)
    connection.raw_socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(SessionLostError, match="step 1 of slot 5"):
        nappers.step(np.zeros(8))
    with pytest.raises(ResetNeededError, match="Slot 5 has no episode"):
        nappers.step(np.zeros(8))
    assert nappers.reset(options={"reset_mask": np.arange(8) == 5})[0].tolist() == [1, 1, 1, 1, 1, 0, 1, 1]
    assert nappers.step(np.zeros(8))[0].tolist() == [2, 2, 2, 2, 2, 1, 2, 2]


def test_a_bad_action_sends_nothing(nappers: RemoteVectorEnv) -> None:
    with pytest.raises(ResetNeededError, match="Slot 0 has no episode"):
        nappers.step(np.zeros(8))
    nappers.reset()
    naps = np.zeros(8)
    naps[7] = np.nan
    with pytest.raises(ActionOutsideSpaceError, match="slot 7"):
        nappers.step(naps)
    with pytest.raises(ActionOutsideSpaceError, match="8 slots take 8 actions, not 3"):
        nappers.step(np.zeros(3))
    assert nappers.step(np.zeros(8))[0].tolist() == [1] * 8


def test_reset_masks_are_checked_and_options_left_alone(nappers: RemoteVectorEnv) -> None:
    mask = np.array([True] * 7 + [False])
    with pytest.raises(ResetNeededError, match="first reset must be of all slots"):
        nappers.reset(options={"reset_mask": mask})
    nappers.reset()
    nappers.step(np.zeros(8))
    for wrong in ([True] * 8, np.ones(7, bool), np.zeros(8, bool), np.ones(8)):
        with pytest.raises(UsageError, match="reset_mask"):
            nappers.reset(options={"reset_mask": wrong})
    options = {"reset_mask": mask}
    assert nappers.reset(options=options)[0].tolist() == [0] * 7 + [1]
    assert options["reset_mask"] is mask


def test_copy_false_hands_out_the_batch_itself(serve_gym: Callable[[str], str]) -> None:
    envs = RemoteVectorEnv(serve_gym("CartPole-v1"), 2, copy=False)
    try:
        first, _ = envs.reset(seed=1)
        assert envs.step(np.array([0, 1]))[0] is first
    finally:
        envs.close()


def test_more_slots_than_sessions_are_refused(serve_gym: Callable[[str], str]) -> None:
    app = create_app(Napper, Nap, Slept, max_concurrent_envs=3)
    with running(without_v2(app)) as base_url:
        envs = RemoteVectorEnv(base_url, 4)
        with pytest.raises(CapacityError, match="has 3 sessions in all, and 4 were requested") as refused:
            envs.reset()
        assert (refused.value.asked_for, refused.value.available) == (4, 3)
        envs.close()
    with running(app) as base_url:
        envs = RemoteVectorEnv(base_url, 4)
        with pytest.raises(CapacityError, match="has 3 sessions in all, and 4 were requested") as refused:
            envs.reset()
        assert (refused.value.asked_for, refused.value.available) == (4, 3)
        envs.close()
        envs = RemoteVectorEnv(base_url, 3)
        envs.reset()
        envs.close()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])
def test_a_copy_has_the_configuration_and_no_sessions(copied: Any, nappers: RemoteVectorEnv) -> None:
    nappers.reset()
    other = copied(nappers)
    with pytest.raises(ResetNeededError):
        other.step(np.zeros(8))
    assert other.reset()[0].tolist() == [0] * 8
    nappers.step(np.zeros(8))
    assert other.step(np.zeros(8))[0].tolist() == [1] * 8
    other.close()
    assert nappers.step(np.zeros(8))[0].tolist() == [2] * 8


@pytest.mark.parametrize("many", [False, True])
def test_ctrl_c_in_a_step_drops_the_session(many: bool, napping: str, request: pytest.FixtureRequest) -> None:
    env: Any = RemoteVectorEnv(napping, 2) if many else RemoteEnv(napping)
    env.reset()
    long = np.full(2, 1.0) if many else np.array(1.0)
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        env.step(long)
    with pytest.raises((ResetNeededError, SessionLostError, UsageError)):
        env.step(long * 0)
    if many and "v1" in request.node.name:  # the slots that were not read are whole; their steps are owed
        with pytest.raises(SessionLostError, match=r"interrupt has ended the sessions? of slot 0"):
            env.recv(min_ready=1)
        assert env.recv(min_ready=1).slots.tolist() == [1]
    env.reset()
    env.step(long * 0)
    env.close()


def test_it_ends(napping: str) -> None:
    envs = RemoteVectorEnv(napping, 2)
    envs.reset()
    envs.close()
    envs.close()
    with pytest.raises(ClosedError):
        envs.reset()
    with pytest.raises(ClosedError):
        envs.get_attr("state")  # which would open a session
    with pytest.raises(ConfigurationError, match="num_envs must be at least 1"):
        RemoteVectorEnv(napping, 0)


def test_infos_of_mixed_types_lose_nothing() -> None:
    infos = batch_infos({0: {"x": 1, "d": {"a": 1}}, 2: {"x": 2.7, "d": {"a": 2}}, 3: {"x": None}}, 4)
    assert infos["x"].tolist() == [1, None, 2.7, None]
    assert batch_infos({0: {"x": 1}, 2: {"x": 2.7}}, 3)["x"].tolist() == [1.0, 0.0, 2.7]
    assert infos["_x"].tolist() == [True, False, True, True]
    assert infos["d"]["a"].tolist() == [1, 0, 2, 0]
    assert infos["d"]["_a"].tolist() == [True, False, True, False]
    big = batch_infos({0: {"n": 2**70}}, 2)
    assert big["n"].tolist() == [2**70, None]
