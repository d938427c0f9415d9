"""A negative seed is Gymnasium's own error here, and a clear one of the server over every other way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ActionRefusedError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of, without_v2

WAYS = pytest.mark.parametrize("version", [lambda app: app, without_v2], ids=["v2", "v1"])


@WAYS
@pytest.mark.parametrize("seed", [-1, np.int64(-1), -(2**70)])
def test_environments_raise_gymnasiums_error(version: Callable[[Any], Any], seed: Any) -> None:
    with running(version(create_app(Counter, CountAction, CountObservation))) as base_url:
        env, envs = RemoteEnv(base_url), RemoteVectorEnv(base_url, 1)
        reference = gym.make("CartPole-v1").unwrapped
        with pytest.raises(gym.error.Error) as own:
            reference.reset(seed=int(seed))
        for reset in (
            lambda: env.reset(seed=seed),
            lambda: envs.reset(seed=seed),
            lambda: envs.reset(seed=[seed]),
        ):
            with pytest.raises(gym.error.Error) as raised:
                reset()
            assert str(raised.value) == str(own.value)
        env.close()
        envs.reset(seed=3)  # nothing was sent
        envs.close()


@WAYS
def test_the_server_says_what_a_seed_may_be(version: Callable[[Any], Any], caplog: Any) -> None:
    with running(version(create_app(Counter, CountAction, CountObservation))) as base_url:
        with GenericEnvClient(base_url) as client:
            with pytest.raises(ActionRefusedError, match="a seed must be 0 or greater, got -1"):
                client.reset(seed=-1)
            assert client.reset(seed=2).observation["total"] == 2
        status, answer = status_of(f"{base_url}/reset", {"seed": -1})
        assert (status, answer["code"]) == (422, "VALIDATION_ERROR")
        assert "body.seed: Input should be greater than or equal to 0" in answer["message"]
    assert caplog.text == ""
