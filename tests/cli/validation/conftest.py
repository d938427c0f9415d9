from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.walker import write_walker


@pytest.fixture
def walker(tmp_path: Path) -> Path:
    """The folder of an environment that is valid."""
    return write_walker(tmp_path)


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are tried in tests/containers; here no engine answers, also where there is one."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
