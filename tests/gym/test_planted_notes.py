"""Notes of running servers that another user planted are not believed, and what is wrong stops nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openenv_gym.errors import ConfigurationError
from openenv_gym.naming import known

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX's")

needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may chown")
ANOTHER = 54321
OPENENV = (sys.executable, "-m", "openenv_cli")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    # Not left to platformdirs, which takes another folder if this one is shared.
    monkeypatch.setattr(known, "notes_folder", lambda: folder / "openenv-gym" / "servers")
    return folder


def plant(name: str = "planted", **fields: object) -> Path:
    folder = known.notes_folder()
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "planted.json"
    note.write_text(json.dumps({"name": name, "base_url": "http://evil:1", "pid": os.getpid(), **fields}))
    note.chmod(0o600)
    return note


def names(problems: list[str] | None = None) -> list[str]:
    return [server.name for server in known.running_servers(problems)]


def test_an_own_note_is_found(runtime: Path) -> None:
    note = known.leave_note("mine", "http://mine:1")
    plant()
    assert sorted(names()) == ["mine", "planted"]
    assert note.stat().st_mode & 0o777 == 0o600
    for folder in (known.notes_folder(), known.notes_folder().parent):
        assert folder.stat().st_mode & 0o777 == 0o700


SHARED: dict[str, Callable[[Path], None]] = {
    "the runtime folder": lambda runtime: runtime.chmod(0o777),
    "ours in it": lambda runtime: known.notes_folder().parent.chmod(0o770),
    "that of the notes": lambda runtime: known.notes_folder().chmod(0o777),
    "that of the notes, sticky": lambda runtime: known.notes_folder().chmod(0o1777),
}


@pytest.mark.parametrize("shared", SHARED)
def test_in_a_folder_that_others_can_write_to_no_note_is_believed_or_left(runtime: Path, shared: str) -> None:
    note = plant()
    SHARED[shared](runtime)
    problems: list[str] = []
    assert names(problems) == []
    assert note.exists()
    (problem,) = problems
    assert "others may write to it" in problem
    assert "XDG_RUNTIME_DIR" in problem
    with pytest.raises(ConfigurationError, match=r"only by its address.*XDG_RUNTIME_DIR"):
        known.leave_note("mine", "http://mine:1")


def test_a_sticky_parent_as_slash_tmp_is_safe(runtime: Path) -> None:
    runtime.chmod(0o1777)
    known.leave_note("mine", "http://mine:1")
    assert names() == ["mine"]


@needs_root
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_folder_of_another_user_is_not_believed(runtime: Path, depth: int) -> None:
    plant()
    os.chown([known.notes_folder(), *known.notes_folder().parents][depth], ANOTHER, ANOTHER)
    problems: list[str] = []
    assert names(problems) == []
    assert "belongs to another user" in problems[0]


@needs_root
@pytest.mark.parametrize("depth", [0, 1])
def test_a_link_of_another_user_does_not_have_files_removed(
    runtime: Path, tmp_path: Path, depth: int
) -> None:
    documents = tmp_path / "documents"
    (documents / "servers").mkdir(parents=True)
    for folder in (documents, documents / "servers"):
        (folder / "results.json").write_text("{}")
    link = (known.notes_folder(), known.notes_folder().parent)[depth]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(documents)
    os.chown(link, ANOTHER, ANOTHER, follow_symlinks=False)
    problems: list[str] = []
    assert names(problems) == []
    assert f"{link} belongs to another user" in problems[0]
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        known.leave_note("mine", "http://mine:1")
    assert len(list(documents.rglob("*.json"))) == 2


def test_an_own_link_is_followed(runtime: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    known.notes_folder().parent.mkdir()
    known.notes_folder().symlink_to(elsewhere)
    known.leave_note("mine", "http://mine:1")
    assert names() == ["mine"]


@needs_root
def test_a_note_of_another_user_is_not_believed(runtime: Path) -> None:
    note = plant()
    os.chown(note, ANOTHER, ANOTHER)
    assert names() == []


def test_a_note_that_others_can_write_to_is_not_believed(runtime: Path) -> None:
    plant().chmod(0o666)
    assert names() == []


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_read(runtime: Path, tmp_path: Path, kind: str) -> None:
    note = plant()
    elsewhere = note.rename(tmp_path / "elsewhere.json")
    if kind == "link":
        note.symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(note)
    else:
        note.mkdir()
    assert names() == []


@pytest.mark.parametrize(
    "fields",
    [{"pid": 10**30}, {"pid": 0}, {"pid": -1}, {"pid": "x"}, {"pid": None}, {"name": "a/../x"}, {"name": 3}],
)
def test_a_malformed_note_is_dropped(runtime: Path, fields: dict[str, object]) -> None:
    note = plant(**fields)
    assert names() == []
    assert not note.exists()


def test_nested_and_endless_notes_are_dropped(runtime: Path) -> None:
    for text in ("[" * 50_000, '"' + "x" * 10_000_000):
        note = plant()
        note.write_text(text)
        assert names() == []
        assert not note.exists()


def squat(runtime: Path) -> None:
    (runtime / "openenv-gym").write_text("a file where the folder belongs")


@pytest.mark.parametrize("is_file", [True, False], ids=["a file", "a shared folder"])
def test_serve_and_list_go_on_without_notes(runtime: Path, is_file: bool) -> None:
    if is_file:
        squat(runtime)
    else:
        plant()
        known.notes_folder().chmod(0o777)
    command = [*OPENENV, "serve", "--gym", "CartPole-v1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            base_url = server.stdout.readline().strip()
            assert base_url.startswith("http://127.0.0.1:")
            shown = subprocess.run([*OPENENV, "info", base_url], capture_output=True, text=True, check=False)
            assert shown.returncode == 0, shown.stderr
        finally:
            server.terminate()
        errors = server.stderr.read()
    listed = subprocess.run([*OPENENV, "list"], capture_output=True, text=True, check=False)
    print(errors, listed.stderr)
    assert "Warning: This server is not found by its name" in errors
    assert "Traceback" not in errors + listed.stderr
    assert listed.returncode == 0
    assert "Warning: Running servers" in listed.stderr
    assert "planted" not in listed.stdout
