"""`openenv serve`: its settings, its address, and how it is served anew."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from openenv_server.settings import Settings

OPENENV = [sys.executable, "-m", "openenv_cli"]
SERVE = [*OPENENV, "serve", "--gym", "CartPole-v1"]


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **env}
    )


@pytest.mark.integration
def test_the_help_names_each_setting_and_its_default() -> None:
    shown = " ".join(run(*OPENENV, "serve", "--help").stdout.split())
    for name in Settings.model_fields:
        assert f" {name.upper()}: " in shown
    assert "PORT: the port; 0 takes a free one; default: 8000" in shown


BAD = {
    "HOST": "nowhere.invalid",
    "PORT": "http",
    "LIVE_PORT": "0",
    "MAX_CONCURRENT_ENVS": "0",
    "SESSION_TIMEOUT": "-1",
    "RESUME_GRACE": "long",
    "STEP_TIMEOUT": "0",
    "ENABLE_WEB_INTERFACE": "perhaps",
    "OPENENV_MODE": "training",
    "OPENENV_API_KEY": "two words",
    "OPENENV_API_KEY_FILE": "/nowhere/keys",
    "OPENENV_API_KEY_HEADER": "two words",
    "OPENENV_METRICS_KEY": "two words",
    "ALLOWED_ORIGINS": "[1",
    "ALLOWED_HOSTS": "env.example:80",
    "MAX_MESSAGE_BYTES": "1e",
    "MAX_SLOTS_PER_SOCKET": "0",
    "MAX_SOCKETS_PER_ADDRESS": "many",
    "REQUEST_TIMEOUT": "0",
    "FORWARDED_ALLOW_IPS": "gateway",
    "ROOT_PATH": "envs chess",
    "DRAIN_TIMEOUT": "nan",
    "LOG_FORMAT": "xml",
    "LOG_LEVEL": "loud",
}


@pytest.mark.parametrize("variable", BAD)
def test_a_bad_variable_is_a_sentence_that_names_it(variable: str) -> None:
    assert set(BAD) == {name.upper() for name in Settings.model_fields}
    failed = run(*SERVE, "--port", "0", **{variable: BAD[variable]})
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.startswith("Error: ")
    assert variable in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("command", ["list", "info", "spaces", "bench", "play"])
def test_a_bad_key_is_said_once_by_those_who_show_it(command: str) -> None:
    target = [] if command == "list" else ["http://127.0.0.1:9"]
    failed = run(*OPENENV, command, *target, OPENENV_API_KEY="two words")
    assert failed.returncode == 2
    assert failed.stderr.count("$OPENENV_API_KEY is not a key") == 1
    assert "two words" not in failed.stderr


@pytest.mark.integration
@pytest.mark.parametrize("variable", ["OPENENV___URL", "OPENENV_A_URL"])
def test_a_bad_name_or_address_in_a_variable_is_no_traceback(variable: str) -> None:
    listed = run(*OPENENV, "list", **{variable: "no url"})
    assert listed.returncode == 0
    assert "Traceback" not in listed.stderr
    assert variable in listed.stderr + listed.stdout


@pytest.mark.parametrize("host", ["8.8.8.8", "nowhere.invalid", "a..b"])
def test_a_host_that_is_not_of_this_machine_is_refused(host: str) -> None:
    failed = run(*SERVE, "--host", host)
    assert failed.returncode == 2
    assert f"Cannot listen on {host}: " in failed.stderr


APP = """
from openenv_server import Action, Environment, Observation, State, create_app

class Nothing(Action):
    pass

class Said(Observation):
    said: str

class Sayer(Environment):
    \"\"\"{description}\"\"\"
    def reset(self, seed=None):
        return Said(said="")
    def step(self, action: Nothing):
        return Said(said="")
    @property
    def state(self):
        return State()

app = create_app(Sayer, Nothing, Said)
"""


@pytest.fixture
def reloading(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """The file of an application that is served anew when it changes, and the process that does."""
    app = tmp_path / "app.py"
    app.write_text(APP.format(description="First"))
    (tmp_path / "openenv.yaml").write_text("name: sayer\napp: app:app\n")
    server = subprocess.Popen(
        [*OPENENV, "serve", str(tmp_path), "--reload", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield app, server
    server.terminate()
    server.communicate(timeout=30)


def description(url: str) -> str:
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=30) as answer:
        return str(answer.read().decode())


def test_a_change_is_served_at_the_same_address(
    reloading: tuple[Path, subprocess.Popen[str]],
) -> None:
    app, server = reloading
    assert server.stdout is not None
    assert server.stderr is not None
    url = server.stdout.readline().strip()
    assert "First" in description(url)
    app.write_text(APP.format(description="Second"))
    assert "Reloaded after a change" in server.stderr.readline()
    assert "Second" in description(url)

    app.write_text("this is no Python")
    assert "SyntaxError" in server.stderr.readline()
    assert "Reloading again when a file changes" in server.stderr.readline()
    app.write_text(APP.format(description="Third"))
    assert "Reloaded after a change" in server.stderr.readline()
    assert "Third" in description(url)
    server.terminate()
    assert server.wait(timeout=30) == 0


def test_reload_is_for_a_folder_and_one_process() -> None:
    for arguments in (["--gym", "CartPole-v1"], ["tests/faults/author", "--workers", "2"]):
        failed = run(*OPENENV, "serve", *arguments, "--reload")
        assert failed.returncode == 2
        assert "--reload requires a folder" in failed.stderr


def test_the_published_server_is_for_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "app.py").write_text("raise AssertionError('imported')\n")
    for options, said in [
        ([str(tmp_path)], "The published package is not installed here"),
        (["--app", "server.app:app"], "The published package is not installed here"),
        (["--gym", "CartPole-v1"], "--server published serves a folder or --app, not --gym"),
    ]:
        failed = run(*OPENENV, "serve", *options, "--server", "published", "--port", "0")
        assert failed.returncode == 2
        assert said in failed.stderr
        assert "Traceback" not in failed.stderr
