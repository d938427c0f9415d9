"""Rubrics, models of the contract and clients of language models behave as the published ones do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.model_server import ModelServer, model_server

PROGRAM = Path(__file__).with_name("rubric_program.py")
TOOL_CALL = {
    "role": "assistant",
    "content": "I give it 0.75",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
}


def printed(python: Path | str, server: ModelServer) -> list[str]:
    done = subprocess.run(
        [str(python), "-W", "ignore", str(PROGRAM), server.base_url],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2] if python == sys.executable else PROGRAM.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_program_prints_the_same_with_both(peer_python: Path) -> None:
    with model_server(TOOL_CALL) as theirs, model_server(TOOL_CALL) as ours:
        assert printed(sys.executable, ours) == printed(peer_python, theirs)
    assert [(asked.path, asked.body) for asked in ours.asked] == [
        (asked.path, asked.body) for asked in theirs.asked
    ]
    assert {asked.headers["authorization"] for asked in [*ours.asked, *theirs.asked]} == {"Bearer k"}
