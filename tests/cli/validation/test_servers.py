"""`openenv validate URL`: servers that run already, ours and those of the published package."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from openenv_cli.validation.report import Outcome, Report
from openenv_cli.validation.run import validate_url
from openenv_server import create_app

from tests.cli.validation.outcomes import Heard, check_of, objections
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.peer import peer_python, peer_server
from tests.support.servers import running, without_v2

REPOSITORY = Path(__file__).parents[3]


def validate(base_url: str) -> Report:
    return validate_url(base_url, Heard(), timeout_s=20)


@pytest.mark.parametrize("is_v2", [True, False], ids=["v2", "v1"])
def test_our_server_in_both_versions_of_the_protocol(is_v2: bool) -> None:
    app = create_app(Counter, CountAction, CountObservation, max_concurrent_envs=2)
    with running(app if is_v2 else without_v2(app)) as base_url:
        report = validate(base_url)
    # Amounts above 9 raise, and its schema allows them.
    assert objections(report) == {"session.step": Outcome.FAILED}
    assert "RuntimeError: too much" in check_of(report, "session.step").detail
    assert "narrow the action model" in check_of(report, "session.step").fix
    assert f"version {2 if is_v2 else 1}" in check_of(report, "session.websocket").detail


def test_a_key_is_taken_from_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", "abc")
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        assert check_of(validate(base_url), "session.reset").outcome is Outcome.PASSED


@pytest.mark.libraries
@pytest.mark.timeout(300)
def test_a_published_server_with_many_sessions() -> None:
    server = (peer_python("gymnasium"), REPOSITORY / "benchmarks/peer/server.py", "cartpole", "PORT")
    with peer_server(*server) as base_url:
        report = validate(base_url)
    assert objections(report) == {}
    assert report.passed
    assert report.name == "CartPole"
    assert "4 sessions at once" in check_of(report, "session.capacity").detail
    # What it has not is said, and is no mistake.
    assert any("no `truncated`" in note for note in check_of(report, "schemas.spaces").notes)
    assert any("how many sessions" in note for note in check_of(report, "routes.health").notes)


@pytest.mark.libraries
@pytest.mark.timeout(300)
def test_a_published_server_with_one_session(tmp_path: Path) -> None:
    python = peer_python()
    init = [str(python.with_name("openenv")), "init", "echo_game", "--output-dir", str(tmp_path)]
    subprocess.run(init, check=True, capture_output=True, timeout=200)
    project = tmp_path / "echo_game"
    uvicorn = ("uvicorn", "server.app:app", "--port", "PORT", "--log-level", "warning")
    with peer_server(
        python, "-m", *uvicorn, cwd=project, env={**os.environ, "PYTHONPATH": str(project)}
    ) as base_url:
        report = validate(base_url)
    assert objections(report) == {}
    assert "1 session at once; one more is refused" in check_of(report, "session.capacity").detail
