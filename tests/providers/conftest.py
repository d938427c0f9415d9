from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from openenv_server import create_app

from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.hub import StandIn, serving_hub
from tests.support.hub.repositories import GIT_ATTRIBUTES, Commit, Space
from tests.support.servers import running

FILES = {
    "openenv.yaml": b"name: counter\napp: app:app\n",
    "app.py": b"from tests.providers.served import app\n",
    ".gitattributes": GIT_ATTRIBUTES,
}
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A Hub that has the Space my-org/my_env with a counter in it, and this process's way to it."""
    with serving_hub() as hub:
        for name, value in hub.variables(tmp_path / "hf").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        # The client has read its variables when it was imported.
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        hub.state.spaces["my-org/my_env"] = Space(
            "my-org/my_env",
            "docker",
            files=dict(FILES),
            commits=[Commit(SHA, "first", tuple(FILES))],
            stages=["RUNNING"],
        )
        yield hub


@pytest.fixture
def space(hub: StandIn) -> Space:
    """That Space."""
    return hub.state.spaces["my-org/my_env"]


@pytest.fixture
def running_space(space: Space) -> Iterator[Space]:
    """That Space, and its server."""
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        space.host = base_url
        yield space
