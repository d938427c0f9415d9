"""The published package's providers of containers, on a real engine."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from openenv.core.containers.runtime import DockerSwarmProvider, LocalDockerProvider
from openenv_gym import GenericEnvClient
from openenv_gym.errors import DeadlineExceededError, ProviderError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json
from tests.containers.test_docker_provider import images as images
from tests.support.engine import Engine
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def nothing_is_left(docker_host: Engine, images: None) -> Iterator[None]:
    yield
    wait_for(lambda: docker_host.docker("ps", "--all", "--quiet") == "", timeout_s=30)


def health(base_url: str) -> Any:
    return get_json(Endpoint.parse(base_url), "/health", timeout_s=5)


@pytest.mark.usefixtures("environment_image")
def test_an_image_is_started_waited_for_used_and_stopped() -> None:
    with LocalDockerProvider() as provider:
        base_url = provider.start_container("openenv-my-env", memory="512m")
        try:
            provider.wait_for_ready(base_url, timeout_s=60)
            with GenericEnvClient(base_url) as client:
                assert isinstance(client.reset().observation, dict)
        finally:
            provider.stop_container()
            provider.stop_container()


@pytest.mark.usefixtures("environment_image")
def test_a_client_is_made_with_it_and_stops_the_container() -> None:
    with GenericEnvClient.from_docker_image("openenv-my-env", provider=LocalDockerProvider()) as client:
        assert isinstance(client.reset().observation, dict)


def test_the_port_and_the_variables_reach_the_container(
    docker_host: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = LocalDockerProvider()
    for _ in range(2):  # it can be used again
        base_url = provider.start_container("small-serves", port, {"WORD": "said"}, tag="latest")
        assert base_url == f"http://127.0.0.1:{port}"
        provider.wait_for_ready(base_url)
        assert health(base_url)["variable"] == "said"
        with pytest.raises(RuntimeError, match="already"):
            provider.start_container("small-serves")
        provider.stop_container()
    assert "LocalDockerProvider ignores unknown options: tag" in caplog.text


def test_a_subclass_may_start_the_container_itself(docker_host: Engine) -> None:
    class Other(LocalDockerProvider):
        def start_container(
            self, image: str, port: int | None = None, env_vars: dict[str, str] | None = None, **kwargs: Any
        ) -> str:
            port = self._find_available_port()
            self._container_name = self._generate_container_name(image)
            command = [
                "docker",
                "run",
                "-d",
                "--name",
                self._container_name,
                "-p",
                f"127.0.0.1:{port}:8000",
                image,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            self._container_id = done.stdout.strip()
            return f"http://localhost:{port}"

        def wait_for_ready(self, base_url: str, timeout_s: float = 30.0) -> None:
            super().wait_for_ready(base_url, timeout_s=60)

    provider = Other()
    base_url = provider.start_container("small-serves")
    provider.wait_for_ready(base_url)
    assert health(base_url)["status"] == "healthy"
    provider.stop_container()


def test_the_container_id_is_what_docker_commands_take(docker_host: Engine) -> None:
    provider = LocalDockerProvider()
    base_url = provider.start_container("small-serves")
    assert provider._container_id is not None
    (found,) = json.loads(docker_host.docker("inspect", provider._container_id))
    assert base_url.endswith(f":{found['NetworkSettings']['Ports']['8000/tcp'][0]['HostPort']}")
    provider.stop_container()


def test_a_container_that_ends_is_a_runtime_error_with_its_log() -> None:
    provider = LocalDockerProvider()
    base_url = provider.start_container("small-ends")
    with pytest.raises(RuntimeError, match="here is ends") as raised:
        provider.wait_for_ready(base_url)
    assert isinstance(raised.value, ProviderError)
    provider.stop_container()


def test_a_container_that_never_responds_is_a_timeout() -> None:
    provider = LocalDockerProvider()
    base_url = provider.start_container("small-waits")
    with pytest.raises(TimeoutError, match="here is waits") as raised:
        provider.wait_for_ready(base_url, timeout_s=2)
    assert isinstance(raised.value, DeadlineExceededError)
    provider.stop_container()


def test_a_port_in_use_is_a_runtime_error_and_leaves_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RuntimeError, match="Docker refused"):
            LocalDockerProvider().start_container("small-serves", port=taken.getsockname()[1])


def test_an_image_that_is_nowhere_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="no-such-image is not on this machine"):
        LocalDockerProvider().start_container("no-such-image")


def test_without_an_engine_it_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    for kind in (LocalDockerProvider, DockerSwarmProvider):
        with pytest.raises(RuntimeError, match="No Docker engine responds"):
            kind()


@pytest.fixture
def swarm(docker_host: Engine) -> Iterator[Engine]:
    docker_host.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    yield docker_host
    docker_host.docker("swarm", "leave", "--force")


def test_a_service_that_never_responds_is_a_timeout(swarm: Engine) -> None:
    with pytest.raises(TimeoutError):
        DockerSwarmProvider().wait_for_ready("http://127.0.0.1:9", timeout_s=0.5)


def test_without_a_swarm_it_says_what_to_run() -> None:
    with pytest.raises(RuntimeError, match="docker swarm init"):
        DockerSwarmProvider(auto_init_swarm=False)


def test_a_service_of_a_swarm_has_replicas_with_limits(swarm: Engine) -> None:
    provider = DockerSwarmProvider(auto_init_swarm=False)
    base_url = provider.start_container(
        "small-waits",
        env_vars={"WORD": "said"},
        replicas=3,
        cpu_limit="0.5",
        memory_limit="64m",
        labels={"a": "b"},
        constraints=["node.role == manager"],
        command="python3 /server.py serves",
    )
    (service,) = json.loads(swarm.docker("service", "inspect", *swarm.docker("service", "ls", "-q").split()))
    spec = service["Spec"]
    assert spec["Mode"]["Replicated"]["Replicas"] == 3
    template = spec["TaskTemplate"]
    assert template["Resources"]["Limits"] == {"NanoCPUs": 5 * 10**8, "MemoryBytes": 64 * 2**20}
    assert template["Placement"]["Constraints"] == ["node.role == manager"]
    assert template["ContainerSpec"]["Args"] == ["python3", "/server.py", "serves"]
    assert spec["Labels"] == {"a": "b"}
    assert base_url == f"http://127.0.0.1:{spec['EndpointSpec']['Ports'][0]['PublishedPort']}"
    # The load balancer needs a module of the kernel that this machine may lack, so it is not asked.
    wait_for(lambda: len(swarm.docker("ps", "--quiet").split()) == 3)
    provider.stop_container()
    provider.stop_container()
    assert swarm.docker("service", "ls", "-q") == ""
