"""What a terminal shows while a server is started, and that Ctrl-C ends it there."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect
import pytest

from tests.providers.test_process import descendants, is_there, wait_for

LAUNCH = """\
import sys
from openenv_gym.providers.process import ProcessProvider
with ProcessProvider(sys.argv[1]) as provider:
    print("up:", provider.base_url)
"""
WITHOUT_RICH = "import sys; sys.modules['rich.console'] = None\n"


def terminal(code: str, folder: Path) -> pexpect.spawn[str]:
    return pexpect.spawn(sys.executable, ["-c", code, str(folder)], encoding="utf-8", timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "openenv.yaml").write_text("name: counter\napp: app:app\n")
    (tmp_path / "app.py").write_text("from tests.providers.served import app\n")
    return tmp_path


def test_a_terminal_shows_what_is_started(folder: Path) -> None:
    shown = terminal(LAUNCH, folder)
    shown.expect_exact(f"Starting a server of {folder}"[:60])
    shown.expect_exact("up: http://127.0.0.1:")
    shown.expect(pexpect.EOF)


def test_without_rich_nothing_is_shown(folder: Path) -> None:
    shown = terminal(WITHOUT_RICH + LAUNCH, folder)
    shown.expect(pexpect.EOF)
    assert shown.before is not None
    assert shown.before.startswith("up: http://127.0.0.1:"), shown.before


def test_ctrl_c_while_it_starts_leaves_nothing(folder: Path) -> None:
    (folder / "app.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('here').touch()\ntime.sleep(60)\n"
    )
    shown = terminal(LAUNCH, folder)
    wait_for((folder / "here").exists)
    started = descendants(shown.pid)
    assert started
    shown.sendintr()
    shown.expect_exact("KeyboardInterrupt")
    shown.expect(pexpect.EOF)
    wait_for(lambda: not any(map(is_there, started)))
