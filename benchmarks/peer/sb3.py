"""Step a vector environment of Stable-Baselines3: python sb3.py KIND COUNT URL.

Reads numbers of steps from standard input, and prints the seconds that each took.

KIND is ``remote``, `RemoteVecEnv`; ``dummy``, a DummyVecEnv of remote environments; or ``subproc``, a
SubprocVecEnv of local ones.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from openenv_gym.integrations.sb3 import RemoteVecEnv


def make(kind: str, count: int, base_url: str) -> VecEnv:
    """Make a kind of vector environment."""
    if kind == "remote":
        return RemoteVecEnv(base_url, count)
    if kind == "dummy":
        return DummyVecEnv([partial(gym.make, "openenv/remote", base_url=base_url)] * count)
    return SubprocVecEnv([partial(gym.make, "CartPole-v1")] * count)


def main(kind: str, count: int, base_url: str) -> None:
    """Reset the environments, and step them as often as requested."""
    env = make(kind, count, base_url)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 2, (64, count))
    print("ready", flush=True)
    while line := sys.stdin.readline():
        begin = time.perf_counter()
        for step in range(int(line)):
            env.step(actions[step % 64])
        print(time.perf_counter() - begin, flush=True)
    env.close()


if __name__ == "__main__":  # the children of SubprocVecEnv import this file
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
