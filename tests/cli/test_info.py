"""`openenv info`: what it says of a server that is not well."""

from __future__ import annotations

import subprocess
import sys

import pytest
from openenv_server import create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import RemoteError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


class Unmade(Counter):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


def openenv(*arguments: str) -> str:
    command = [sys.executable, "-m", "openenv_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_server_whose_environments_cannot_be_made_is_called_unhealthy_with_the_reason() -> None:
    with running(create_app(Unmade, CountAction, CountObservation)) as base_url:
        for _ in range(3):
            with GenericEnvClient(base_url) as client, pytest.raises(RemoteError):
                client.reset()
        said = openenv("info", base_url)
    assert "health\tunhealthy\n" in said
    assert "health reasons\tthe last 3 environments could not be made\n" in said
