"""The repository's GitHub workflows: they are valid, and run the commands that exist."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


@pytest.mark.integration
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_it_is_a_valid_workflow(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_quick_tests_run_on_each_system_and_everything_on_linux() -> None:
    jobs = read("ci.yml")["jobs"]
    matrix = jobs["quick"]["strategy"]["matrix"]
    systems = {*matrix["os"], *(entry["os"] for entry in matrix["include"])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert "uv run pytest -m unit" in [step.get("run") for step in jobs["quick"]["steps"]]
    (on_windows,) = [step for step in jobs["quick"]["steps"] if step.get("if") == "runner.os == 'Windows'"]
    assert "tests/gym/test_systems.py" in on_windows["run"]
    assert any(".ci/run" in step.get("run", "") for step in jobs["everything"]["steps"])


def test_each_supported_version_of_python_is_tried() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = {line.rpartition(" ")[2] for line in classifiers if "Python :: 3." in line}
    assert set(read("ci.yml")["jobs"]["quick"]["strategy"]["matrix"]["python"]) == supported
