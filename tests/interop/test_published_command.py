"""Each command and option of the published `openenv` is here too, or is left out for a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from openenv_cli.commands import ABSENT
from typer.testing import CliRunner

from openenv.cli.__main__ import app

OPTIONS = Path(__file__).parent / "command_options.py"

LEFT_OUT_OPTIONS = {
    "validate": {"--policy": "selects a version of the published checks' severities; the checks here differ"},
}


def options_of(python: str) -> dict[str, list[str]]:
    done = subprocess.run([python, str(OPTIONS)], capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def theirs(peer_python: Path) -> dict[str, list[str]]:
    return options_of(str(peer_python))


@pytest.fixture(scope="module")
def ours() -> dict[str, list[str]]:
    return options_of(sys.executable)


def test_every_option_is_here_but_for_those_that_are_left_out(
    theirs: dict[str, list[str]], ours: dict[str, list[str]]
) -> None:
    missing = {
        command: gone
        for command, options in theirs.items()
        if command in ours and (gone := {*options} - {*ours[command]})
    }
    assert missing == {command: {*reasons} for command, reasons in LEFT_OUT_OPTIONS.items()}


def test_every_command_is_here_or_says_what_to_use_instead(
    theirs: dict[str, list[str]], ours: dict[str, list[str]]
) -> None:
    assert {*theirs} - {*ours} == {*ABSENT}


@pytest.mark.parametrize("rest", [[], ["--help"], ["run", "x", "--unknown", "-z"]], ids=" ".join)
@pytest.mark.parametrize("command", ABSENT)
def test_a_command_that_is_not_here_says_what_to_use(command: str, rest: list[str]) -> None:
    done = CliRunner().invoke(app, [command, *rest])
    assert done.exit_code == 2
    assert f"openenv-gym has no command {command}. {ABSENT[command]}" in done.output


def test_the_application_runs_commands_and_reports_errors() -> None:
    assert CliRunner().invoke(app, ["list", "--help"]).exit_code == 0
    failed = CliRunner().invoke(app, ["info", "./no-such-folder"])
    assert failed.exit_code == 2
    assert "Error: No such folder: " in failed.output
    assert CliRunner().invoke(app, ["fly"]).exit_code == 2


def test_the_advice_names_commands_that_are_here(ours: dict[str, list[str]]) -> None:
    for advice in ABSENT.values():
        assert {*re.findall(r"openenv ([a-z]+)", advice)} <= ours.keys()
