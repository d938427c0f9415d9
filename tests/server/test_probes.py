"""Live and ready: what an orchestrator asks, and what it is told while an environment misbehaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from openenv_server import create_app
from openenv_server.operations import live_port
from openenv_server.sessions import capacity

from openenv_gym import GenericEnvClient
from openenv_gym.errors import OpenEnvError
from tests.support.engine import free_port
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.processes import ServerProcess, serving, serving_sleeper
from tests.support.servers import running, status_of
from tests.support.waiting import wait_for

# An environment whose step keeps the interpreter for itself, as a computation in C may.
HOLDER = """
import ctypes
import os

from openenv_server import Action, Environment, Observation, State, create_app

class Hold(Action):
    seconds: int

class Held(Observation):
    pid: int

class Holder(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed=None):
        return Held(pid=os.getpid())

    def step(self, action: Hold):
        ctypes.PyDLL(None).sleep(action.seconds)
        return Held(pid=os.getpid())

    @property
    def state(self):
        return State()

app = create_app(Holder, Hold, Held)
"""


def app(factory: Any = Counter, **keywords: Any) -> Any:
    return create_app(factory, CountAction, CountObservation, **keywords)


def probe(url: str) -> int:
    """The status that a probe with a timeout of 1 s gets; 0 if it gets none."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_full_server_is_ready_unless_asked_for_room() -> None:
    with running(app(max_concurrent_envs=1)) as base_url:
        for query in ("", "?full=503", "?full=200"):
            assert status_of(f"{base_url}/ready{query}") == (200, {"status": "ready", "reasons": []})
        with GenericEnvClient(base_url) as client:
            client.reset()
            assert status_of(f"{base_url}/ready")[0] == 200
            assert status_of(f"{base_url}/ready?full=503") == (
                503,
                {"status": "not ready", "reasons": ["all sessions are taken"]},
            )
            assert status_of(f"{base_url}/live") == (200, {"status": "live"})
        assert status_of(f"{base_url}/ready?full=no")[0] == 422


def test_a_server_is_not_ready_while_it_drains(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path) as server, GenericEnvClient(server.base_url) as client:
        client.reset()
        stepping = threading.Thread(target=lambda: client.step({"seconds": 1.5}))
        stepping.start()
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        seen = set()
        while stepping.is_alive():
            if (status := probe(f"{server.base_url}/ready")) == 503:
                assert probe(f"{server.base_url}/live") in (200, 0)
            seen.add(status)
            time.sleep(0.05)
        assert 503 in seen
        assert server.ends()[0] == 0


def test_a_factory_that_fails_recovers_without_a_client(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capacity, "FIRST_PAUSE_S", 0.1)
    tries: list[float] = []
    is_broken = False

    class Sharing(Counter):
        SUPPORTS_CONCURRENT_SESSIONS = True
        closed = 0

        def close(self) -> None:
            Sharing.closed += 1

    def factory() -> Counter:
        tries.append(time.monotonic())
        if is_broken:
            raise OSError("no display")
        return Sharing()

    with running(app(factory)) as base_url, GenericEnvClient(base_url) as first:
        first.reset()
        is_broken = True
        for _ in range(3):
            assert status_of(f"{base_url}/ready")[0] == 200
            with pytest.raises(OpenEnvError), GenericEnvClient(base_url) as client:
                client.reset()
        status, found = status_of(f"{base_url}/ready")
        assert (status, found["status"]) == (503, "not ready")
        assert found["reasons"][0].endswith("environments could not be made")
        assert status_of(f"{base_url}/live")[0] == 200
        wait_for(lambda: len(tries) >= 7, 10)
        pauses = [later - earlier for earlier, later in pairwise(tries[3:])]
        assert pauses[0] >= 0.09
        assert pauses[1] >= 0.18
        assert pauses[2] >= 0.36
        assert first.step({"amount": 2}).observation["total"] == 2  # a session that runs is not touched
        is_broken = False
        wait_for(lambda: status_of(f"{base_url}/ready")[0] == 200, 10)
        made = len(tries)
        assert status_of(f"{base_url}/health")[1]["reasons"] == []
        assert re.search(r"can be made again, after \d+ failures", caplog.text)
        with GenericEnvClient(base_url) as client:
            client.reset()
        assert len(tries) == made  # it got the one that was made
    assert Sharing.closed == 2


def test_an_environment_that_was_made_again_is_closed_when_the_server_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "FIRST_PAUSE_S", 0.1)
    is_broken, closed = False, []

    class Closing(Counter):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def close(self) -> None:
            closed.append(self)

    def factory() -> Counter:
        if is_broken:
            raise OSError("no display")
        return Closing()

    with running(app(factory)) as base_url:
        with GenericEnvClient(base_url) as client:
            client.reset()
        is_broken = True
        for _ in range(3):
            assert status_of(f"{base_url}/reset", {})[0] == 500
        is_broken = False
        wait_for(lambda: status_of(f"{base_url}/ready")[0] == 200, 10)
        assert len(closed) == 1
    assert len(closed) == 2


# --- LIVE_PORT --------------------------------------------------------------------------------------------


@contextmanager
def holding(folder: Path, *arguments: str) -> Iterator[tuple[ServerProcess, str]]:
    """Serve `HOLDER` with a `LIVE_PORT`; yield the server and the URL of the probe."""
    (folder / "openenv.yaml").write_text("name: holder\napp: holder:app\n")
    (folder / "holder.py").write_text(HOLDER)
    port = free_port()
    with serving(folder / "closed", str(folder), *arguments, LIVE_PORT=str(port)) as server:
        yield server, f"http://127.0.0.1:{port}/live"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_holds_the_interpreter_is_live(tmp_path: Path, workers: int) -> None:
    with holding(tmp_path, *(["--workers", "2"] if workers == 2 else [])) as (server, live):
        wait_for(lambda: probe(live) == 200, 5)
        with GenericEnvClient(server.base_url) as client:
            client.reset()
            holding_it = threading.Thread(target=lambda: client.step({"seconds": 3}))
            holding_it.start()
            time.sleep(0.3)
            silent = []
            while holding_it.is_alive():
                assert probe(live) == 200
                if len(silent) < 6:
                    silent.append(probe(f"{server.base_url}/live") == 0)
            assert workers == 2 or any(silent)  # the server's own port cannot answer
        assert probe(live.removesuffix("live")) == 404
        server.signal(signal.SIGTERM)
        assert server.ends()[0] == 0
        wait_for(lambda: probe(live) == 0, 5)


def test_a_server_that_is_killed_takes_its_probe_along(tmp_path: Path) -> None:
    with holding(tmp_path) as (server, live):
        wait_for(lambda: probe(live) == 200, 5)
        server.signal(signal.SIGKILL)
        server.process.wait(5)
        wait_for(lambda: probe(live) == 0, 5)


def test_a_server_whose_event_loops_are_silent_for_long_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_port, "MOST_SILENT_S", 0.5)
    listening = live_port.socket.create_server(("127.0.0.1", 0))
    live = f"http://127.0.0.1:{listening.getsockname()[1]}/live"
    with live_port.live_process(listening) as heartbeat:
        assert heartbeat is not None
        wait_for(lambda: probe(live) == 503, 5)  # it starts
        os.write(heartbeat.fileno(), b"!")
        wait_for(lambda: probe(live) == 200, 5)
        wait_for(lambda: probe(live) == 503, 5)
        os.write(heartbeat.fileno(), b"!!")
        wait_for(lambda: probe(live) == 200, 5)
    assert probe(live) == 0


def test_a_live_port_that_is_in_use_is_said_at_the_start(tmp_path: Path) -> None:
    with live_port.socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = subprocess.run(
            [sys.executable, "-m", "openenv_cli", "serve", "--gym", "CartPole-v1", "--port", "0"],
            env={**os.environ, "LIVE_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert failed.returncode == 2
    assert f"Port {port} of 127.0.0.1 is in use" in failed.stderr
