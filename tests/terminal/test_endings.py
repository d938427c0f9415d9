"""`kill`, and a terminal that closes, end a command as Ctrl-C does: what it began is cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.support.waiting import wait_for

# In place of uv: a program that says that it runs, and takes its time.
SLOW_UV = '#!/bin/sh\necho $$ > "$UV_HAS_STARTED"\nexec sleep 600\n'
OPENENV = [sys.executable, "-m", "openenv_cli"]


@pytest.fixture
def uv_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that tells that a uv which takes its time has started."""
    program = tmp_path / "bin" / "uv"
    program.parent.mkdir()
    program.write_text(SLOW_UV)
    program.chmod(0o755)
    file = tmp_path / "uv-has-started"
    monkeypatch.setenv("UV", str(program))
    monkeypatch.setenv("UV_HAS_STARTED", str(file))
    return file


def is_over(process: Path) -> bool:
    """Whether the process whose id is in a file has ended."""
    return not Path(f"/proc/{process.read_text().strip()}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_half_written_folder(
    number: signal.Signals, uv_has_started: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "envs"
    init = subprocess.Popen([*OPENENV, "init", "my_env", "-o", folder], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: uv_has_started.exists() and uv_has_started.read_text() != "")
    assert list(folder.iterdir()), "the draft"
    init.send_signal(number)
    _, errors = init.communicate(timeout=20)
    assert init.returncode == 128 + number
    assert "Traceback" not in errors
    assert not folder.exists()
    wait_for(lambda: is_over(uv_has_started))


def test_a_terminal_that_closes_leaves_no_half_written_folder(uv_has_started: Path, tmp_path: Path) -> None:
    folder = tmp_path / "envs"
    with Terminal("init", "my_env", "-o", folder) as terminal:
        wait_for(lambda: uv_has_started.exists() and uv_has_started.read_text() != "")
        assert list(folder.iterdir()), "the draft"
        terminal.hang_up()
        wait_for(lambda: not folder.exists())


def test_nohup_keeps_a_command_from_ending(uv_has_started: Path, tmp_path: Path) -> None:
    init = subprocess.Popen(["nohup", *OPENENV, "init", "my_env", "-o", tmp_path], stderr=subprocess.DEVNULL)
    wait_for(lambda: uv_has_started.exists() and uv_has_started.read_text() != "")
    init.send_signal(signal.SIGHUP)
    os.kill(int(uv_has_started.read_text()), signal.SIGTERM)  # so that it goes on
    assert init.wait(20) == 0
    assert (tmp_path / "my_env" / "openenv.yaml").is_file()


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=" ".join)
def test_a_terminal_that_closes_stops_its_server(options: tuple[str, ...], own_folders: Path) -> None:
    with Terminal("serve", "--gym", "CartPole-v1", "--port", "0", *options) as terminal:
        terminal.wait_for("Ctrl-C stops the server.")
        notes = list(own_folders.rglob("*.json"))
        assert notes
        terminal.hang_up()
        wait_for(lambda: not any(path.exists() for path in notes))
        wait_for(lambda: terminal.left_behind() == [])
