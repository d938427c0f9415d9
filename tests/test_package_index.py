"""What a package index gets: both distributions, a README whose links work there, and complete types."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from openenv_gym.errors import DOCUMENTATION
from tests.test_distribution import VirtualEnvironment, uv

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SITE, SOURCE = PROJECT["urls"]["Documentation"], PROJECT["urls"]["Source"]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--out-dir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (wheel,) = distributions.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return HeaderParser().parsestr(archive.read(name).decode())


def test_an_index_takes_both_distributions(distributions: Path) -> None:
    files = [*distributions.glob("*.whl"), *distributions.glob("*.tar.gz")]
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.stdout.count("PASSED") == 2, done.stdout + done.stderr


def test_the_source_distribution_has_what_builds_and_tests_it(distributions: Path) -> None:
    (source,) = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "docs/architecture.md"} <= names


def test_the_links_of_the_readme_work_on_an_index(metadata: Message) -> None:
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    relative = [link for link in links if not link.startswith(("https://", "#"))]
    assert relative == []
    pages = [link.removeprefix(SITE) for link in links if link.startswith(SITE)]
    assert pages
    assert [page for page in pages if not is_in_docs(page)] == []
    files = [
        link.removeprefix(f"{SOURCE}/blob/main/") for link in links if link.startswith(f"{SOURCE}/blob/")
    ]
    assert [file for file in files if not (ROOT / file.partition("#")[0]).exists()] == []


def is_in_docs(page: str) -> bool:
    """Whether a path of the site comes from a file of docs/."""
    path = page.partition("#")[0].rstrip("/")
    places = (path, f"{path}.md", f"{path}/README.md", f"{path}/index.md")
    return any((ROOT / "docs" / place).is_file() for place in places)


def test_each_file_that_names_the_project_agrees(metadata: Message) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert (citation["url"], citation["repository-code"]) == (SITE, SOURCE)
    assert citation["title"].endswith("every OpenEnv environment is a gymnasium.Env")
    assert f"{DOCUMENTATION}/" == SITE
    settings = (ROOT / "mkdocs.yml").read_text()
    assert f"site_url: {SITE}\n" in settings
    assert f"repo_url: {SOURCE}\n" in settings
    assert f"Documentation, {SITE}" in metadata.get_all("Project-URL", [])


def test_the_types_of_public_names_are_complete(wheel: Path, tmp_path: Path) -> None:
    environment = VirtualEnvironment(tmp_path)
    environment.install(f"{wheel}[cli,docker,hub,mcp,pettingzoo]")
    environment.install("basedpyright")
    environment.environment["PATH"] = f"{environment.scripts}{os.pathsep}{os.environ['PATH']}"
    for package in ("openenv_gym", "openenv_server", "openenv_cli"):
        done = subprocess.run(
            [
                environment.scripts / "basedpyright",
                "--verifytypes",
                package,
                "--ignoreexternal",
                "--outputjson",
            ],
            cwd=environment.cwd,
            env=environment.environment,
            capture_output=True,
            text=True,
        )
        report = json.loads(done.stdout)["typeCompleteness"]
        unknown = [found["name"] for found in report["symbols"] if not found["isTypeKnown"]]
        assert report["completenessScore"] >= 0.95, unknown
