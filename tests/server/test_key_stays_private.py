"""The key of a server is neither in its log nor in the environment variables of what environments start."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import websocket
from openenv_server.security.secrets import SecretFilter

from openenv_gym import GenericEnvClient, RemoteEnv
from openenv_gym.process_key import keep_secrets, process_key
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.providers.server_command import ServerCommand
from openenv_gym.wire.bearer import SECRETS
from tests.support.engine import free_port
from tests.support.servers import status_of
from tests.support.waiting import wait_for

KEY = "sesame-4711\"'\\%&"
WRONG_KEY = "wrong-4712"
VARIABLE = "OPENENV_API_KEY"

# Starts a process at every place where an environment may, and shows what the process finds.
SPY = """
import json
import os
import subprocess
import sys

from openenv_server import Action, Environment, Observation, State, create_app

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def variables():
    child = subprocess.run([sys.executable, "-c", SHOW], stdout=subprocess.PIPE, check=True)
    return {**json.loads(child.stdout), "own": dict(os.environ)}


class Look(Action):
    pass


class Seen(Observation):
    found: list[str]


class Spy(Environment[Look, Seen, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        super().__init__()
        self.found = [json.dumps(variables())]

    def reset(self, seed=None):
        return Seen(found=[*self.found, json.dumps(variables())])

    def step(self, action):
        raise RuntimeError("could not use " + os.environ["TOLD"])

    @property
    def state(self):
        return State()


app = create_app(Spy, Look, Seen)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "openenv.yaml").write_text("name: spy\napp: spy:app\n")
    (tmp_path / "spy.py").write_text(SPY)
    return tmp_path


COMMANDS = {
    "serve": ["openenv_cli", "serve", "."],
    "workers": ["openenv_cli", "serve", ".", "--workers", "2"],
    "reload": ["openenv_cli", "serve", ".", "--reload"],
    "app": ["openenv_cli", "serve", "--app", "spy:app"],
    "module": ["openenv_server", "."],
    "uvicorn": ["uvicorn", "spy:app", "--log-level", "debug"],
}


@contextmanager
def serving(folder: Path, command: str, **variables: str) -> Iterator[tuple[str, Path]]:
    """Run a server's command; yield its address and its log."""
    port, log = free_port(), folder / "log"
    arguments = [sys.executable, "-m", *COMMANDS[command]]
    if command == "uvicorn":
        arguments += ["--port", str(port)]
    (folder / "keys").write_text("sesame-of-a-file\n")
    secrets = {VARIABLE: KEY, f"{VARIABLE}_FILE": str(folder / "keys"), "OPENENV_METRICS_KEY": "sesame-3"}
    assert set(secrets) == set(SECRETS)
    environment = {**os.environ, **secrets, "PORT": str(port), "TOLD": KEY, **variables}
    with log.open("wb") as file:
        server = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=file, stderr=file)
        base_url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: server.poll() is not None or answers(base_url), 150)
            assert server.poll() is None, log.read_text()
            yield base_url, log
        finally:
            server.terminate()
            server.wait(timeout=20)


def answers(base_url: str) -> bool:
    try:
        return status_of(f"{base_url}/health")[0] == 200
    except OSError:
        return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", COMMANDS)
def test_processes_of_an_environment_have_no_key(folder: Path, command: str) -> None:
    with serving(folder, command) as (base_url, _):
        for _ in range(6):  # so that each worker answers
            assert status_of(f"{base_url}/reset", {})[0] == 401
            status, answer = status_of(f"{base_url}/reset", {}, key=KEY)
            assert status == 200
            for found in answer["observation"]["found"]:
                seen = json.loads(found)
                assert "PATH" in seen
                assert not [name for name in SECRETS if name in seen or name in seen["own"]]
        with GenericEnvClient(base_url, api_key=KEY) as client:
            assert VARIABLE not in json.loads(client.reset().observation["found"][0])


def test_servers_of_a_provider_get_the_key_and_their_environments_do_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with ProcessProvider(str(folder)) as server, GenericEnvClient(server.base_url) as client:
        assert status_of(f"{server.base_url}/reset", {})[0] == 401
        for found in client.reset().observation["found"]:
            assert VARIABLE not in json.loads(found)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_has_no_key_even_at_debug(folder: Path, log_format: str) -> None:
    with serving(folder, "serve", LOG_LEVEL="debug", LOG_FORMAT=log_format) as (base_url, log):
        use(base_url)
        assert_hidden(log)


def test_the_log_of_plain_uvicorn_has_no_key_even_at_debug(folder: Path) -> None:
    with serving(folder, "uvicorn") as (base_url, log):
        use(base_url)
        wait_for(lambda: "authorization: ***" in log.read_text().lower(), 10)
        assert_hidden(log, where=lambda text: text.partition("Traceback")[0])


def use(base_url: str) -> None:
    """Send keys in every way, right and wrong ones, and let the environment write one."""
    env = RemoteEnv(base_url, api_key=KEY)
    env.reset()
    env.close()
    for key in (KEY, WRONG_KEY):
        with closing(connect(base_url, key)) if key == KEY else pytest.raises(websocket.WebSocketException):
            if key != KEY:
                connect(base_url, key)
        status_of(f"{base_url}/step", {"action": {}}, key=key)
        status_of(f"{base_url}/schema?key=sesame-4711%22%27%5C%25%26", key=key)


def connect(base_url: str, key: str) -> websocket.WebSocket:
    headers = [f"Authorization: Bearer {key}", f"Cookie: session={WRONG_KEY}"]
    return websocket.create_connection(f"ws{base_url[4:]}/ws", header=headers, timeout=10)


def assert_hidden(log: Path, where: object = None) -> None:
    time.sleep(0.5)
    text = log.read_text()
    shown = where(text) if callable(where) else text
    assert "***" in shown
    for hidden in ("sesame", WRONG_KEY):
        assert hidden not in shown, shown[max(0, shown.index(hidden) - 300) : shown.index(hidden) + 50]
    if where is None:
        assert "could not use ***" in text


# --- its parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logged", "shown"),
    [
        ("< Authorization: Bearer abc def", "< Authorization: ***"),
        ("{'authorization': 'Bearer abc', 'x': 'y'}", "{'authorization': '***', 'x': 'y'}"),
        ("[(b'cookie', b'a=b'), (b'x', b'y')]", "[(b'cookie', b'***'), (b'x', b'y')]"),
        ('{"Proxy-Authorization": "Basic abc"}', '{"Proxy-Authorization": "***"}'),
        ("headers= has an Authorization. Pass that", "headers= has an Authorization. Pass that"),
        (f"a {KEY} b {json.dumps(KEY)} c {KEY!r}", "a *** b \"***\" c '***'"),
        ("nothing", "nothing"),
    ],
)
def test_what_is_hidden(logged: str, shown: str) -> None:
    hiding = SecretFilter()
    hiding.hide(KEY)
    for record in (
        logging.makeLogRecord({"msg": logged}),
        logging.makeLogRecord({"msg": "%s", "args": (logged,)}),
    ):
        hiding.filter(record)
        assert record.getMessage() == shown


def test_tracebacks_are_hidden_too() -> None:
    hiding = SecretFilter()
    hiding.hide("sesame")
    try:
        raise ValueError("no sesame")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    hiding.filter(record)
    assert "ValueError: no ***" in logging.Formatter().format(record)
    assert "sesame" not in logging.Formatter().format(record).replace('"no sesame"', "")


def test_a_kept_key_is_this_processs_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sesame")
    try:
        keep_secrets({VARIABLE: process_key() or ""})
        assert VARIABLE not in os.environ
        assert process_key() == "sesame"
        # A server that an environment starts in turn requires the key that a client here sends.
        command = ServerCommand(gym="CartPole-v1").resolve("127.0.0.1")
        assert command.environment()[VARIABLE] == "sesame"
        assert VARIABLE not in ServerCommand(gym="CartPole-v1", api_key="").resolve("127.0.0.1").environment()
    finally:
        keep_secrets({})
    assert process_key() is None
