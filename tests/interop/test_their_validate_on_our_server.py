"""The published package's `openenv validate --url` finds nothing wrong with our servers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from openenv_server import create_app

from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running

pytestmark = [pytest.mark.timeout(300)]


def validate(python: Path, base_url: str) -> str:
    done = subprocess.run(
        [str(python.with_name("openenv")), "validate", "--url", base_url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_every_line_passes(report: str) -> None:
    assert report.rstrip().endswith("Verdict: PASS")
    lines = [
        line.split() for line in report.splitlines() if line.strip().endswith(("_endpoint", "available"))
    ]
    criteria = {name: verdict for verdict, name in lines}
    assert {"health_endpoint", "metadata_endpoint", "schema_endpoint", "mcp_endpoint"} <= set(criteria)
    assert set(criteria.values()) == {"PASS"}
    assert "FAIL" not in report


def test_a_gymnasium_environment(peer_python: Path, serve_gym: Callable[[str], str]) -> None:
    assert_every_line_passes(validate(peer_python, serve_gym("CartPole-v1")))


def test_a_typed_environment(peer_python: Path) -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        assert_every_line_passes(validate(peer_python, base_url))
