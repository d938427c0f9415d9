"""`PyExecutor` returns for each program what the published one returns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.peer import peer_python

PROGRAM = Path(__file__).with_name("python_executor_program.py")
ROOT = Path(__file__).parents[2]


def results_of(*command: str) -> list[list[Any]]:
    done = subprocess.run(
        [*command, str(PROGRAM)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found: list[list[Any]] = json.loads(done.stdout)
    return found


def test_programs_have_the_same_results() -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    assert uv is not None, "uv installs smolagents beside ours: pip install uv"
    theirs = results_of(str(peer_python("smolagents==1.26.0")))
    ours = results_of(
        uv, "run", "--quiet", "--frozen", "--isolated", "--no-dev", "--extra", "server",
        "--with", "smolagents==1.26.0", "python",
    )  # fmt: skip
    assert ours == theirs
    by_code = {code: rest for code, *rest in ours}
    assert by_code["1 + 1"] == ["2", "", False, 0]
    assert by_code["x * 2"] == ["10", "", False, 0]
    assert by_code["print('before')\n1 / 0"][3] == 1
