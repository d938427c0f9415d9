"""A container: run, looked into, and removed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openenv_cli.docker.client import run
from openenv_gym.providers.engine import labels_of

_LOG_LINES = 100
_STOP_TIMEOUT_S = 10


@dataclass(frozen=True)
class Container:
    """A container.

    Attributes:
        name: Its name, which no other has. It need not be there yet: so what is begun can always be removed.
        docker: The command that starts it.
    """

    name: str
    docker: Path

    def start(self, image: str, port: int) -> None:
        """Starts it, from an image; its port is published on loopback alone, under a free number.

        It has the labels by which ``openenv ps`` finds what a crashed run has left.

        Raises:
            DockerError: There is no such image, or it cannot be started.
        """
        labels = [f"--label={name}={value}" for name, value in labels_of(image).items()]
        published = f"--publish=127.0.0.1::{port}"
        run(self.docker, "run", "--detach", "--name", self.name, published, *labels, image)

    @property
    def base_url(self) -> str:
        """Where its server answers; empty where the container has ended."""
        ports = self._inspect()["NetworkSettings"]["Ports"] or {}
        bound = [binding["HostPort"] for bindings in ports.values() for binding in bindings or ()]
        return f"http://127.0.0.1:{bound[0]}" if bound else ""

    @property
    def state(self) -> dict[str, Any]:
        """What Docker says of it: ``Running``, ``ExitCode`` and the rest."""
        state: dict[str, Any] = self._inspect()["State"]
        return state

    @property
    def config(self) -> dict[str, Any]:
        """What the image says of it: ``User``, ``Healthcheck`` and the rest."""
        config: dict[str, Any] = self._inspect()["Config"]
        return config

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, to its end, whatever that is."""
        return subprocess.run(
            [self.docker, "exec", self.name, *command],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def logs(self) -> str:
        """The last lines that it wrote."""
        done = subprocess.run(
            [self.docker, "logs", "--tail", str(_LOG_LINES), self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        return done.stdout

    def stop(self) -> None:
        """Asks it to end, and ends it after ten seconds."""
        run(self.docker, "stop", "--time", str(_STOP_TIMEOUT_S), self.name)

    def remove(self) -> None:
        """Removes it, running or not, with what it stored; nothing where it was never started."""
        run(self.docker, "rm", "--force", "--volumes", self.name)

    def _inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(self.docker, "inspect", self.name))[0]
        return found
