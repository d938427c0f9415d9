"""Servers that are started for a client ask for the key that it shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from openenv_gym import GenericEnvClient
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.docker import DockerProvider
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.server_command import ServerCommand
from tests.support.process_tree import descendants
from tests.support.servers import status_of

GRID = Path(__file__).parents[2] / "envs" / "grid_world_env"
VARIABLE = "OPENENV_API_KEY"
KEY = "sesame-of-this-test"


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        ("", {"api_key": KEY}),
        ("another", {"api_key": KEY}),
        ("another", {"headers": {"authorization": f"Bearer {KEY}"}}),
        (KEY, {}),
    ],
    ids=["given", "given beside the variable", "in a header", "the variable"],
)
def test_replicas_ask_for_the_key_of_their_client(
    variable: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(VARIABLE, variable)
    envs = gym.make_vec("openenv/remote", 2, path=GRID, replicas=2, **given)
    envs.reset(seed=1)
    envs.step(envs.action_space.sample())
    schemas = [f"{url}/schema" for url in envs.unwrapped._servers.endpoints]  # type: ignore[attr-defined]
    assert [status_of(url)[0] for url in schemas] == [401, 401]
    assert [status_of(url, key=KEY)[0] for url in schemas] == [200, 200]
    envs.close()


def test_a_client_that_shows_no_key_on_purpose_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    env = gym.make("openenv/remote", path=GRID, api_key="")
    env.reset(seed=1)
    base_url = env.unwrapped.endpoint.base_url  # type: ignore[attr-defined]
    assert status_of(f"{base_url}/schema")[0] == 200
    env.close()


@pytest.mark.integration
def test_no_command_line_and_no_log_has_the_key() -> None:
    with ProcessProvider(gym="CartPole-v1", api_key=KEY) as provider:
        with GenericEnvClient(provider.base_url, api_key=KEY) as client:
            client.reset()
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(os.getpid())]
        assert any("openenv_cli" in command for command in commands)
        assert not any(KEY in text for text in [*commands, provider.logs()])


def test_no_repr_has_the_key() -> None:
    server = ServerCommand(gym="CartPole-v1", api_key=KEY)
    made = server, server.resolve("127.0.0.1"), DockerProvider("image", api_key=KEY)
    assert not any(KEY in repr(thing) for thing in made)


def test_what_cannot_be_a_key_is_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigurationError, match="api_key= is not a key") as refused:
        gym.make("openenv/remote", path=GRID, api_key="two words")
    assert "two" not in str(refused.value)
