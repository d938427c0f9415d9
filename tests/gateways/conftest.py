from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateways.gateway import is_up
from tests.support.engine import free_port
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
_SERVE = (sys.executable, "-m", "openenv_cli", "serve", "--app", "tests.gateways.counting:app")


class CountingServer:
    """``openenv serve`` of `tests.gateways.counting`, which a test restarts at the same address.

    Args:
        folder: Where the numbers of the steps and the log go.
        variables: Its settings.

    Attributes:
        base_url: Its own address, without a gateway.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self._port = free_port()
        self.base_url = f"http://127.0.0.1:{self._port}"
        self._done, self._log = folder / "done", folder / "log"
        self._variables = {**variables, "STEPS_DONE": str(self._done), "PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is healthy."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_SERVE, "--port", str(self._port)],
                cwd=ROOT,
                env={**os.environ, **self._variables},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_for(lambda: is_up(self.base_url), 20)

    def stop(self) -> None:
        """Stop it gracefully."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def restart(self) -> None:
        """Stop it gracefully, and start it again: its sessions are lost."""
        self.stop()
        self.start()

    def steps_done(self) -> list[int]:
        """The numbers of the steps that were carried out."""
        return [int(line) for line in self._done.read_text().split()]

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CountingServer]:
    served = CountingServer(tmp_path)
    served.start()
    yield served
    served.stop()
