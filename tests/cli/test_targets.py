"""A target that is both a folder and the name of a running server: only a server of that folder counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from openenv_cli.targets import source_of

from openenv_gym.naming import known
from openenv_gym.providers.sources import Source


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "openenv.yaml").write_text("name: mine\napp: app:app\n")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("served", "is_used"), [("mine", True), ("other", False), ("", False)], ids=["it", "another", "none"]
)
def test_a_running_server_counts_if_it_serves_the_folder(folder: Path, served: str, is_used: bool) -> None:
    note = known.leave_note("mine", "http://running:1", folder.parent / served if served else None)
    try:
        expected = Source("base_url", "http://running:1") if is_used else Source("path", str(folder))
        assert source_of("mine") == expected
    finally:
        known.remove_note(note)


def test_without_such_a_folder_any_running_server_of_the_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = known.leave_note("mine", "http://running:1", tmp_path / "other")
    try:
        assert source_of("mine") == Source("base_url", "http://running:1")
    finally:
        known.remove_note(note)


def test_a_registered_name_counts_before_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_MINE_URL", "http://registered:1")
    assert source_of("mine") == Source("base_url", "http://registered:1")
