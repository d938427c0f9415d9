from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openenv_gym.providers.process import ProcessProvider


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps the tests out of the user's own registry, notes and key, in this process and in its children."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
            patch.setenv(variable, str(folder / variable))
        patch.delenv("OPENENV_API_KEY", raising=False)
        for variable in [
            name for name in os.environ if name.startswith("OPENENV_") and name.endswith("_URL")
        ]:
            patch.delenv(variable)
        yield folder


@pytest.fixture(scope="session")
def serve_gym() -> Iterator[Callable[[str], str]]:
    """Serves a Gymnasium id from a process of its own, kept for the session; gives the base URL."""
    servers: dict[str, ProcessProvider] = {}

    def serve(gym_id: str) -> str:
        if gym_id not in servers:
            servers[gym_id] = ProcessProvider(gym=gym_id)
            servers[gym_id].launch()
        return servers[gym_id].base_url

    yield serve
    for server in servers.values():
        server.stop()


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own settings of uv may name the index to install from."""
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
