"""The comparisons run, and none falls far behind; ``python -m benchmarks`` gives the figures proper."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["single", "many", "sb3", "frames", "naps"]


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_the_comparisons_come_out_a_third_as_good_as_wanted_at_least(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        *NAMES,
        "--rounds",
        "3",
        "--leeway",
        "3",
        "--json",
        str(report),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    comparisons = json.loads(report.read_text())["comparisons"]
    assert len(comparisons) == 10
    assert all(line["ours_ms"] > 0 and line["against_ms"] > 0 for line in comparisons)
