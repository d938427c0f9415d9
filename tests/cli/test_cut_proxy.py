"""The proxy of `openenv demo`: it forwards, and cuts connections that are then resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from openenv_cli.cut_proxy import CutProxy

import openenv_gym

STEPS = 60


def walked(base_url: str, after_step: Callable[[int], None] = lambda step: None) -> list[Any]:
    """The results of steps whose actions are given by a seed."""
    env = gym.make("openenv/remote", base_url=base_url)
    env.action_space.seed(3)
    results: list[Any] = [env.reset(seed=3)[0]]
    for step in range(STEPS):
        results.append(env.step(env.action_space.sample())[:4])
        if any(results[-1][2:]):
            results.append(env.reset()[0])
        after_step(step)
    env.close()
    return results


def test_cuts_change_nothing(serve_gym: Callable[[str], str]) -> None:
    base_url = serve_gym("FrozenLake-v1")
    connections = []
    with CutProxy(base_url) as proxy:

        def cut(step: int) -> None:
            if step % 20 == 10:
                connections.append(proxy.cut())

        assert walked(proxy.base_url, cut) == walked(base_url)
    assert connections == [1, 1, 1]


def test_nothing_is_forwarded_after_its_end(serve_gym: Callable[[str], str]) -> None:
    with CutProxy(serve_gym("FrozenLake-v1")) as proxy:
        env = gym.make("openenv/remote", base_url=proxy.base_url)
        env.reset(seed=1)
    with pytest.raises(openenv_gym.OpenEnvError, match=proxy.base_url):
        gym.make("openenv/remote", base_url=proxy.base_url)
    env.close()
