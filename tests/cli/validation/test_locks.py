"""A lock that does not match is found before anything is built from it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from openenv_cli.bundle import bundled
from openenv_cli.files import stale_lock
from openenv_cli.validation.report import Level, Outcome

from openenv_gym.errors import ConfigurationError
from tests.cli.validation.outcomes import check_of, edit, validate

UV = os.environ.get("UV") or shutil.which("uv")
pytestmark = pytest.mark.skipif(UV is None, reason="there is no uv")


@pytest.fixture
def locked(walker: Path) -> Path:
    """The walker's folder, with a real lock."""
    # The lock is of the project alone, so it needs no network.
    edit(walker / "pyproject.toml", ('"openenv-gym[server]"', ""), ("[project.scripts]", "[tool.scripts]"))
    (walker / "uv.lock").unlink()
    subprocess.run([str(UV), "lock", "--quiet", "--offline", "--directory", walker], check=True)
    return walker


def test_a_lock_that_matches_passes(locked: Path) -> None:
    assert check_of(validate(locked, Level.STATIC), "files.lock").outcome is Outcome.PASSED
    with bundled(locked) as bundle:
        assert (bundle / "uv.lock").is_file()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dependencies = []", 'dependencies = ["iniconfig"]'),
        ("dependencies = []", 'dependencies = []\noptional-dependencies = { extra = ["iniconfig"] }'),
    ],
)
def test_a_change_after_the_lock_is_found_and_nothing_is_built(locked: Path, old: str, new: str) -> None:
    lock = (locked / "uv.lock").read_bytes()
    edit(locked / "pyproject.toml", (old, new))
    found = check_of(validate(locked, Level.STATIC), "files.lock")
    assert found.outcome is Outcome.FAILED
    assert found.fix == f"Run `uv lock` in {locked}."
    with (
        pytest.raises(ConfigurationError, match=r"does not match.*Run: uv lock --directory"),
        bundled(locked),
    ):
        pass
    assert (locked / "uv.lock").read_bytes() == lock


def test_a_lock_that_cannot_be_compared_is_not_refused(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("UV", raising=False)
    assert stale_lock(locked) is None
    found = check_of(validate(locked, Level.STATIC), "files.lock")
    assert (found.outcome, found.notes) == (
        Outcome.PASSED,
        ["uv is missing or offline, so it was not compared"],
    )
