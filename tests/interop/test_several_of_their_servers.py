"""One vector environment over several unmodified servers of the published package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy as np
import pytest

from openenv_gym import RemoteVectorEnv
from tests.support.peer import peer_python, peer_server
from tests.support.vectors import compare

SERVER = Path(__file__).parents[2] / "benchmarks" / "peer" / "server.py"

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def serve() -> Callable[[], AbstractContextManager[str]]:
    python = peer_python("gymnasium")
    return lambda: peer_server(python, SERVER, "cartpole", "PORT")


@pytest.fixture(scope="module")
def first(serve: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with serve() as base_url:
        yield base_url


def test_slots_over_two_of_them_are_those_of_one(
    first: str, serve: Callable[[], AbstractContextManager[str]]
) -> None:
    with serve() as second:
        one, two = RemoteVectorEnv(first, 8), RemoteVectorEnv([first, second], 8)
        assert compare(one, two, steps=60) > 8
        one.close()
        two.close()


def test_one_that_dies_costs_only_its_slots_their_episodes(
    first: str, serve: Callable[[], AbstractContextManager[str]]
) -> None:
    with ExitStack() as dying:
        envs = RemoteVectorEnv([first, dying.enter_context(serve())], 6, on_session_lost="truncate")
        envs.reset(seed=0)
        left = np.zeros(6, np.int64)
        envs.step(left)
        dying.close()
        _, _, terminations, truncations, infos = envs.step(left)
        assert not terminations.any()
        assert truncations.tolist() == [False] * 3 + [True] * 3
        assert infos["_session_lost"].tolist() == truncations.tolist()
        _, rewards, _, truncations, _ = envs.step(left)
        assert rewards.tolist() == [1, 1, 1, 0, 0, 0]  # the last three began anew, on the other server
        assert envs.step(left)[1].tolist() == [1] * 6
        assert not truncations.any()
        envs.close()
