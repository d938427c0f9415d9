"""Servers in separate processes, which can be sent signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# An environment that sleeps, fails, or does neither, and writes down that it was closed.
SLEEPER = '''
import logging
import os
import threading
import time

from openenv_server import Action, Environment, Observation, State, create_app


class Sleep(Action):
    seconds: float = 0.0
    fail: str = ""


class Slept(Observation):
    steps: int


class Sleeper(Environment):
    """Sleeps."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        self.steps = 0

    def reset(self, seed=None):
        return Slept(steps=0)

    def step(self, action):
        time.sleep(action.seconds)
        if action.fail == "thread":
            broken = threading.Thread(target=lambda: 1 / 0, name="broken")
            broken.start()
            broken.join()
        elif action.fail:
            logging.getLogger("author").warning("the author's own %s", "words")
            raise RuntimeError(action.fail)
        self.steps += 1
        return Slept(steps=self.steps, reward=1.0)

    @property
    def state(self):
        return State(step_count=self.steps)

    def close(self):
        with open(os.environ["CLOSED"], "a") as file:
            file.write("closed\\n")


app = create_app(Sleeper, Sleep, Slept, env_name="sleeper")
'''


class ServerProcess:
    """A server that runs, what it wrote to standard error, and how often an environment was closed."""

    def __init__(self, process: subprocess.Popen[str], base_url: str, closed: Path) -> None:
        self.process, self.base_url, self._closed = process, base_url, closed
        self.lines: list[str] = []
        assert process.stderr is not None
        self._reader = threading.Thread(target=self.lines.extend, args=(process.stderr,), daemon=True)
        self._reader.start()

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def ends(self, timeout_s: float = 10.0) -> tuple[int, float]:
        """Its exit code, and the seconds until it had ended."""
        begin = time.monotonic()
        code = self.process.wait(timeout=timeout_s)
        took = time.monotonic() - begin
        self._reader.join(timeout=5)
        return code, took

    @property
    def closed(self) -> int:
        """How many environments were closed."""
        return len(self._closed.read_text().splitlines()) if self._closed.exists() else 0


@contextmanager
def serving_sleeper(folder: Path, *arguments: str, **variables: str) -> Iterator[ServerProcess]:
    """Serves `SLEEPER` from a folder, as `serving` does."""
    (folder / "openenv.yaml").write_text("name: sleeper\napp: sleeper:app\n")
    (folder / "sleeper.py").write_text(SLEEPER)
    with serving(folder / "closed", str(folder), *arguments, **variables) as server:
        yield server


@contextmanager
def serving(closed: Path, *arguments: str, **variables: str) -> Iterator[ServerProcess]:
    """Run ``openenv serve`` with these environment variables, in a new process group."""
    process = subprocess.Popen(
        [sys.executable, "-m", "openenv_cli", "serve", "--port", "0", *arguments],
        env={**os.environ, "CLOSED": str(closed), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        if base_url.startswith("{"):  # LOG_FORMAT=json
            base_url = json.loads(base_url)["url"]
        assert base_url, process.stderr.read() if process.stderr is not None else ""
        yield ServerProcess(process, base_url, closed)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        assert process.stdout is not None
        process.stdout.close()
