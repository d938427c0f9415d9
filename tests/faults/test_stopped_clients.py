"""A client that was stopped (SIGSTOP) goes on afterwards, or reports in time that its session is gone.

``OPENENV_TEST_STOP_S`` sets for how many seconds it is stopped. The server gives up on it after about two.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openenv_server import Action, Environment, Observation, State, create_app
from openenv_server.connections import transports

from tests.support.servers import running, without_v2
from tests.support.waiting import wait_for

STOP_S = float(os.environ.get("OPENENV_TEST_STOP_S", "4"))
TIMEOUT_S = 2.0
# What a busy machine may take beyond that.
LEEWAY_S = 8.0

pytestmark = pytest.mark.timeout(240)

PROGRAM = f"""
import sys, time
import numpy as np
from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import OpenEnvError

url, kind, milliseconds, pause_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
timeouts = dict(reset_timeout_s={TIMEOUT_S}, step_timeout_s={TIMEOUT_S}, connect_timeout_s={TIMEOUT_S})
env = RemoteVectorEnv(url, 2, **timeouts) if kind == "vector" else RemoteEnv(url, **timeouts)
action = np.full(2, milliseconds) if kind == "vector" else np.int64(milliseconds)
while True:
    try:
        env.reset()
        while True:
            env.step(action)
            print("step", flush=True)
            time.sleep(pause_s)
    except OpenEnvError as error:
        print(type(error).__name__, flush=True)
"""


class Milliseconds(Action):
    milliseconds: int


class Slept(Observation):
    steps: int = 0


class Sleeper(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None) -> Slept:
        return Slept()

    def step(self, action: Milliseconds) -> Slept:
        time.sleep(action.milliseconds / 1000)
        return Slept()

    @property
    def state(self) -> State:
        return State()


@pytest.fixture(params=["version 1", "version 2"])
def impatient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that pings every half second, and keeps sessions for another second; gives its URL."""
    monkeypatch.setattr(transports, "PING_INTERVAL_S", 0.5)
    app = create_app(Sleeper, Milliseconds, Slept, resume_grace_s=1.0)
    if request.param == "version 1":
        with running(without_v2(app), ws_ping_interval=0.5, ws_ping_timeout=0.5) as url:
            yield url
    else:
        with running(app) as url:
            yield url


@pytest.mark.parametrize("kind", ["one", "vector"])
@pytest.mark.parametrize(
    ("milliseconds", "pause_s"), [(300, 0.0), (0, 0.3)], ids=["in a step", "between steps"]
)
def test_a_stopped_client_goes_on_or_reports(
    impatient: str, kind: str, milliseconds: int, pause_s: float, tmp_path: Path
) -> None:
    log = tmp_path / "log"

    def lines() -> list[str]:
        return log.read_text().splitlines()

    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, impatient, kind, str(milliseconds), str(pause_s)],
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as client,
    ):
        try:
            wait_for(lambda: lines().count("step") > 2)
            client.send_signal(signal.SIGSTOP)
            time.sleep(STOP_S)
            before = len(lines())
            client.send_signal(signal.SIGCONT)
            begin = time.monotonic()
            wait_for(lambda: len(lines()) > before, TIMEOUT_S + LEEWAY_S)
            took_s = time.monotonic() - begin
            print(f"stopped for {STOP_S:g} s; after {took_s:.2f} s: {lines()[before]}")
            steps = lines().count("step")
            wait_for(lambda: lines().count("step") > steps + 2)
            assert set(lines()) <= {"step", "SessionLostError", "DeadlineExceededError"}
        finally:
            client.kill()
