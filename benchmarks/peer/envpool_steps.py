"""Step environments of EnvPool in its synchronous mode: python envpool_steps.py ID COUNT.

Reads numbers of steps from standard input, and prints the seconds that each took.
"""

from __future__ import annotations

import sys
import time

import envpool
import numpy as np


def main(env_id: str, count: int) -> None:
    """Reset the environments, and step them as often as requested."""
    envs = envpool.make_gymnasium(env_id, num_envs=count, seed=0)
    envs.reset()
    actions = np.random.default_rng(0).integers(0, envs.action_space.n, count)
    print("ready", flush=True)
    while line := sys.stdin.readline():
        begin = time.perf_counter()
        for _ in range(int(line)):
            envs.step(actions)
        print(time.perf_counter() - begin, flush=True)
    envs.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
