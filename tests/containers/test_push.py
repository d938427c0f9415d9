"""Images are pushed to a real registry, and each way in which that fails says what to do."""

from __future__ import annotations

import pytest
from openenv_cli.docker.client import find_docker, run
from openenv_cli.docker.images import has_image, push_image, registry_of

from openenv_gym.errors import DockerError
from tests.containers.conftest import Build
from tests.support.engine import Engine, running_registry

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("docker_host")]


def test_a_pushed_image_is_pulled_into_an_empty_store(
    environment_image: Build, registry: str, docker_host: Engine
) -> None:
    local, pushed = "openenv-my-env:latest", f"{registry}/my-org/my-env:1.0"
    identity = docker_host.docker("image", "inspect", "--format", "{{.Id}}", local)
    run(find_docker(), "tag", local, pushed)
    push_image(pushed)
    push_image(pushed)  # nothing is left to send
    docker_host.docker("image", "rm", local, pushed)
    docker_host.docker("builder", "prune", "--all", "--force")
    assert not has_image(pushed)
    docker_host.docker("pull", pushed)
    assert docker_host.docker("image", "inspect", "--format", "{{.Id}}", pushed) == identity
    run(find_docker(), "tag", pushed, local)


@pytest.mark.parametrize(
    ("registry_name", "advice"),
    [
        ("no-such-registry.invalid", "Check the registry's name, no-such-registry.invalid, and the network."),
        # Nothing listens at the port for discarding (RFC 863).
        ("127.0.0.1:9", "Check that the registry is running, and its port."),
    ],
)
def test_a_registry_out_of_reach_says_what_to_look_at(
    registry_name: str, advice: str, python_image: str
) -> None:
    tag = f"{registry_name}/my-env:1"
    run(find_docker(), "tag", python_image, tag)
    with pytest.raises(DockerError) as failed:
        push_image(tag)
    assert str(failed.value).startswith(f"{tag} was not pushed: ")
    assert str(failed.value).endswith(advice)


def test_a_registry_that_asks_for_a_login_gets_the_command_for_it(python_image: str) -> None:
    with running_registry(lets_in=False) as registry:
        run(find_docker(), "tag", python_image, f"{registry}/my-env:1")
        with pytest.raises(DockerError, match=f"Log in, then push again: docker login {registry}$"):
            push_image(f"{registry}/my-env:1")


def test_an_image_that_is_not_there_is_to_be_built_first(registry: str) -> None:
    with pytest.raises(DockerError, match=f"Build it first: openenv build -t {registry}/never-built:1$"):
        push_image(f"{registry}/never-built:1")


def test_the_registry_is_the_first_part_of_a_name_that_is_a_host() -> None:
    names = (
        "my-env",
        "my-org/my-env:1",
        "ghcr.io/my-org/my-env",
        "localhost/my-env",
        "127.0.0.1:5000/my-env",
    )
    assert [registry_of(name) for name in names] == [
        "docker.io", "docker.io", "ghcr.io", "localhost", "127.0.0.1:5000",
    ]  # fmt: skip
