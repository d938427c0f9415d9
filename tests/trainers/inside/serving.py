"""Servers for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from openenv_gym.providers.process import ProcessProvider


class Serve(Protocol):
    """Serve a Gymnasium id, once; return the base URL.

    The keywords are those of ``gym.make``, and ``wrappers`` of `ProcessProvider`.
    """

    def __call__(
        self, gym_id: str, render_mode: str | None = None, wrappers: Sequence[Any] = (), **gym_kwargs: Any
    ) -> str: ...


@contextmanager
def serving() -> Iterator[Serve]:
    """Yield a function that starts servers, which are stopped at the end."""
    servers: dict[str, ProcessProvider] = {}

    def serve(
        gym_id: str, render_mode: str | None = None, wrappers: Sequence[Any] = (), **gym_kwargs: Any
    ) -> str:
        if render_mode:
            gym_kwargs["render_mode"] = render_mode
        key = repr((gym_id, wrappers, gym_kwargs))
        if key not in servers:
            servers[key] = ProcessProvider(
                gym=gym_id, gym_kwargs=gym_kwargs, wrappers=wrappers, max_sessions=64
            )
            servers[key].launch()
        return servers[key].base_url

    try:
        yield serve
    finally:
        for server in servers.values():
            server.stop()
