"""`openenv info`: what it says of a server that is not well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from openenv_server import create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import RemoteError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running
from tests.support.walker import write_walker


class Unmade(Counter):
    def __init__(self) -> None:
        if self.instances:
            raise RuntimeError("no licence")
        super().__init__()


def openenv(*arguments: str, folder: Path | None = None) -> str:
    command = [sys.executable, "-m", "openenv_cli", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=folder, input=""
    )
    return done.stdout


def test_a_server_whose_environments_cannot_be_made_is_called_unhealthy_with_the_reason() -> None:
    Unmade.instances.clear()
    app = create_app(Unmade, CountAction, CountObservation)
    with running(app) as base_url, GenericEnvClient(base_url) as first:
        first.reset()  # with the environment that the server made when it started
        for _ in range(3):
            with pytest.raises(RemoteError), GenericEnvClient(base_url):
                pass
        said = openenv("info", base_url)
    assert "health\tunhealthy\n" in said
    assert "health reasons\tthe last 3 environments could not be made\n" in said


@pytest.mark.parametrize(
    ("command", "said"), [("info", "name\twalker\n"), ("spaces", "direction"), ("play", "New episode\nx: ")]
)
def test_without_a_name_it_is_the_environment_of_the_current_folder(
    command: str, said: str, tmp_path: Path
) -> None:
    folder = write_walker(tmp_path)
    (folder / "uv.lock").unlink()  # served by this interpreter
    assert said in openenv(command, folder=folder)
