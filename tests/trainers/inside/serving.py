"""Servers for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from openenv_gym.providers.process import ProcessProvider


class Serve(Protocol):
    """Serve a Gymnasium id, once; return the base URL."""

    def __call__(self, gym_id: str, render_mode: str | None = None) -> str: ...


@contextmanager
def serving() -> Iterator[Serve]:
    """Yield a function that starts servers, which are stopped at the end."""
    servers: dict[tuple[str, str | None], ProcessProvider] = {}

    def serve(gym_id: str, render_mode: str | None = None) -> str:
        key = (gym_id, render_mode)
        if key not in servers:
            keywords = {"render_mode": render_mode} if render_mode else {}
            servers[key] = ProcessProvider(gym=gym_id, gym_kwargs=keywords, max_sessions=64)
            servers[key].launch()
        return servers[key].base_url

    try:
        yield serve
    finally:
        for server in servers.values():
            server.stop()
