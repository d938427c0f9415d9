"""What a trial of the deployment modes leaves in the folder."""

from __future__ import annotations

from pathlib import Path

from openenv_cli.validation.mode_checks import removes_new_metadata


def test_metadata_that_an_installation_wrote_are_gone_and_older_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "older.egg-info").mkdir()
    with removes_new_metadata(tmp_path):
        (tmp_path / "walker.egg-info").mkdir()
        (tmp_path / "src" / "walker.egg-info").mkdir(parents=True)
    assert sorted(path.name for path in tmp_path.rglob("*.egg-info")) == ["older.egg-info"]
