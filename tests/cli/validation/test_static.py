"""Defects in the files, each found by one check."""

from __future__ import annotations

from pathlib import Path

import pytest
from openenv_cli.validation.report import Level, Outcome

from tests.cli.validation.outcomes import check_of, edit, objections, validate

# What is replaced in which file, by what; None removes the file, and "" for the old text writes it anew.
DEFECTS = [
    ("files.required", "client.py", None, ""),
    ("files.required", "server/__init__.py", None, ""),
    ("files.required", "pyproject.toml", None, ""),
    ("files.python", "models.py", "class Step(Action):", "class Step(Action:"),
    ("files.python", "models.py", "", "x = '\0'"),
    ("manifest.valid", "openenv.yaml", "port: 8000", "port: many"),
    ("manifest.valid", "openenv.yaml", "name: walker", "title: walker"),
    ("manifest.valid", "openenv.yaml", "type: space", "type: [space"),
    ("manifest.valid", "openenv.yaml", "app: server.app:app", "app: server/app.py"),
    ("app.defined", "openenv.yaml", "server.app:app", "server.main:app"),
    ("app.defined", "openenv.yaml", "server.app:app", "server.app:application"),
    ("project.valid", "pyproject.toml", "[project]", "[project"),
    ("project.valid", "pyproject.toml", 'name = "walker"', 'title = "walker"'),
    ("project.openenv", "pyproject.toml", "openenv-gym[server]", "fastapi"),
    ("project.openenv", "pyproject.toml", "dependencies = [", "dependencies = 5\nothers = ["),
    ("docker.file", "server/Dockerfile", None, ""),
    ("docker.from", "server/Dockerfile", "ARG BASE_IMAGE", "RUN true\nARG BASE_IMAGE"),
    ("docker.from", "server/Dockerfile", "", ""),
    ("docker.start", "server/Dockerfile", "CMD [", "# CMD ["),
    ("docker.secrets", "secrets.json", "", "TOKEN=1"),
    ("docker.secrets", "server/Dockerfile", "USER openenv", "USER openenv\nENV HF_TOKEN=hf_abc"),
    ("docker.secrets", "server/Dockerfile", "USER openenv", "USER openenv\nENV API_KEY abc"),
    ("docker.secrets", "server/Dockerfile", "USER openenv", "USER openenv\nARG DB_PASSWORD='abc'"),
]  # fmt: skip

# The environment works all the same.
BLEMISHES = [
    ("files.readme", "README.md", None, ""),
    ("files.lock", "uv.lock", None, ""),
    ("project.script", "pyproject.toml", "server =", "serve ="),
    ("project.script", "pyproject.toml", "walker.server.app:main", "walker.server.main:main"),
    ("project.script", "pyproject.toml", "walker.server.app:main", "walker.server.app:run"),
    ("project.script", "pyproject.toml", "walker.server.app:main", "walker.server.app"),
    ("docker.port", "server/Dockerfile", "--port 8000", "--port 7860"),
    ("docker.port", "server/Dockerfile", "USER openenv", "USER openenv\nEXPOSE 80/tcp"),
    ("docker.user", "server/Dockerfile", "USER openenv\n", ""),
    ("docker.user", "server/Dockerfile", "USER openenv", "USER root"),
    ("docker.user", "server/Dockerfile", "USER openenv", "USER 0:0"),
    ("docker.healthcheck", "server/Dockerfile", "HEALTHCHECK CMD", "RUN"),
    ("docker.healthcheck", "server/Dockerfile", "HEALTHCHECK CMD", "HEALTHCHECK NONE\n#"),
]


@pytest.fixture(autouse=True)
def no_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walker's lock is made up; real ones are compared in test_locks.py."""
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")


def spoil(folder: Path, name: str, old: str | None, new: str) -> None:
    if old is None:
        (folder / name).unlink()
    elif old:
        edit(folder / name, (old, new))
    else:
        (folder / name).write_text(new)


def test_the_good_folder_has_no_objection(walker: Path) -> None:
    report = validate(walker, Level.STATIC)
    assert report.passed
    assert objections(report) == {}
    assert all(check.outcome is Outcome.PASSED for check in report.checks)
    assert [what.partition(":")[0] for what in report.left_out] == ["runtime", "container"]


@pytest.mark.parametrize(("check_id", "name", "old", "new"), DEFECTS)
def test_a_defect_fails_exactly_its_check(
    walker: Path, check_id: str, name: str, old: str | None, new: str
) -> None:
    spoil(walker, name, old, new)
    report = validate(walker, Level.STATIC)
    assert objections(report) == {check_id: Outcome.FAILED}
    assert not report.passed
    failure = check_of(report, check_id)
    assert failure.detail
    assert failure.fix


@pytest.mark.parametrize(("check_id", "name", "old", "new"), BLEMISHES)
def test_a_blemish_is_a_warning(walker: Path, check_id: str, name: str, old: str | None, new: str) -> None:
    spoil(walker, name, old, new)
    report = validate(walker, Level.STATIC)
    assert objections(report) == {check_id: Outcome.WARNING}
    assert report.passed
    assert check_of(report, check_id).fix


def test_a_mistake_in_openenv_yaml_has_its_line(walker: Path) -> None:
    spoil(walker, "openenv.yaml", "port: 8000", "port: many")
    assert "openenv.yaml:6: port" in check_of(validate(walker, Level.STATIC), "manifest.valid").detail


def test_a_check_without_its_ground_is_skipped_and_says_why(walker: Path) -> None:
    (walker / "server" / "Dockerfile").unlink()
    skipped = check_of(validate(walker, Level.STATIC), "docker.secrets")
    assert skipped.outcome is Outcome.SKIPPED
    assert "docker.file" in skipped.detail


@pytest.mark.parametrize(
    ("name", "ignore", "is_copied"),
    [
        ("secrets.json", "", True),
        ("secrets.json", "secrets.json", False),
        ("secrets.json", "*", False),
        ("secrets.json", "# secrets.json", True),
        ("secrets.json", "*\n!secrets.json", True),
        ("server/secrets.json", "secrets.json", True),
        ("server/secrets.json", "**/secrets.json", False),
        ("server/secrets.json", "server", False),
        ("server/secrets.json", "server/*", False),
        ("secrets.example", "", False),
        ("keys/deploy.pem", "", True),
        (".venv/certificates.pem", "", False),
    ],
)
def test_secrets_are_those_that_a_build_would_copy(
    walker: Path, name: str, ignore: str, is_copied: bool
) -> None:
    (walker / name).parent.mkdir(exist_ok=True)
    (walker / name).write_text("")
    (walker / ".dockerignore").write_text(ignore)
    check = check_of(validate(walker, Level.STATIC), "docker.secrets")
    assert (check.outcome is Outcome.FAILED) == is_copied
    assert (name in check.detail) == is_copied


def test_the_ignore_file_beside_the_dockerfile_goes_first(walker: Path) -> None:
    (walker / "secrets.json").write_text("")
    (walker / ".dockerignore").write_text("")
    (walker / "server" / "Dockerfile.dockerignore").write_text("secrets.json")
    assert validate(walker, Level.STATIC).passed


def test_a_copy_that_leaves_the_secret_behind_is_fine(walker: Path) -> None:
    (walker / "secrets.json").write_text("")
    edit(walker / "server/Dockerfile", ("COPY . /app/env", "COPY server models.py /app/env/"))
    assert validate(walker, Level.STATIC).passed


def test_a_file_that_is_not_utf_8_fails_its_check_with_the_line(walker: Path) -> None:
    (walker / "server" / "Dockerfile").write_bytes(b"FROM a\n# caf\xe9\nCMD b\n")
    check = check_of(validate(walker, Level.STATIC), "docker.from")
    assert check.outcome is Outcome.FAILED
    assert "Dockerfile:2 is not UTF-8" in check.detail


def test_python_and_ignore_files_may_have_another_encoding(walker: Path) -> None:
    app = walker / "server" / "app.py"
    app.write_bytes(b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + app.read_bytes())
    for name in (".gitignore", ".dockerignore"):
        (walker / name).write_bytes(b"caf\xe9\n")
    assert objections(validate(walker, Level.STATIC)) == {}
