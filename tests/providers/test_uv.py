"""`UVProvider` runs projects with uv, as published code uses it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from openenv.core.containers.runtime import RuntimeProvider, UVProvider
from openenv.core.containers.runtime.uv_provider import UVProvider as SameProvider
from openenv_gym import GenericEnvClient
from openenv_gym.errors import DeadlineExceededError, ProviderError

pytestmark = pytest.mark.skipif(shutil.which("uv") is None, reason="there is no uv")

PROJECT = """\
[project]
name = "teller"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["iniconfig", "openenv-gym[server]"]

[tool.uv]
package = false

[tool.uv.sources]
openenv-gym = {{ path = "{root}", editable = true }}
"""
APP = """\
import os

import iniconfig
from openenv_server import Action, Environment, Observation, State, create_app


class Ask(Action):
    pass


class Told(Observation):
    word: str
    pid: int


class Teller(Environment):
    def reset(self):
        return Told(word=os.environ.get("WORD", ""), pid=os.getpid())

    def step(self, action):
        return self.reset()

    @property
    def state(self):
        return State()


app = create_app(Teller, Ask, Told)
broken = None / 2 if os.environ.get("BREAK") else None
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "teller"
    (folder / "server").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(root=Path(__file__).parents[2]))
    (folder / "server" / "__init__.py").touch()
    (folder / "server" / "app.py").write_text(APP)
    return folder


def is_open(base_url: str) -> bool:
    host, _, port = base_url.removeprefix("http://").partition(":")
    with socket.socket() as connection:
        return connection.connect_ex((host, int(port))) == 0


def test_a_project_is_served_with_its_packages_and_stopped(project: Path) -> None:
    assert SameProvider is UVProvider
    provider = UVProvider(project_path=str(project), env_vars={"WORD": "first", "OTHER": "x"})
    assert isinstance(provider, RuntimeProvider)
    base_url = provider.start(env_vars={"WORD": "second"})
    try:
        assert base_url == provider.base_url
        assert base_url.startswith("http://127.0.0.1:")
        provider.wait_for_ready(timeout_s=60)
        with GenericEnvClient(base_url) as client:
            assert client.reset().observation["word"] == "second"
        with pytest.raises(RuntimeError, match="is served already"):
            provider.start()
    finally:
        provider.stop()
    provider.stop()
    assert not is_open(base_url)
    with pytest.raises(RuntimeError, match="is not started"):
        _ = provider.base_url


def test_a_client_starts_it_and_stops_it(project: Path) -> None:
    provider = UVProvider(project_path=str(project), env_vars={"WORD": "said"})
    with GenericEnvClient(provider=provider) as client:
        assert client.reset().observation["word"] == "said"
        base_url = provider.base_url
    assert not is_open(base_url)


def test_a_clone_is_served_at_a_port_by_several_workers_and_removed(project: Path, tmp_path: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = UVProvider(project_path=f"git+file://{project}", host="0.0.0.0")
    base_url = provider.start(port=port, workers=2)
    assert base_url == f"http://127.0.0.1:{port}"
    clone = Path(provider._started().server.name)
    try:
        assert clone != project
        provider.wait_for_ready()
        with GenericEnvClient(base_url) as client:
            assert client.reset().observation["pid"] != os.getpid()
    finally:
        provider.stop()
    assert not clone.exists()
    assert not is_open(base_url)


def test_what_ends_says_why(project: Path) -> None:
    provider = UVProvider(project_path=str(project), env_vars={"BREAK": "1"})
    provider.start()
    with pytest.raises(RuntimeError, match="unsupported operand"):
        provider.wait_for_ready()
    provider.stop()


def test_what_is_too_slow_is_a_timeout(project: Path) -> None:
    with UVProvider(project_path=str(project), context_timeout_s=0.01) as provider:
        with pytest.raises(TimeoutError) as raised:
            provider.wait_for_ready()
        assert isinstance(raised.value, DeadlineExceededError)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/no/such/folder", "No such folder: /no/such/folder"),
        ("git+file:///no/such/repository", "git cannot clone file:///no/such/repository"),
    ],
)
def test_what_cannot_be_started_is_a_runtime_error(path: str, message: str) -> None:
    provider = UVProvider(project_path=path)
    with pytest.raises(RuntimeError, match=message) as raised:
        provider.start()
    assert isinstance(raised.value, ProviderError)
    assert provider._clone is None


def test_a_port_in_use_is_a_runtime_error(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"No server can listen on port {port} of 127.0.0.1"):
            UVProvider(project_path=str(project)).start(port=port)


def test_without_uv_it_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    with pytest.raises(RuntimeError, match="The program uv is not installed"):
        UVProvider(project_path=".")


def test_unknown_options_are_reported(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    provider = UVProvider(project_path=str(project))
    provider.start(memory="2g", tag="latest")
    provider.stop()
    assert "UVProvider ignores unknown options: memory, tag" in caplog.text
