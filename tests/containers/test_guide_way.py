"""The guide's whole way, with no edit by hand: from an empty folder to a container of a pulled image."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import pytest

import openenv_gym  # noqa: F401 - registers the ids
from openenv_gym.providers.process import ProcessProvider
from tests.containers.conftest import openenv
from tests.support.engine import Engine, running_engine
from tests.support.waiting import answers, wait_for

pytestmark = [pytest.mark.timeout(600)]


@pytest.mark.usefixtures("python_image")
def test_from_an_empty_folder_to_a_container_of_the_pulled_image(
    docker_host: Engine, registry: str, tmp_path: Path
) -> None:
    made = openenv("init", "my_env", "--output-dir", str(tmp_path), "--template", "array")
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "my_env"

    with ProcessProvider(str(folder)) as server:
        expected = episode(server.base_url)

    built = openenv("build", str(folder))
    assert (built.returncode, built.stdout) == (0, "openenv-my-env\n"), built.stderr

    report_file = tmp_path / "report.json"
    validated = openenv("validate", str(folder), "--level", "container", "--output", str(report_file))
    assert validated.returncode == 0, validated.stdout + validated.stderr
    report = json.loads(report_file.read_text())
    assert {mode["name"]: mode["works"] for mode in report["modes"]} == {
        "openenv serve": True,
        "uv run server": True,
        "python -m": True,
        "docker": True,
    }
    assert {check["outcome"] for check in report["checks"]} == {"passed"}, validated.stdout
    assert "validate-" not in docker_host.docker("image", "ls"), "the image of the validation is gone"
    assert docker_host.docker("ps", "--all", "--quiet") == ""

    pushed = openenv("push", str(folder), "--registry", registry, "--tag", "my-env:latest")
    assert pushed.returncode == 0, pushed.stderr
    image = f"{registry}/my-env:latest"
    assert f"image\t{image}\n" in pushed.stdout

    with running_engine() as other:
        assert other.docker("image", "ls", "--quiet") == ""
        other.docker("pull", image)
        container = other.docker("run", "--detach", "--publish", "127.0.0.1::8000", image)
        url = f"http://{other.docker('port', container, '8000')}"
        wait_for(lambda: answers(f"{url}/health"))
        assert episode(url) == expected
        other.docker("rm", "--force", container)


def episode(base_url: str) -> list[object]:
    """An episode of a seed and sampled actions, as values that can be compared."""
    env = gym.make("openenv/remote", base_url=base_url)
    env.action_space.seed(3)
    observation, _ = env.reset(seed=7)
    steps: list[object] = [observation.tolist()]
    for _ in range(20):
        observation, *rest = env.step(env.action_space.sample())
        steps.append((observation.tolist(), *rest))
    env.close()
    return steps
