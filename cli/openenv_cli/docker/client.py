"""The ``docker`` command: find it, run it, and run containers with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openenv_gym.errors import ConfigurationError, DockerError
from openenv_gym.providers.engine import labels_of

# The first version whose `docker build` needs the buildx plugin for BuildKit.
_NEEDS_BUILDX = 23
_INTERRUPT_TIMEOUT_S = 10.0
_LOG_LINES = 100
_STOP_TIMEOUT_S = 10


def find_docker() -> Path:
    """Find the ``docker`` command, and check that an engine responds.

    Raises:
        ConfigurationError: The command is missing, or no engine responds.
    """
    docker = _commands()[0]
    _check_engine(docker)
    return docker


def find_builder() -> Path:
    """Find the first ``docker`` command that can build with BuildKit, and check that an engine responds.

    Raises:
        ConfigurationError: No command can, or no engine responds.
    """
    commands = _commands()
    docker = next((command for command in commands if _has_buildkit(command)), None)
    if docker is None:
        # If the engine is missing too, report that first.
        _check_engine(commands[0])
        raise ConfigurationError(
            f"{commands[0]} cannot build images with BuildKit because the buildx plugin is missing.",
            advice="Install docker-buildx-plugin (Docker's packages) or docker-buildx (Debian, Ubuntu, "
            "Homebrew). Docker Desktop includes it.",
        )
    _check_engine(docker)
    return docker


def run(docker: Path, *arguments: str) -> str:
    """Run a docker command and return its output.

    Raises:
        DockerError: It failed. The message has Docker's own.
    """
    done = _output(docker, *arguments)
    if done.returncode != 0:
        raise DockerError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def stream(docker: Path, *arguments: str, on_line: Callable[[str], None]) -> int:
    """Run a docker command, pass each line of its output to a function, and return its exit code.

    On Ctrl-C the command is interrupted first, so that the engine stops its work too.
    """
    process = subprocess.Popen(
        [docker, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        return process.wait()
    finally:
        _end(process)
        process.stdout.close()


@dataclass(frozen=True)
class Container:
    """A container.

    Attributes:
        name: A unique name. The container need not exist yet, so that it can be removed in any case.
        docker: The docker command.
    """

    name: str
    docker: Path

    def start(self, image: str, port: int) -> None:
        """Start it from an image, with the port published on a free loopback port.

        It has the labels by which ``openenv ps`` finds the containers of a crashed program.

        Raises:
            DockerError: The image does not exist, or does not start.
        """
        labels = [f"--label={name}={value}" for name, value in labels_of(image).items()]
        published = f"--publish=127.0.0.1::{port}"
        run(self.docker, "run", "--detach", "--name", self.name, published, *labels, image)

    @property
    def base_url(self) -> str:
        """The server's address; empty if the container has exited."""
        ports = self._inspect()["NetworkSettings"]["Ports"] or {}
        bound = [binding["HostPort"] for bindings in ports.values() for binding in bindings or ()]
        return f"http://127.0.0.1:{bound[0]}" if bound else ""

    @property
    def state(self) -> dict[str, Any]:
        """Docker's ``State`` of it: ``Running``, ``ExitCode`` and more."""
        state: dict[str, Any] = self._inspect()["State"]
        return state

    @property
    def config(self) -> dict[str, Any]:
        """Docker's ``Config`` of it: ``User``, ``Healthcheck`` and more."""
        config: dict[str, Any] = self._inspect()["Config"]
        return config

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, whatever its exit code."""
        return _output(self.docker, "exec", self.name, *command)

    def logs(self) -> str:
        """Its last log lines."""
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
        """Stop it with SIGTERM, and kill it after ten seconds."""
        run(self.docker, "stop", "--time", str(_STOP_TIMEOUT_S), self.name)

    def remove(self) -> None:
        """Remove it and its volumes, running or not. No effect if it was never started."""
        run(self.docker, "rm", "--force", "--volumes", self.name)

    def _inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(self.docker, "inspect", self.name))[0]
        return found


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_INTERRUPT_TIMEOUT_S)
    finally:
        # No effect if it has exited.
        process.kill()
        process.wait()


def _commands() -> list[Path]:
    """All docker commands on the PATH, in order."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [command for folder in folders if folder and (command := shutil.which("docker", path=folder))]
    if not found:
        raise ConfigurationError(
            "The docker command was not found.",
            advice="Install Docker Desktop, docker.io (Debian, Ubuntu), or docker-ce (Docker's packages).",
        )
    return [Path(command) for command in dict.fromkeys(found)]


def _has_buildkit(docker: Path) -> bool:
    """Whether `docker build` can use BuildKit: built in up to version 22, since then a plugin."""
    version = _output(docker, "version", "--format", "{{.Client.Version}}").stdout.strip()
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < _NEEDS_BUILDX:
        return True
    return _output(docker, "buildx", "version").returncode == 0


def _check_engine(docker: Path) -> None:
    answer = _output(docker, "version", "--format", "{{.Server.Version}}")
    if answer.returncode == 0:
        return
    lines = answer.stderr.strip().splitlines()
    what = lines[-1] if lines else "no output"
    if "permission denied" in what:  # the docker command has one exit code for all failures
        raise ConfigurationError(
            f"This user may not use the Docker engine ({what}).",
            advice="Add it to the group docker: sudo usermod -aG docker $USER, then log in again.",
        )
    if host := os.environ.get("DOCKER_HOST"):
        advice = f"DOCKER_HOST is {host}: is an engine running there? Unset it to use the default engine."
    else:
        advice = "Start it: open Docker Desktop, or run sudo systemctl start docker."
    raise ConfigurationError(f"No Docker engine responds ({what}).", advice=advice)


def _output(docker: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([docker, *arguments], capture_output=True, text=True, errors="replace", check=False)
