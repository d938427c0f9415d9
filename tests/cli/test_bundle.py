"""What goes into an image or onto the Hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import openenv_cli.bundle
import pytest
from openenv_cli.bundle import bundled

from openenv_gym.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]


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
        assert "# The source of openenv-gym." in (bundle / "pyproject.toml").read_text()
    assert not bundle.exists()
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before


@pytest.mark.integration
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


def test_every_gitignore_counts_the_repositorys_too(folder: Path) -> None:
    repository = folder.parent
    (repository / ".git").mkdir()
    (repository / ".gitignore").write_text("*.key\n/my_env/only_here.txt\n")
    (folder / "server" / ".gitignore").write_text("*.txt\n!/keep.txt\n!here.key\n")
    left_out = {"a.key", "server/b.key", "only_here.txt", "server/c.txt", "server/deep/keep.txt"}
    for name in (*left_out, "server/keep.txt", "server/here.key", "server/only_here.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    with bundled(folder) as bundle:
        there = files(bundle)
    assert not there & left_out
    assert {"server/keep.txt", "server/here.key", "server/only_here.md"} <= there


def test_a_repository_that_ignores_the_whole_folder_does_not_empty_its_copy(folder: Path) -> None:
    (folder.parent / ".git").write_text("gitdir: elsewhere\n")
    (folder.parent / ".gitignore").write_text("*\n")
    with bundled(folder) as bundle:
        assert "openenv.yaml" in files(bundle)


def test_the_file_that_marks_a_worktree_is_left_out(folder: Path) -> None:
    (folder / ".git").write_text("gitdir: /home/somebody/repository\n")
    with bundled(folder) as bundle:
        assert ".git" not in files(bundle)


def test_names_in_a_gitignore_need_not_be_utf_8(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (folder / name).write_text("x")
    (folder / ".gitignore").write_bytes(b"caf\xe9\n")
    with bundled(folder) as bundle:
        assert name not in files(bundle)


def test_a_dependency_from_a_path_without_uv_and_pip_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(openenv_cli.bundle, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"neither is installed\. Install uv"), bundled(folder):
        pass


@pytest.mark.parametrize("links", [{"loop": "."}, {"up": ".."}, {"a/to_b": "../b", "b/to_a": "../a"}])
def test_links_in_a_circle_are_refused(links: dict[str, str], folder: Path) -> None:
    for name, target in links.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target)
    with pytest.raises(ConfigurationError, match=r"the link itself|outside"), bundled(folder):
        pass


def test_what_links_inside_lead_to_is_copied(folder: Path, tmp_path: Path) -> None:
    (folder / "assets" / "maps").mkdir(parents=True)
    (folder / "assets" / "maps" / "a.txt").write_text("x")
    (folder / "assets" / "maps" / "private.txt").write_text("x")
    (folder / ".gitignore").write_text("/assets/maps/private.txt\n")
    (folder / "data").symlink_to(folder / "assets")
    (tmp_path / "on the way").symlink_to(folder / "README.md")
    (folder / "around.md").symlink_to(tmp_path / "on the way")
    (folder / "again.md").symlink_to("README.md")
    with bundled(folder) as bundle:
        assert (bundle / "data" / "maps" / "a.txt").read_text() == "x"
        assert (bundle / "around.md").is_file()
        assert not (bundle / "data" / "maps" / "private.txt").exists()
        assert not (bundle / "again.md").is_symlink()
        assert (bundle / "again.md").read_bytes() == (folder / "README.md").read_bytes()


def test_a_pipe_is_named(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ConfigurationError, match=f"Cannot copy {folder / 'pipe'}"), bundled(folder):
        pass


def test_a_full_disk_is_not_a_files_fault(folder: Path, tmp_path: Path) -> None:
    (folder / "large.bin").write_bytes(bytes(2_000_000))
    code = (
        "import sys\n"
        "from openenv_cli import errors\n"
        "from openenv_cli.bundle import bundled\n"
        "from pathlib import Path\n"
        "try:\n"
        "    with bundled(Path(sys.argv[1])): pass\n"
        "except Exception as error: sys.exit(errors.report(error))\n"
    )
    full = tmp_path / "full"
    full.mkdir()
    script = f"mount -t tmpfs -o size=500k tmpfs {full} && exec {sys.executable} -c '{code}' {folder}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        env={**os.environ, "TMPDIR": str(full)},
        capture_output=True,
        text=True,
    )
    if "unshare failed" in done.stderr or "permission denied" in done.stderr.lower():
        pytest.skip(f"no file system of the test's own: {done.stderr}")
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert f"Copies are made in {full}" in done.stderr
    assert "Fix" not in done.stderr


def test_without_uv_the_lock_file_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which

    def without_uv(name: str) -> str | None:
        return None if name == "uv" else real(name)

    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(shutil, "which", without_uv)
    with bundled(folder) as bundle:
        assert not (bundle / "uv.lock").exists()
        assert list((bundle / "wheels").glob("openenv_gym-*.whl"))


def test_a_path_that_leads_nowhere_is_named(folder: Path) -> None:
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(str(REPOSITORY), "/no/such/checkout"))
    with pytest.raises(ConfigurationError, match="does not exist: /no/such/checkout"), bundled(folder):
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
