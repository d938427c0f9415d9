"""What validating leaves in the folder."""

from __future__ import annotations

from pathlib import Path

from openenv_cli.validation.mode_checks import removes_what_tools_write


def test_what_tools_wrote_is_gone_and_what_was_there_before_stays(tmp_path: Path) -> None:
    for name in ("older.egg-info", "data/__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    with removes_what_tools_write(tmp_path):
        for name in ("walker.egg-info", "src/walker.egg-info", ".venv/lib", "server/__pycache__"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "game.db").write_text("")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"older.egg-info", "data", "data/__pycache__", "src", "server", "game.db"}
