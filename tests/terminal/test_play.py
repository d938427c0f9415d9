"""`openenv play`: prompts from the schema, in a terminal and from a pipe."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.terminal import COLUMNS, Terminal


def play(target: str | Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Plays from a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "openenv_cli", "play", str(target)],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_each_field_is_a_question_and_enter_takes_its_default(workshop: Path) -> None:
    with Terminal("play", workshop) as terminal:
        terminal.wait_for("where (left, right): ")
        terminal.type("?")
        terminal.wait_for("Where to put it")
        terminal.wait_for("where (left, right): ")
        terminal.type("ri")
        terminal.wait_for("power (whole number 0 to 9) [3]: ")
        terminal.type("10")
        terminal.wait_for("Type a whole number 0 to 9. ? for more.")
        terminal.wait_for("power (whole number 0 to 9) [3]: ")
        terminal.type("")
        terminal.wait_for("is_fast (yes or no): ")
        terminal.type("y")
        terminal.wait_for("part.kind (bolt, nut): ")
        terminal.type("nut")
        terminal.wait_for("part.size (number 0 to 1) [0.5]: ")
        terminal.type("0.25")
        terminal.wait_for("spare (+ for field by field, or JSON object) [null]: ")
        terminal.type("+")
        terminal.wait_for("spare.kind")
        terminal.type("bolt")
        terminal.wait_for("spare.size")
        terminal.type("")
        terminal.wait_for("note (text) [none]: ")
        terminal.type('":quoted"')
        terminal.wait_for("step 1, reward 1.5, return 1.5")
        terminal.wait_for("where")
        terminal.type(":quit")
        assert terminal.end() == 0
        assert terminal.left_behind() == []
    said = terminal.text.replace("\n", "").replace("  ", "")
    assert '"where":"right","power":3,"is_fast":true,"part":{"kind":"nut","size":0.25}' in said
    assert '"spare":{"kind":"bolt","size":0.5},"note":":quoted"' in said
    assert "▀" * 12 in re.sub(r"\x1b\[[\d;]*m", "", terminal.shown), "a row of the picture"
    assert terminal.has_colour
    assert max(map(len, terminal.rows)) <= COLUMNS
    assert "\x1b[2J" not in terminal.shown, "the environment cleared the screen"


def test_ctrl_d_leaves_with_nothing_left(workshop: Path, own_folders: Path) -> None:
    with Terminal("play", workshop) as terminal:
        terminal.wait_for("where (left, right): ")
        terminal.process.sendeof()
        assert terminal.end() == 0
        assert terminal.left_behind() == []
    assert list((own_folders / "XDG_RUNTIME_DIR").rglob("*.json")) == []


def test_a_script_plays_from_a_pipe(workshop: Path) -> None:
    part = '"part": {"kind": "nut"}'
    done = play(
        workshop,
        ":reset 7",
        f'{{"where": "left", "is_fast": true, {part}}}',
        f'{{"where": "up", "is_fast": true, {part}}}',
        f'{{"where": "left", "is_fast": true, {part}, "note": "break"}}',
        ":state",
        ":sample",
        ":nonsense",
        f'{{"where": "left", "is_fast": true, {part}}}',
    )
    assert done.returncode == 1, "two of its steps failed"
    assert "\x1b" not in done.stdout + done.stderr
    assert "▀" not in done.stdout
    assert "New episode with seed 7\nsaid:\n  seed 7\n" in done.stdout
    assert "frame: uint8 (8, 12, 3), 200 to 200, mean 200\n" in done.stdout
    assert "grid:\n  int64 (2, 3)\n  0 1 2\n  3 4 5\n" in done.stdout
    assert "far: float32 (64, 64), 1 to 1, mean 1\n" in done.stdout
    assert "where: Input should be 'left' or 'right'" in done.stderr
    assert "the environment raised RuntimeError: it broke" in done.stderr
    assert ', in step\n      raise RuntimeError("it broke")\n' in done.stderr
    assert "step_count: 1\n" in done.stdout
    assert "step 3, reward 1.5, return 4.5, terminated\n" in done.stdout
    assert done.stdout.count("New episode") == 3, "one at the begin, one asked for, one after the end"


def test_a_reset_that_fails_shows_the_traceback_of_the_environment(workshop: Path) -> None:
    app = workshop / "app.py"
    app.write_text(app.read_text().replace("return self._see(f", "return self._missing(f"))
    done = play(workshop)
    assert done.returncode == 5
    assert "has no attribute '_missing'" in done.stderr
    assert "The server's log ends with:\n" in done.stderr
    assert ", in reset\n      return self._missing" in done.stderr


def test_what_the_server_renders_is_shown(tmp_path: Path) -> None:
    from openenv_gym.providers.process import ProcessProvider

    with ProcessProvider(gym="FrozenLake-v1", gym_kwargs={"render_mode": "ansi"}) as server:
        done = play(server.base_url, "2", "x", "4")
    assert done.returncode == 0
    assert "SFFF\nFHFH\nFFFH\nHFFG\n" in done.stdout
    assert "action (whole number 0 to 3): 2\nstep 1, reward 0, return 0\n" in done.stdout
    assert done.stdout.count("Type a whole number 0 to 3") == 2


def test_numbers_are_typed_with_spaces_between(serve_gym: Callable[[str], str]) -> None:
    done = play(serve_gym("Pendulum-v1"), "0.5", "[0.5]", "1 2", "one")
    assert done.stdout.count("\nstep ") == 2
    assert "action (1 numbers, separated by spaces): one\nType numbers separated by spaces" in done.stdout
