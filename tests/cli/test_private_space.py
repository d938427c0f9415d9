"""The commands and a private Space: what they show to it, and what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from openenv_server import create_app, gymnasium_factory

from openenv_gym.errors import AccessRefusedError, NotAnOpenEnvServerError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import refused
from tests.providers.conftest import hub as hub
from tests.providers.conftest import space as space
from tests.support.hub import TOKEN
from tests.support.hub.repositories import Space
from tests.support.servers import running


class NotThereForStrangers:
    """An application that strangers do not see, as the Hub has it with private Spaces."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        shown = dict(scope.get("headers", ())).get(b"authorization")
        if scope["type"] == "lifespan" or shown == f"Bearer {TOKEN}".encode():
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"Sorry, there is no such page."})


@pytest.fixture
def private_space(space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a private Space, in a registry file of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    factory, models = gymnasium_factory(lambda: gymnasium.make("CartPole-v1"))
    app = create_app(factory, models.action, models.observation)
    # A key for other servers, which goes to none of the Hub's.
    monkeypatch.setenv("OPENENV_API_KEY", "for-others")
    space.private = True
    with running(NotThereForStrangers(app)) as space.host:
        assert openenv("register", "hidden", "--space", space.id).returncode == 0
        yield "hidden"


def openenv(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "openenv_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.integration
def test_info_shows_the_token_to_a_private_space_and_says_so(private_space: str) -> None:
    said = openenv("info", private_space)
    assert said.returncode == 0, said.stderr
    assert "key\tneeded; your Hub token is accepted\n" in said.stdout
    assert "health\thealthy\n" in said.stdout


def test_bench_measures_a_private_space(private_space: str) -> None:
    done = openenv("bench", private_space, "--sessions", "1", "--seconds", "0.1")
    assert done.returncode == 0, done.stderr


def test_a_private_space_that_is_named_by_its_address_says_how_to_name_it() -> None:
    server = Endpoint.parse("https://my-org-my-env.hf.space")
    hint = refused(server, 404, {}, None, "GET /schema")
    assert isinstance(hint, AccessRefusedError)
    assert "openenv register NAME --space OWNER/NAME" in str(hint)
    elsewhere = Endpoint.parse("https://hf.space.example.org")
    assert isinstance(refused(elsewhere, 404, {}, None, "GET /schema"), NotAnOpenEnvServerError)
