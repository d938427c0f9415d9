"""Processes that serve one address, and what becomes of one that ends."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.support.processes import ServerProcess, serving_sleeper
from tests.support.waiting import wait_for


def workers_of(server: ServerProcess) -> list[int]:
    """The process ids of those that serve, or are about to."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def backoffs(server: ServerProcess) -> list[str]:
    """The backoffs in the log, in seconds."""
    return re.findall(r"failed to start: .*it broke.* restarted in (\d+) s", "".join(server.lines))


def test_a_worker_that_fails_to_start_is_retried_with_backoff(
    tmp_path: Path,
) -> None:
    with serving_sleeper(tmp_path, "--workers", "2") as server:
        source = (tmp_path / "sleeper.py").read_text()
        (tmp_path / "sleeper.py").write_text("raise RuntimeError('it broke')\n")
        os.kill(workers_of(server)[0], signal.SIGKILL)
        wait_for(lambda: backoffs(server) == ["1", "2"], timeout_s=30)
        assert "exited with code -9; it is restarted" in "".join(server.lines)
        (tmp_path / "sleeper.py").write_text(source)
        wait_for(lambda: len(workers_of(server)) == 2, timeout_s=30)
        server.signal(signal.SIGTERM)
        assert server.ends(30)[0] == 0


def test_sigterm_between_two_tries_ends_the_server(tmp_path: Path) -> None:
    with serving_sleeper(tmp_path, "--workers", "2") as server:
        (tmp_path / "sleeper.py").write_text("raise RuntimeError('it broke')\n")
        os.kill(workers_of(server)[0], signal.SIGKILL)
        wait_for(lambda: len(backoffs(server)) == 2, timeout_s=30)
        server.signal(signal.SIGTERM)
        assert server.ends(10)[0] == 0
