"""With ``LOG_FORMAT=json`` each line of both streams is JSON, and what environments say has their session."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import websocket
from openenv_server import create_app, gymnasium_factory
from openenv_server.operations.logs import JsonFormatter
from openenv_server.operations.streams import LogStream

from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.errors import RemoteError
from tests.support.servers import running, status_of

# An environment that writes in all the ways that there are.
TALKER = """
import logging
import sys
import threading
import warnings

from openenv_server import Action, Environment, Observation, State, create_app

print("on import")


class Say(Action):
    how: str = "print"


class Said(Observation):
    pass


class Talker(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        print("made")

    def reset(self):
        print("reset", end="", flush=True)
        return Said()

    def step(self, action):
        match action.how:
            case "print":
                print("two", "lines\\nof \\"it\\"")
            case "stderr":
                print("to stderr", file=sys.stderr)
            case "bytes":
                sys.stdout.buffer.write(b"as bytes\\n")
            case "log":
                logging.getLogger("author").warning("logged")
            case "warn":
                warnings.warn("warned")
            case "handler":
                own = logging.getLogger("own")
                own.propagate = False
                own.addHandler(logging.StreamHandler())
                own.warning("by an own handler")
            case "raise":
                raise RuntimeError("raised")
        return Said()

    @property
    def state(self):
        return State()

    def close(self):
        print("closed")


class AsyncTalker(Talker):
    async def step_async(self, action):
        return self.step(action)


app = create_app(Talker, Say, Said)
async_app = create_app(AsyncTalker, Say, Said)
"""
WAYS = ("print", "stderr", "bytes", "log", "warn", "handler", "raise")
SAID = {
    *("made", "reset", "two lines", 'of "it"', "to stderr", "as bytes"),
    *("logged", "by an own handler", "closed"),
}


def over_v1(base_url: str) -> None:
    socket = websocket.create_connection(base_url.replace("http", "ws") + "/ws", timeout=5)
    for request in ({"type": "reset"}, *({"type": "step", "data": {"how": how}} for how in WAYS)):
        socket.send(json.dumps(request))
        socket.recv()
    socket.close()


def over_v2(base_url: str) -> None:
    with GenericEnvClient(base_url) as client:
        client.reset()
        for how in WAYS[:-1]:
            client.step({"how": how})
        with pytest.raises(RemoteError):
            client.step({"how": WAYS[-1]})


@pytest.mark.parametrize("name", ["app", "async_app"])
@pytest.mark.parametrize("command", ["openenv serve", "python -m openenv_server"])
def test_each_line_is_json_and_what_an_environment_says_has_its_session(
    command: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "openenv.yaml").write_text(f"name: talker\napp: talker:{name}\n")
    (tmp_path / "talker.py").write_text(TALKER)
    module = ["openenv_cli", "serve"] if command == "openenv serve" else ["openenv_server"]
    with subprocess.Popen(
        [sys.executable, "-m", *module, str(tmp_path)],
        env={**os.environ, "LOG_FORMAT": "json", "LOG_LEVEL": "INFO", "PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        over_v1(ready["url"])
        over_v2(ready["url"])
        status_of(f"{ready['url']}/reset", {})
        for path in ("health?probe=1", "metrics", "schema", "no/health"):
            with suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{ready['url']}/{path}", timeout=5).close()
        process.send_signal(signal.SIGTERM)
        output, log = process.communicate(timeout=20)
    assert not output
    records = [json.loads(line) for line in log.splitlines()]
    assert ready["message"] == f"listening at {ready['url']}"
    said: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record["message"] in SAID:
            assert record["client"]
            said[record["session"]].add(record["message"])
    assert list(said.values()) == [SAID, SAID, {"made", "reset", "closed"}]
    opened = [record["session"] for record in records if record.get("event") == "opened"]
    assert opened == list(said)
    assert any(record["logger"] == "py.warnings" and record["session"] for record in records)
    assert {record["logger"] for record in records if record["message"] in ("on import", "made")} == {
        "stdout"
    }
    requests = [record["message"] for record in records if record["logger"] == "uvicorn.access"]
    # Probes and scrapes are left out, unless they fail.
    assert [request.split()[3] for request in requests if "GET" in request] == ["/schema", "/no/health"]


class Logger(gym.Env[Any, Any]):
    """Logs its own name in each step."""

    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, Any]:
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        logging.getLogger("author").info("%d", id(self))
        return 0, 0.0, False, False, {}


def test_fast_slots_of_one_thread_are_told_apart() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    author = logging.getLogger("author")
    author.addHandler(handler)
    author.setLevel(logging.INFO)
    factory, models = gymnasium_factory(Logger)
    try:
        with running(create_app(factory, models.action, models.observation)) as base_url:
            envs = RemoteVectorEnv(base_url, 3)
            envs.reset()
            for _ in range(20):
                envs.step(np.zeros(3, int))
            envs.close()
    finally:
        author.removeHandler(handler)
    records = [json.loads(line) for line in written.getvalue().splitlines()]
    assert len(records) == 60
    assert len({record["session"] for record in records}) == 3
    assert len({(record["session"], record["message"]) for record in records}) == 3


def test_a_handler_that_fails_does_not_call_itself_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("cannot write", file=stream)
            raise ZeroDivisionError

    real = io.StringIO()
    stream = LogStream("stdout", real, Broken())
    with pytest.raises(ZeroDivisionError):
        print("a line", file=stream)
    assert real.getvalue() == "cannot write\n"
