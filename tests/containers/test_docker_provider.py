"""Servers in containers, on a real engine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
from openenv_cli.docker.client import Container, find_docker

from openenv_gym import GenericEnvClient
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, DockerError, ServerEndedError
from openenv_gym.providers.docker import DockerProvider
from openenv_gym.providers.hub import HubProvider
from openenv_gym.providers.provider import Provider
from openenv_gym.providers.testing import ProviderTests
from tests.containers.conftest import openenv
from tests.providers.conftest import hub as hub
from tests.support.engine import Engine, running_engine
from tests.support.servers import status_of
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.timeout(300)]

# A server with nothing but Python, as an environment's image takes a minute to build.
SERVER = """\
import http.server, json, os, pathlib, signal, sys, time

def end(*_):
    if sys.argv[1] == "drains":
        time.sleep(12)
        pathlib.Path("/told/drained").touch()
    sys.exit()

signal.signal(signal.SIGTERM, end)

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = pathlib.Path("/data/words")
        body = json.dumps({
            "status": "healthy",
            "variable": os.environ.get("WORD"),
            "words": data.read_text() if data.exists() else None,
        }).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

print("here is", sys.argv[1], flush=True)
if sys.argv[1] == "ends":
    sys.exit(3)
server = http.server.HTTPServer(("0.0.0.0", 8000), Answer)
if sys.argv[1] in ("serves", "drains"):
    server.serve_forever()
time.sleep(300)
"""


@pytest.fixture(scope="module")
def images(engine: Engine, python_image: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images small-serves, small-waits, small-ends and small-drains: Python, and a file."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "server.py").write_text(SERVER)
    for what in ("serves", "waits", "ends", "drains"):
        (folder / "Dockerfile").write_text(
            f'FROM {python_image}\nCOPY server.py /\nCMD ["python3", "/server.py", "{what}"]\n'
        )
        engine.docker("build", "--quiet", "--tag", f"small-{what}", str(folder))


@pytest.fixture(autouse=True)
def nothing_is_left(docker_host: Engine, images: None) -> Iterator[None]:
    yield
    assert docker_host.docker("ps", "--all", "--quiet") == ""


@pytest.mark.usefixtures("environment_image")
class TestAContainer(ProviderTests):
    def make_provider(self) -> Provider:
        return DockerProvider("openenv-my-env", replicas=2)


@pytest.mark.usefixtures("environment_image", "hub")
class TestTheImageOfASpace(ProviderTests):
    @pytest.fixture(autouse=True)
    def _as_pulled(self, docker_host: Engine) -> None:
        # Where the image would come from is out of reach, so it is here already.
        docker_host.docker("tag", "openenv-my-env", "registry.hf.space/my-org-my-env:latest")

    def make_provider(self) -> Provider:
        return HubProvider("my-org/my_env", mode="docker", memory="512m")


def health(provider: Provider) -> dict[str, str | None]:
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import get_json

    return get_json(Endpoint.parse(provider.base_url), "/health", timeout_s=5)


def inspect(engine: Engine) -> dict[str, dict[str, object]]:
    """What the engine says of the only container."""
    (found,) = json.loads(engine.docker("inspect", engine.docker("ps", "--quiet")))
    return dict(found)


def test_all_options_reach_the_container(docker_host: Engine, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("from here")
    docker_host.docker("network", "create", "--subnet", "198.19.250.0/24", "apart")
    try:
        with DockerProvider(
            "small-serves",
            env_vars={"WORD": "said"},
            memory="64m",
            cpus=0.5,
            network="apart",
            volumes={str(tmp_path): "/data"},
        ) as provider:
            assert health(provider) == {"status": "healthy", "variable": "said", "words": "from here"}
            host = inspect(docker_host)["HostConfig"]
            assert (host["Memory"], host["NanoCpus"]) == (64 * 2**20, 5 * 10**8)
            assert host["NetworkMode"] == "apart"
            assert "here is serves" in provider.logs()
    finally:
        docker_host.docker("network", "rm", "apart")


@pytest.mark.usefixtures("environment_image")
def test_a_container_asks_for_the_key_of_its_client(docker_host: Engine) -> None:
    env = gym.make("openenv/remote", image="openenv-my-env", api_key="sesame")
    env.reset()
    schema = f"{env.unwrapped.endpoint.base_url}/schema"  # type: ignore[attr-defined]
    assert (status_of(schema)[0], status_of(schema, key="sesame")[0]) == (401, 200)
    config = inspect(docker_host)["Config"]
    assert "OPENENV_API_KEY=sesame" in config.pop("Env")  # type: ignore[operator, attr-defined]
    assert "sesame" not in json.dumps(config)  # labels and command among it
    env.close()
    with GenericEnvClient.from_docker_image("openenv-my-env", api_key="sesame") as client:
        client.reset()
        assert status_of(f"{client.endpoint}/schema")[0] == 401


@pytest.mark.usefixtures("environment_image")
@pytest.mark.parametrize(
    ("command", "said"), [(["kill"], "with exit code 137"), (["rm", "--force"], "was removed")]
)
def test_a_container_that_ends_in_use_is_said(docker_host: Engine, command: list[str], said: str) -> None:
    env = gym.make("openenv/remote", image="openenv-my-env")
    env.reset()
    with GenericEnvClient.from_docker_image("openenv-my-env") as client:
        client.reset()
        docker_host.docker(*command, *docker_host.docker("ps", "--quiet").split())
        with pytest.raises(ServerEndedError, match=f"The container .* {said}"):
            env.step(env.action_space.sample())
        with pytest.raises(ServerEndedError, match=f"The container .* {said}"):
            client.step({"command": "hello"})
    with pytest.raises(ServerEndedError, match=said):
        env.reset()
    env.close()


def test_the_port_is_published_on_loopback_alone(docker_host: Engine) -> None:
    with DockerProvider("small-serves") as provider:
        ports = inspect(docker_host)["NetworkSettings"]["Ports"]
        assert isinstance(ports, dict)
        assert [binding["HostIp"] for binding in ports["8000/tcp"]] == ["127.0.0.1"]
        assert provider.base_url == f"http://127.0.0.1:{ports['8000/tcp'][0]['HostPort']}"


def test_a_container_that_ends_shows_its_last_words() -> None:
    with pytest.raises(ConfigurationError, match=r"with exit code 3\.[^$]*here is ends"):
        DockerProvider("small-ends").launch()


def test_a_container_that_does_not_get_healthy_shows_its_last_words() -> None:
    with pytest.raises(DeadlineExceededError, match=r"not ready within 2 s[^$]*here is waits"):
        DockerProvider("small-waits", ready_timeout_s=2).launch()


def test_what_cannot_be_mounted_or_joined_is_said() -> None:
    with pytest.raises(ConfigurationError, match="/nowhere does not exist"):
        DockerProvider("small-serves", volumes={"/nowhere": "/data"})
    with pytest.raises(ConfigurationError, match="'none' publishes no port"):
        DockerProvider("small-serves", network="none").launch()
    with pytest.raises(DockerError, match="network elsewhere not found"):
        DockerProvider("small-serves", network="elsewhere").launch()


def test_an_image_that_is_nowhere_says_where_it_was_looked_for(registry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not on this machine and cannot be pulled.*openenv build"):
        DockerProvider(f"{registry}/nowhere:latest").launch()


def test_an_image_that_is_not_here_is_pulled(docker_host: Engine, registry: str) -> None:
    image = f"{registry}/small:latest"
    docker_host.docker("tag", "small-serves", image)
    docker_host.docker("push", image)
    with running_engine() as other, pytest.MonkeyPatch.context() as patch:
        for name, value in other.variables.items():
            patch.setenv(name, value)
        assert other.docker("image", "ls", "--quiet") == ""
        with DockerProvider(image) as provider:
            assert health(provider)["status"] == "healthy"


def test_no_engine_is_a_sentence_with_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, docker_host: Engine
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
        with pytest.raises(ConfigurationError, match=r"No Docker engine responds.*apt-get install docker"):
            GenericEnvClient.from_docker_image("small-serves").sync()


@pytest.mark.usefixtures("environment_image")
def test_a_client_and_an_environment_of_an_image_end_their_containers(docker_host: Engine) -> None:
    with GenericEnvClient.from_docker_image(
        "openenv-my-env", env_vars={"A": "b"}, message_timeout_s=9
    ) as client:
        client.reset()
        assert client.step({"command": "hello"}).reward == 1.0
    assert docker_host.docker("ps", "--all", "--quiet") == ""
    envs = gym.make_vec("openenv/remote", 70, image="openenv-my-env", provider_options={"cpus": 1})
    envs.reset()
    assert len(docker_host.docker("ps", "--quiet").splitlines()) == 1
    envs.close()


@pytest.mark.usefixtures("environment_image")
def test_a_registered_image_is_made(docker_host: Engine, tmp_path: Path) -> None:
    variables = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    assert openenv("register", "boxed", "--image", "openenv-my-env", env=variables).returncode == 0
    code = (
        "import gymnasium, openenv_gym; e = gymnasium.make('openenv/boxed'); print(e.reset()[0]); e.close()"
    )
    made = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def test_a_run_that_was_killed_leaves_a_container_that_ps_finds_and_stop_removes() -> None:
    code = (
        "import time; from openenv_gym.providers.docker import DockerProvider\n"
        "provider = DockerProvider('small-serves'); provider.launch(); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    with (
        DockerProvider("small-serves") as mine,
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run,
    ):
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        run.kill()
        run.wait()
        rows = [line.split("\t") for line in openenv("ps").stdout.splitlines()]
        by_run = {row[4]: row for row in rows}
        host = socket.gethostname()
        assert set(by_run) == {
            f"process {os.getpid()} on {host}",
            f"process {run.pid} on {host}, which is gone",
        }
        assert by_run[f"process {os.getpid()} on {host}"][3] == mine.base_url
        orphan = by_run[f"process {run.pid} on {host}, which is gone"]
        assert orphan[1:3] == ["small-serves", "running"]
        stopped = openenv("stop", orphan[0])
        assert (stopped.returncode, stopped.stdout) == (0, f"{orphan[0]}\n")
        mine.check()
    assert openenv("ps").stdout == ""


@pytest.mark.usefixtures("environment_image")
@pytest.mark.parametrize("end", ["", "1 / 0", "import os, signal; os.kill(os.getpid(), signal.SIGINT)"])
def test_a_run_that_ends_without_close_leaves_no_container(docker_host: Engine, end: str) -> None:
    code = (
        "import gymnasium as gym, openenv_gym\n"
        "envs = gym.make_vec('openenv/remote', 2, image='openenv-my-env', replicas=2); envs.reset()\n"
        f"print('up'); {end}"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout == "up\n"
    assert docker_host.docker("ps", "--all", "--quiet") == ""
    assert "cannot schedule" not in ended.stderr


def test_a_container_that_drains_for_long_is_given_the_time(docker_host: Engine, tmp_path: Path) -> None:
    slow = DockerProvider("small-drains", env_vars={"DRAIN_TIMEOUT": "13"}, volumes={str(tmp_path): "/told"})
    begin = time.monotonic()
    with slow:
        pass
    assert time.monotonic() - begin > 12
    assert (tmp_path / "drained").exists()


def test_one_that_cannot_be_removed_does_not_keep_the_others(docker_host: Engine) -> None:
    with DockerProvider("small-serves", replicas=2) as provider:
        docker_host.docker("rm", "--force", provider._names[0])
    assert docker_host.docker("ps", "--all", "--quiet") == ""


def test_a_docker_context_that_is_not_there_is_said(
    docker_host: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("DOCKER_HOST")
        patch.setenv("DOCKER_CONTEXT", "elsewhere")
        with pytest.raises(ConfigurationError, match="Docker has no context 'elsewhere'"):
            DockerProvider("small-serves").start()


def test_a_container_that_a_killed_validation_left_is_found_too() -> None:
    container = Container("left-by-validate", find_docker())
    container.start("small-serves", 8000)
    try:
        (row,) = openenv("ps").stdout.splitlines()
        assert row.split("\t")[:4] == [container.name, "small-serves", "running", container.base_url]
    finally:
        container.remove()


def test_stop_removes_all_of_ours_and_no_others(docker_host: Engine) -> None:
    other = docker_host.docker("run", "--detach", "--name", "other", "small-serves")
    provider = DockerProvider("small-serves", replicas=2)
    provider.start()
    refused = openenv("stop", "other")
    assert refused.returncode == 2
    assert "openenv_gym did not start a container named" in refused.stderr
    assert openenv("stop").returncode == 2
    stopped = openenv("stop", "--all")
    assert len(stopped.stdout.splitlines()) == 2, stopped.stderr
    assert docker_host.docker("ps", "--all", "--quiet", "--no-trunc") == other
    docker_host.docker("rm", "--force", "other")
    provider.stop()  # its containers are gone already


def test_stop_goes_on_where_one_cannot_be_removed(docker_host: Engine) -> None:
    provider = DockerProvider("small-serves", replicas=3)
    provider.start()
    stuck, *others = provider._names
    store = Path(docker_host.host.removeprefix("unix://")).parent / "data"
    kept = store / "containers" / docker_host.docker("inspect", "--format", "{{.Id}}", stuck) / "kept"
    kept.touch()
    if subprocess.run(["chattr", "+i", kept], check=False).returncode != 0:
        pytest.skip("no file can be made immutable here")
    try:
        stopped = openenv("stop", stuck, *others)
    finally:
        subprocess.run(["chattr", "-i", kept], check=True)
    assert stopped.returncode == 1
    assert stopped.stdout.splitlines() == others
    assert f"Error: {stuck} was not removed: " in stopped.stderr
    again = openenv("stop", "--all")
    assert (again.returncode, again.stdout) == (0, f"{stuck}\n")
    provider.stop()


def test_ctrl_c_at_any_time_leaves_no_container() -> None:
    code = (
        "import sys, time; from openenv_gym.providers.docker import DockerProvider\n"
        "provider = DockerProvider('small-waits', replicas=2); print('up', flush=True); provider.launch()"
    )
    for delay_s in (0.0, 0.4, 0.8):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "up\n"
            try:
                run.wait(delay_s)
            except subprocess.TimeoutExpired:
                run.send_signal(2)
            run.wait()
        wait_for(lambda: openenv("ps").stdout == "", 5)
