"""`openenv list` and `openenv info` of servers of several processes, and of several servers of one name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import serving

OPENENV = [sys.executable, "-m", "openenv_cli"]


def said(*arguments: str) -> str:
    done = subprocess.run([*OPENENV, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_the_sessions_of_one_of_several_processes_are_not_called_all(tmp_path: Path) -> None:
    with serving(tmp_path, "--gym", "CartPole-v1", "--workers", "2", "--max-sessions", "4") as server:
        assert ", 0 of 4 sessions in one of 2 processes\t" in said("list")
        assert "sessions\t0 of 4 in one of 2 processes\n" in said("info", server.base_url)
        told = json.loads(said("info", server.base_url, "--json"))
        assert told["sessions"] == {"active": 0, "capacity": 4, "processes": 2}


def test_all_servers_of_one_name_are_listed_and_the_first_is_what_it_means(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--gym", "CartPole-v1") as first,
        serving(tmp_path, "--gym", "CartPole-v1") as second,
    ):
        rows = [line.split("\t") for line in said("list").splitlines()]
        assert [row[0] for row in rows] == ["openenv/CartPole-v1"] * 2
        assert [row[2] for row in rows] == [second.base_url, first.base_url]
        assert [row[4].endswith("the name refers to the one above") for row in rows] == [False, True]
        assert f"server\t{second.base_url}\n" in said("info", "CartPole-v1")
