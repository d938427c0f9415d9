"""Measure what one session needs, for docs/scaling.md: python -m benchmarks.capacity."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, NamedTuple

import numpy as np

from benchmarks.processes import cpu_s, resident_bytes
from openenv_gym import RemoteVectorEnv
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.transport.blocking import BlockingConnection

_MOST_SESSIONS = 8192
_TCP_INFO_BYTES = 136
_BYTES_ACKED_AT = 120  # followed by the bytes received, in struct tcp_info of linux/tcp.h


class Figures(NamedTuple):
    """What a session needs, and what a step needs."""

    server_bytes: float
    client_bytes: float
    sent_bytes: float
    received_bytes: float
    server_us: float
    client_us: float


def measure(gym_id: str, few: int, many: int, steps: int) -> Figures:
    """Measure ``many`` sessions, and for the memory their difference to ``few``."""
    with ProcessProvider(gym=gym_id, max_sessions=_MOST_SESSIONS) as provider:
        warm = _open(provider.base_url, few)
        server, client = resident_bytes(provider.pid), resident_bytes(os.getpid())
        envs = _open(provider.base_url, many - few)
        server_bytes = (resident_bytes(provider.pid) - server) / (many - few)
        client_bytes = (resident_bytes(os.getpid()) - client) / (many - few)
        actions = envs.action_space.sample()
        (part,) = envs._backend._partition.parts  # type: ignore[union-attr]
        connection = part.channel.connection
        assert isinstance(connection, BlockingConnection)
        raw = connection.raw_socket
        before, server_s, client_s = _bytes_of(raw), cpu_s(provider.pid), cpu_s(os.getpid())
        for _ in range(steps):
            envs.step(actions)
        taken = steps * envs.num_envs
        sent, received = (np.array(_bytes_of(raw)) - before) / taken
        figures = Figures(
            server_bytes,
            client_bytes,
            sent,
            received,
            (cpu_s(provider.pid) - server_s) / taken * 1e6,
            (cpu_s(os.getpid()) - client_s) / taken * 1e6,
        )
        envs.close()
        warm.close()
    return figures


def _open(base_url: str, count: int) -> RemoteVectorEnv:
    envs = RemoteVectorEnv(base_url, count)
    envs.reset(seed=0)
    actions: Any = envs.action_space.sample()
    for _ in range(5):
        envs.step(actions)
    return envs


def _bytes_of(raw: socket.socket) -> tuple[int, int]:
    """Return the bytes that a connection has sent, and received."""
    info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    sent, received = struct.unpack_from("=QQ", info, _BYTES_ACKED_AT)
    return sent, received


def main() -> None:
    """Print a line for each environment."""
    print(
        "environment, bytes per session in the server, in the client, "
        "bytes sent and received per step, CPU us per step in the server, in the client"
    )
    for gym_id, many, steps in (
        ("CartPole-v1", 4096, 50),
        ("benchmarks.environments:Frames-v0", 512, 20),
        ("benchmarks.environments:Nap50ms-v0", 1024, 20),
    ):
        figures = measure(gym_id, 64, many, steps)
        print(gym_id, *(f"{figure:.1f}" for figure in figures), sep=", ")


if __name__ == "__main__":
    main()
