"""The image of an environment that `openenv init` made, as those who run containers want it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import gymnasium as gym
import pytest
from openenv_cli.docker.images import image_size

import openenv_gym  # noqa: F401 - registers the ids
from tests.containers.conftest import openenv
from tests.support.engine import Engine
from tests.support.waiting import answers, wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("docker_host")]

TAG = "generated:1"


@pytest.fixture(scope="module")
def image(engine: Engine, python_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its tag."""
    folder = tmp_path_factory.mktemp("generated")
    assert openenv("init", "my_env", "--output-dir", str(folder)).returncode == 0
    project = folder / "my_env" / "pyproject.toml"
    with project.open("a") as file:
        file.write('\n[project.urls]\nSource = "https://example.org/my-env"\n')
    dockerfile = folder / "my_env" / "server" / "Dockerfile"
    with dockerfile.open("a") as file:
        file.write('LABEL org.opencontainers.image.description="its own"\n')
    done = openenv("build", str(folder / "my_env"), "-t", TAG, env=engine.environment)
    assert done.returncode == 0, done.stderr
    return TAG


def test_it_is_small(image: str, python_image: str) -> None:
    # The base of the tests is smaller than the real one; so what counts is what is added to it.
    assert image_size(image) - image_size(python_image) < 115e6
    assert image_size(image) < 200e6


def test_it_has_labels(image: str, docker_host: Engine) -> None:
    labels = json.loads(docker_host.docker("inspect", "--format", "{{json .Config.Labels}}", image))
    assert {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()} == {
        "title": "my_env",
        "version": "0.1.0",
        "source": "https://example.org/my-env",
        "description": "its own",
    }


@pytest.mark.parametrize("user", ["1000", "12345"])
def test_it_runs_read_only_at_another_port_and_ends_at_sigterm(
    image: str, docker_host: Engine, user: str, tmp_path: Path
) -> None:
    name = f"read-only-{user}"
    docker_host.docker(
        *("run", "--detach", "--name", name, "--read-only", "--user", user, "--cap-drop", "ALL"),
        *("--env", "PORT=9000", "--health-interval", "1s", "--publish", "127.0.0.1::9000", image),
    )
    try:
        url = f"http://{docker_host.docker('port', name, '9000')}"
        wait_for(lambda: answers(f"{url}/health"))
        env = gym.make("openenv/remote", base_url=url)
        env.reset()
        env.step(env.action_space.sample())
        env.close()
        health = ("inspect", "--format", "{{json .State.Health}}", name)
        wait_for(lambda: json.loads(docker_host.docker(*health))["Status"] == "healthy")
        begin = time.monotonic()
        docker_host.docker("stop", "--time", "30", name)
        assert time.monotonic() - begin < 5
        assert docker_host.docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    finally:
        docker_host.docker("rm", "--force", name)
