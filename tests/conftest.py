from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.isolation import isolate

# Before any other conftest is imported: openenv_gym registers the names that it finds when it is imported.
_restore = isolate()


def pytest_configure(config: pytest.Config) -> None:
    config.add_cleanup(_restore)


@pytest.fixture(scope="session")
def serve_gym() -> Iterator[Callable[[str], str]]:
    """Serves a Gymnasium id from a process of its own, kept for the session; gives the base URL."""
    from openenv_gym.providers.process import ProcessProvider

    servers: dict[str, ProcessProvider] = {}

    def serve(gym_id: str) -> str:
        if gym_id not in servers:
            servers[gym_id] = ProcessProvider(gym=gym_id)
            servers[gym_id].launch()
        return servers[gym_id].base_url

    yield serve
    for server in servers.values():
        server.stop()
