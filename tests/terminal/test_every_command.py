"""What holds for each command, whoever adds it: its help in a terminal, and in a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from openenv_cli.commands import COMMANDS, PANELS, Command

from tests.support.terminal import COLUMNS, Terminal

each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def test_the_overview_fits_into_a_terminal() -> None:
    with Terminal("--help") as terminal:
        assert terminal.end() == 0
    assert max(map(len, terminal.rows)) <= COLUMNS
    lines = [" ".join(row.replace("│", " ").split()) for row in terminal.rows]
    for command in COMMANDS:
        assert f"{command.name} {command.help}" in lines  # on one line
    assert [panel for panel in PANELS if not any(f"─ {panel} ─" in row for row in terminal.rows)] == []


@each_command
def test_its_help_fits_and_is_coloured_and_has_an_example(command: Command) -> None:
    with Terminal(command.name, "--help") as terminal:
        assert terminal.end() == 0
    assert max(map(len, terminal.rows)) <= COLUMNS, terminal.text
    assert terminal.has_colour
    assert re.search(rf"Examples:\s+openenv {command.name}", terminal.text)


@each_command
def test_its_help_has_no_colour_where_the_user_wants_none(command: Command) -> None:
    with Terminal(command.name, "--help", NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert not terminal.has_colour


@each_command
def test_its_help_is_plain_in_a_pipe(command: Command) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "openenv_cli", command.name, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != "FORCE_COLOR"},
    )
    assert "\x1b" not in done.stdout


@each_command
def test_wrong_usage_is_a_sentence_in_a_terminal(command: Command) -> None:
    with Terminal(command.name, "--no-such-option") as terminal:
        assert terminal.end() == 2
    assert max(map(len, terminal.rows)) <= COLUMNS, terminal.text
    assert "No such option: --no-such-option" in terminal.text
    assert "Traceback" not in terminal.text
