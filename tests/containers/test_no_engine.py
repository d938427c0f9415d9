"""Where no engine answers, or no image can be built: each reason has a sentence. None needs an engine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.containers.conftest import openenv

# A client of version 23 or later, without the plugin.
NO_BUILDX = """\
#!/bin/sh
test "$1" = version && echo 28.2.2 && exit 0
echo "docker: unknown command: docker $1" >&2
exit 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "openenv.yaml").write_text("name: my_env\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return str(tmp_path)


def build(folder: str, **variables: str) -> str:
    """Builds, and returns why that failed."""
    failed = openenv("build", folder, env={**os.environ, **variables})
    assert failed.returncode == 2, failed.stderr
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    return failed.stderr


@pytest.mark.skipif(shutil.which("docker") is None, reason="there is no docker command")
def test_no_engine_is_a_sentence_with_what_to_do(folder: str, tmp_path: Path) -> None:
    said = build(folder, DOCKER_HOST=f"unix://{tmp_path}/no.sock", DOCKER_CONTEXT="")
    assert "No Docker engine responds" in said
    assert f"DOCKER_HOST is unix://{tmp_path}/no.sock: is an engine running there?" in said


def test_no_docker_command_is_a_sentence_with_how_to_get_it(folder: str) -> None:
    said = build(folder, PATH=str(Path(sys.executable).parent))
    assert "The docker command was not found" in said
    assert "Install Docker Desktop" in said


def test_a_client_that_lacks_buildx_is_a_sentence_with_what_to_install(folder: str, tmp_path: Path) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(NO_BUILDX)
    docker.chmod(0o755)
    said = build(folder, PATH=str(docker.parent))
    assert f"{docker} cannot build images with BuildKit" in said
    assert "docker-buildx" in said


@pytest.mark.skipif(not Path("/usr/bin/docker").exists(), reason="docker.io's own client is not here")
def test_a_client_that_lacks_buildx_is_passed_over_for_one_that_can_build(
    folder: str, tmp_path: Path
) -> None:
    test_a_client_that_lacks_buildx_is_a_sentence_with_what_to_install(folder, tmp_path)
    path = f"{tmp_path / 'bin'}{os.pathsep}/usr/bin"
    said = build(folder, PATH=path, DOCKER_HOST=f"unix://{tmp_path}/no.sock")
    assert "No Docker engine responds" in said


@pytest.mark.parametrize("command", [["ps"], ["stop", "--all"]], ids=["ps", "stop"])
def test_without_an_engine_ps_and_stop_say_that_they_are_about_containers_only(
    command: list[str], tmp_path: Path
) -> None:
    failed = openenv(*command, env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    assert failed.returncode == 2
    assert "No Docker engine" in failed.stderr
    assert "processes or on Ray end with the program" in failed.stderr
