"""Dockerfiles as others build them: with `docker build` alone, and as the Hub does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from openenv_cli.bundle import bundled
from openenv_cli.hub.space_files import prepare_space
from openenv_cli.validation.check import Silent
from openenv_cli.validation.run import validate_folder
from openenv_server.manifest import read_manifest

from tests.containers.conftest import openenv
from tests.support.engine import Engine
from tests.support.waiting import answers, wait_for

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("docker_host"),
]


def build(engine: Engine, context: Path, *options: str) -> None:
    done = subprocess.run(
        ["/usr/bin/docker", "build", *options, "."],
        cwd=context,
        env={**engine.environment, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def assert_it_serves(engine: Engine, image: str) -> None:
    container = engine.docker("run", "--detach", "--publish", "127.0.0.1::8000", image)
    try:
        url = f"http://{engine.docker('port', container, '8000')}"
        wait_for(lambda: answers(f"{url}/health"))
    finally:
        engine.docker("rm", "--force", container)


def test_the_generated_one_is_built_by_docker_alone_from_an_image_without_uv(
    docker_host: Engine, python_image: str, tmp_path: Path
) -> None:
    assert openenv("init", "my_env", "--output-dir", str(tmp_path)).returncode == 0
    # As where this distribution comes from an index: nothing is outside of the context.
    with bundled(tmp_path / "my_env") as bundle:
        build(
            docker_host, bundle, "-f", "server/Dockerfile", "-t", "alone", "--build-arg",
            f"BASE_IMAGE={python_image}",
        )  # fmt: skip
    assert_it_serves(docker_host, "alone")


def test_the_guides_one_is_built_by_the_hub_which_has_no_openenv_base(
    docker_host: Engine, python_image: str, environment_folder: Path
) -> None:
    with bundled(environment_folder) as bundle:
        prepare_space(bundle, read_manifest(bundle), base_image=None, has_interface=True)
        build(docker_host, bundle, "-t", "space", "--build-arg", f"PYTHON_IMAGE={python_image}")
    assert_it_serves(docker_host, "space")


def test_a_container_that_cannot_be_started_is_not_left_behind(
    docker_host: Engine, python_image: str, tmp_path: Path
) -> None:
    assert openenv("init", "my_env", "--output-dir", str(tmp_path)).returncode == 0
    folder = tmp_path / "my_env"
    (folder / "server" / "Dockerfile").write_text(f'FROM {python_image}\nCMD ["no-such-program"]\n')
    report = validate_folder(folder, Silent())
    assert not report.passed
    (check,) = [check for check in report.checks if check.id == "container.serve"]
    assert "no-such-program" in check.detail
    assert docker_host.docker("ps", "--all", "--quiet") == ""
    assert "validate-" not in docker_host.docker("image", "ls")
