"""The repository's files for GitHub: they are valid, and workflows run the commands that exist."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
SCHEMAS = {
    **dict.fromkeys(sorted((ROOT / ".github" / "workflows").glob("*.yml")), "github-workflows"),
    **dict.fromkeys(sorted(FORMS.glob("*.yml")), "github-issue-forms"),
    FORMS / "config.yml": "github-issue-config",
    ROOT / "CITATION.cff": "citation-file-format",
}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


@pytest.mark.integration
@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_it_is_what_github_takes(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[path]}"]
    if path.suffix == ".cff":
        command += ["--force-filetype", "yaml"]
    done = subprocess.run([*command, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_the_site_is_published_as_it_is_tested() -> None:
    steps = read("pages.yml")["jobs"]["publish"]["steps"]
    (build,) = [step["run"] for step in steps if "mkdocs" in step.get("run", "")]
    assert build.endswith("mkdocs build --strict")


def test_a_release_is_checked_and_published_without_a_token() -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    jobs = read("release.yml")["jobs"]
    assert "twine check --strict" in text
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in text
