"""What goes into an image or onto the Hub."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
from openenv_cli.bundle import bundled

from openenv_gym.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own settings of uv may name the index to install from."""
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    command = [sys.executable, "-m", "openenv_cli", "init", "my_env", "--output-dir", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "my_env"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_path_outside_becomes_a_wheel_inside_and_the_lock_file_fits(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    with bundled(folder) as bundle:
        (wheel,) = [name for name in files(bundle) if name.endswith(".whl")]
        assert wheel.startswith("wheels/openenv_gym-")
        sources = tomllib.loads((bundle / "pyproject.toml").read_text())["tool"]["uv"]["sources"]
        assert sources == {"openenv-gym": {"path": wheel}}
        assert str(REPOSITORY) not in (bundle / "pyproject.toml").read_text()
        assert str(REPOSITORY) not in (bundle / "uv.lock").read_text()
        checked = subprocess.run(["uv", "lock", "--check", "--directory", str(bundle)], capture_output=True)
        assert checked.returncode == 0, checked.stderr
        assert files(bundle) == {*before, wheel}
        # What the author wrote is there as it was, comments and all.
        assert "# Where openenv-gym comes from." in (bundle / "pyproject.toml").read_text()
    assert not bundle.exists()
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before


def test_what_the_ignore_files_and_the_author_exclude_is_left_out(folder: Path) -> None:
    (folder / ".gitignore").write_text("data/*\n!data/keep.txt\n*.log\n/only_here.txt\n")
    for name in ("data/a.bin", "data/keep.txt", "server/run.log", "only_here.txt", "server/only_here.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    for name in (
        ".env",
        ".env.local",
        ".env.example",
        ".venv/lib/x.py",
        "__pycache__/x.pyc",
        "notes/secret.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    with bundled(folder, exclude=["notes/"]) as bundle:
        there = files(bundle)
    assert {"data/keep.txt", "server/only_here.txt", ".env.example"} <= there
    assert not there & {
        "data/a.bin",
        "server/run.log",
        "only_here.txt",
        ".env",
        ".env.local",
        ".venv/lib/x.py",
        "__pycache__/x.pyc",
        "notes/secret.txt",
    }


def test_without_uv_the_lock_file_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which

    def without_uv(name: str) -> str | None:
        return None if name == "uv" else real(name)

    monkeypatch.setattr(shutil, "which", without_uv)
    with bundled(folder) as bundle:
        assert not (bundle / "uv.lock").exists()
        assert list((bundle / "wheels").glob("openenv_gym-*.whl"))


def test_a_path_that_leads_nowhere_is_named(folder: Path) -> None:
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(str(REPOSITORY), "/no/such/checkout"))
    with pytest.raises(ConfigurationError, match="openenv-gym comes from /no/such/checkout"), bundled(folder):
        pass


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    (folder / "broken").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="broken"), bundled(folder):
        pass


def test_nothing_is_left_behind_when_the_work_in_it_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    bundle = bundled(folder)
    assert bundle.__enter__().is_relative_to(temporary)
    assert list(temporary.iterdir())
    assert not bundle.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert not list(temporary.iterdir())
