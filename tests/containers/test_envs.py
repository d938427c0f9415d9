"""Each example environment is valid as an image, and the sandbox of the coding environment works in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

import openenv_gym  # noqa: F401 - registers the ids
from tests.containers.conftest import openenv
from tests.support.engine import Engine
from tests.support.waiting import answers, wait_for

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("python_image"),
]
ENVS = Path(__file__).parents[2] / "envs"
NAMES = sorted(path.parent.name for path in ENVS.glob("*/openenv.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_at_the_container_level(name: str, docker_host: Engine) -> None:
    done = openenv("validate", str(ENVS / name), "--level", "container", "--json")
    report = json.loads(done.stdout)
    objections = [check for check in report["checks"] if check["outcome"] in ("failed", "warning")]
    # No lock file is kept for them: which versions they get is this distribution's business.
    assert [check for check in objections if check["id"] != "files.lock"] == []
    assert done.returncode == 0
    assert report["level"] == "container"
    assert next(mode for mode in report["modes"] if mode["name"] == "docker")["works"]
    assert "validate-" not in docker_host.docker("image", "ls")
    assert docker_host.docker("ps", "--all", "--quiet") == ""


@pytest.fixture
def coding_server(docker_host: Engine) -> Iterator[str]:
    """The base URL of a container of the coding environment."""
    built = openenv("build", str(ENVS / "coding_env"))
    assert built.returncode == 0, built.stderr
    container = docker_host.docker("run", "-d", "-p", "127.0.0.1::8000", built.stdout.strip())
    url = f"http://{docker_host.docker('port', container, '8000')}"
    wait_for(lambda: answers(f"{url}/health"))
    yield url
    docker_host.docker("rm", "--force", container)


def test_the_sandbox_of_the_coding_environment_works_in_its_image(coding_server: str) -> None:
    env = gym.make("openenv/remote", base_url=coding_server)
    _, info = env.reset(options={"tests": "assert add(1, 2) == 3"})
    assert info["isolation"] in ("namespaces", "landlock")
    assert env.step({"code": "print(input())", "stdin": "Hello"})[0]["stdout"] == "Hello\n"
    reach = "import socket; socket.create_connection(('127.0.0.1', 8000), 2)"
    assert env.step({"code": reach, "stdin": ""})[0]["exit_code"] != 0
    assert env.step({"code": "open('/app/env/models.py', 'a')", "stdin": ""})[0]["exit_code"] != 0
    assert env.step({"code": "def add(a, b): return a + b", "stdin": ""})[1:3] == (1.0, True)
    env.close()
