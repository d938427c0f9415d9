"""The ``docker`` command: which one to use, and running it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from openenv_gym.errors import ConfigurationError, DockerError

# The first version whose `docker build` needs the buildx plugin for BuildKit.
_NEEDS_BUILDX = 23
_INTERRUPT_TIMEOUT_S = 10.0


def find_docker() -> Path:
    """The ``docker`` command, with an engine that answers it.

    Raises:
        ConfigurationError: There is no such command, or no engine answers.
    """
    docker = _commands()[0]
    _check_engine(docker)
    return docker


def find_builder() -> Path:
    """The first ``docker`` command on the path that can build with BuildKit, with an engine that answers.

    Raises:
        ConfigurationError: There is no such command, or no engine answers.
    """
    commands = _commands()
    docker = next((command for command in commands if _has_buildkit(command)), None)
    if docker is None:
        # An engine that is missing too is the first thing to see to.
        _check_engine(commands[0])
        raise ConfigurationError(
            f"{commands[0]} has no buildx plugin, and without it it cannot build images with BuildKit. "
            "Install the plugin: the package docker-buildx-plugin of Docker, or docker-buildx of Debian, "
            "Ubuntu and Homebrew. Docker Desktop has it."
        )
    _check_engine(docker)
    return docker


def run(docker: Path, *arguments: str) -> str:
    """Runs a docker command to its end; returns what it printed.

    Raises:
        DockerError: It failed; the message is Docker's.
    """
    done = subprocess.run([docker, *arguments], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise DockerError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def stream(docker: Path, *arguments: str, on_line: Callable[[str], None]) -> int:
    """Runs a docker command and hands on what it prints, line by line; returns its exit code.

    Ctrl-C ends the command in order, so that the engine ends what it does for it, before it is passed on.
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


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_INTERRUPT_TIMEOUT_S)
    finally:
        # Nothing where it has ended.
        process.kill()
        process.wait()


def _commands() -> list[Path]:
    """All docker commands on the path, in its order."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [command for folder in folders if folder and (command := shutil.which("docker", path=folder))]
    if not found:
        raise ConfigurationError(
            "There is no docker command here, and images are made with Docker. Install Docker Desktop, or "
            "the package docker.io (Debian, Ubuntu), or docker-ce of Docker's own packages."
        )
    return [Path(command) for command in dict.fromkeys(found)]


def _has_buildkit(docker: Path) -> bool:
    """Whether `docker build` works with BuildKit: up to version 22 it is built in, then a plugin."""
    version = _output(docker, "version", "--format", "{{.Client.Version}}").stdout.strip()
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < _NEEDS_BUILDX:
        return True
    return _output(docker, "buildx", "version").returncode == 0


def _check_engine(docker: Path) -> None:
    answer = _output(docker, "version", "--format", "{{.Server.Version}}")
    if answer.returncode == 0:
        return
    said = answer.stderr.strip().splitlines()
    what = said[-1] if said else "no engine answers"
    if "permission denied" in what:
        raise ConfigurationError(
            f"This user may not use the Docker engine ({what}). "
            "Add it to the group docker: sudo usermod -aG docker $USER, then log in anew."
        )
    if host := os.environ.get("DOCKER_HOST"):
        advice = (
            f"DOCKER_HOST is {host}: is an engine running there? Without the variable it is the default one."
        )
    else:
        advice = "Start it: open Docker Desktop, or sudo systemctl start docker."
    raise ConfigurationError(f"No Docker engine answers ({what}). {advice}")


def _output(docker: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([docker, *arguments], capture_output=True, text=True, errors="replace", check=False)
