"""Server processes that start in some hundredths of a second, to be stopped, killed and restarted often.

A process that has imported everything forks one for each server. ``python -m tests.support.fork_server`` is
that process: each line of its input is a JSON list of a port and environment variables; it answers with the
server's process id once that listens. Servers end with it (Linux).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from openenv_server import Action, Environment, Observation, State, create_app
from openenv_server.settings import read_settings
from openenv_server.workers import serve_app

from tests.support.engine import free_port
from tests.support.waiting import wait_for

_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1


class Deed(Action):
    """A step: its number, which is never repeated, how long it takes, and whether it ends the episode."""

    number: int
    seconds: float = 0.0
    ends: bool = False
    reset_seconds: float = 0.0


class Done(Observation):
    """How many steps the episode has taken."""

    steps: int


class Doer(Environment[Deed, Done, State]):
    """Appends the number of each step to the file that the variable `STEPS_DONE` names."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._file = os.open(os.environ["STEPS_DONE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._steps = 0
        self._reset_seconds = 0.0

    def reset(self, seed: int | None = None, seconds: float = 0.0) -> Done:
        time.sleep(seconds or self._reset_seconds)
        self._steps = 0
        self._reset_seconds = 0.0
        return Done(steps=0)

    def step(self, action: Deed) -> Done:
        time.sleep(action.seconds)
        os.write(self._file, b"%d\n" % action.number)
        self._steps += 1
        self._reset_seconds = action.reset_seconds
        return Done(steps=self._steps, reward=1.0, done=action.ends)

    @property
    def state(self) -> State:
        return State()

    def close(self) -> None:
        os.close(self._file)


class _WithoutV2:
    """Middleware that hides version 2 of the protocol from the application."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "subprotocols": []}
        await self._app(scope, receive, send)


class ForkServer:
    """The process that forks servers."""

    def __enter__(self) -> ForkServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "LOG_LEVEL": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def start(self, port: int, variables: dict[str, str]) -> int:
        """Start a server; return its process id once it listens."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([port, variables]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


class ForkedServer:
    """A server of `Doer` at a port that it keeps.

    Args:
        forks: What starts it.
        done: The file of the numbers of the steps.
        speaks_v2: Whether it speaks version 2 of the protocol.
        variables: Its settings.
    """

    def __init__(self, forks: ForkServer, done: Path, *, speaks_v2: bool = True, **variables: str) -> None:
        self._forks = forks
        self._port = free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"
        self._variables = {**variables, "STEPS_DONE": str(done)}
        if not speaks_v2:
            self._variables["WITHOUT_V2"] = "1"
        self.pid = 0
        self.start()

    def start(self) -> None:
        """Start it, if it does not run."""
        if not self.runs:
            self.pid = self._forks.start(self._port, self._variables)

    @property
    def runs(self) -> bool:
        """Whether its process exists."""
        return self.pid != 0 and Path(f"/proc/{self.pid}").exists()

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal, and wait for its end."""
        if self.runs:
            self.send_signal(number)
            wait_for(lambda: not self.runs, 20)


def _serve(port: int, variables: dict[str, str]) -> None:
    os.environ.update(variables)

    def make() -> Any:
        app = create_app(Doer, Deed, Done, env_name="doer")
        if "WITHOUT_V2" in variables:
            app.add_middleware(_WithoutV2)
        return app

    serve_app(
        make,
        workers=1,
        host="127.0.0.1",
        port=port,
        settings=read_settings(),
        on_started=lambda _: print(os.getpid(), flush=True),
        on_stopped=lambda: None,
    )


def _main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets servers that have ended
    for line in sys.stdin:
        port, variables = json.loads(line)
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            _serve(port, variables)
            return


if __name__ == "__main__":
    _main()
