"""Memory that was used for large messages goes back to the system."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from openenv_server import create_app, gymnasium_factory, vector_factory

from openenv_gym import RemoteVectorEnv
from tests.support.servers import running
from tests.support.waiting import wait_for

# Blocks as large messages leave them behind: between small ones that stay.
PROGRAM = """
import sys
from pathlib import Path
from openenv_server.operations.memory import return_free_memory

def rss():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

if sys.argv[1] == "returns":
    return_free_memory()
first = bytes(8 << 20)
del first
before = rss()
large, small = [], []
for _ in range(200):
    large.append(bytes(b"x") * (1 << 20))
    small.append(bytes(b"x") * 60_000)
large.clear()
print(rss() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_free_blocks_between_small_ones_are_returned() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    kept = {
        how: float(subprocess.check_output([sys.executable, "-c", PROGRAM, how], env=environment))
        for how in ("keeps", "returns")
    }
    print(f"MiB kept after 200 messages of 1 MiB: {kept}")
    assert kept["returns"] < 30  # the small ones
    assert kept["keeps"] > 100, "glibc returns them by default: the setting is not needed any more"


class Film(gym.Env[Any, Any]):
    """Shows large frames."""

    observation_space = gym.spaces.Box(0, 255, (200, 200), np.uint8)
    action_space = gym.spaces.Box(0, 1, (10_000,), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((200, 200), np.uint8), {}

    def step(self, action: Any) -> Any:
        return np.zeros((200, 200), np.uint8), 0.0, False, False, {}


@pytest.mark.parametrize("is_batch", [False, True])
def test_environments_and_messages_end_with_their_connection(is_batch: bool) -> None:
    made: list[weakref.ref[Any]] = []

    def make() -> Any:
        env = Film()
        made.append(weakref.ref(env))
        return env

    factory, models = (
        vector_factory(lambda num_envs: SyncVectorEnv([make] * num_envs))
        if is_batch
        else gymnasium_factory(make)
    )
    with running(create_app(factory, models.action, models.observation)) as base_url:
        first = len(made)
        gc.collect()
        gc.disable()  # a server's runs seldom
        try:
            envs = RemoteVectorEnv(base_url, 3)
            envs.reset()
            for _ in range(5):
                envs.step(envs.action_space.sample())
            envs.close()
            del envs
            # The server makes one environment before there is a client.
            wait_for(lambda: not any(env() for env in made[first:]), timeout_s=10)
            wait_for(lambda: _shared_memories() == 0, timeout_s=10)
        finally:
            gc.enable()


def _shared_memories() -> int:
    """How many memories that are shared with others this process has."""
    if sys.platform != "linux":
        return 0
    return Path("/proc/self/maps").read_text().count("/memfd:openenv")
