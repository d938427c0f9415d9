"""Step CartPole-v1 with the package remote-gym: python remotegym.py PORT.

Reads numbers of steps from standard input, and prints the seconds that each took. As its servers and clients
are gRPC's, which must not be forked, the server is a spawned process, and its environment a thread there.
"""

from __future__ import annotations

import multiprocessing
import signal
import socket
import sys
import time
from typing import Any


def create_environment(env_id: int, **kwargs: Any) -> Any:
    """Make the environment; the server calls it."""
    import gymnasium as gym

    return gym.make("CartPole-v1")


def serve(port: int) -> None:
    """Run the server."""
    from remote_gym import create_remote_environment_server

    create_remote_environment_server(
        {"entrypoint": __file__}, "localhost", port, use_thread=True
    ).wait_for_termination()


def wait_for(port: int) -> None:
    """Wait until the server listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("localhost", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def main(port: int) -> None:
    """Reset the environment, and step it as often as requested."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # which ends the server too
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    server.start()
    wait_for(port)
    from remote_gym import RemoteEnvironment

    env = RemoteEnvironment("localhost", port)
    env.reset()
    print("ready", flush=True)
    while line := sys.stdin.readline():
        taken_s = 0.0
        for step in range(int(line)):
            begin = time.perf_counter()
            _, _, terminated, truncated, _ = env.step(step % 2)
            taken_s += time.perf_counter() - begin
            if terminated or truncated:
                env.reset()
        print(taken_s, flush=True)
    env.close()
    server.terminate()


if __name__ == "__main__":
    main(int(sys.argv[1]))
