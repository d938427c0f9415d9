"""No text that others wrote controls the terminal, is taken for markup or forges a line."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from openenv_cli import output
from openenv_cli.console import Console
from openenv_server.operations.logs import JsonFormatter, TextFormatter
from openenv_server.security.secrets import SecretFilter
from rich.table import Table
from rich.text import Text

EVIL = (
    "a\x1b[2J\x1b]0;title\x07b\x9b31m\rc\x08[red]d[/] [/nothing] :smile: \x1b]52;c;YQ==\x1b\\"
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\ \u202esdrawkcab\u202c \u2067 \ud800"
)
CONTROLS = ("\x1b", "\x07", "\x9b", "\x08", "\r", "\u202e", "\u2067", "\ud800")


def shown(renderable: Any) -> str:
    file = io.StringIO()
    Console(file=file, force_terminal=True, color_system=None, width=500).print(renderable)
    return file.getvalue()


def table() -> Table:
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    return table


@pytest.mark.parametrize("renderable", [EVIL, Text(EVIL, "bold"), table()], ids=["str", "text", "table"])
def test_the_console_shows_neither_controls_nor_markup(renderable: Any) -> None:
    text = shown(renderable)
    assert not any(control in text for control in CONTROLS)
    assert "[red]d[/] [/nothing] :smile:" in text


def test_messages_and_facts_in_a_pipe_have_no_controls(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("Error", EVIL)
    output.note(EVIL)
    output.print_facts("headline", {"name": f"{EVIL}\nforged\tline"})
    captured = capsys.readouterr()
    assert not any(control in captured.out + captured.err for control in CONTROLS)
    assert captured.out.count("\n") == 1
    assert captured.out.count("\t") == 1


def test_json_has_escapes_for_controls() -> None:
    text = output.json_text(json.dumps({"a": EVIL}, ensure_ascii=False))
    assert not any(control in text for control in CONTROLS)
    assert json.loads(text) == {"a": EVIL}


def record(message: str, *, fails: bool = False) -> logging.LogRecord:
    exc_info = None
    if fails:
        try:
            raise ValueError(message)
        except ValueError as error:
            exc_info = (ValueError, error, error.__traceback__)
    return logging.LogRecord("env", logging.ERROR, "x.py", 1, "%s", (message,), exc_info)


FORGED = "no\n2026-01-01T00:00:00.000+00:00 INFO openenv_server: all is well\u2028x\x1b[2J\u202e"


def test_a_message_is_one_line_of_the_log() -> None:
    formatter = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    (line,) = formatter.format(record(FORGED)).splitlines()
    assert r"no\n2026-01-01" in line
    assert "\x1b" not in line
    assert "\u202e" not in line


@pytest.mark.parametrize("is_filtered", [True, False])
def test_an_exception_forges_no_line_of_the_log(is_filtered: bool) -> None:
    formatter = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    failed = record(FORGED, fails=True)
    if is_filtered:  # as all records of a server are
        SecretFilter().filter(failed)
    lines = formatter.format(failed)
    assert formatter.format(failed) == lines
    first, *others = lines.splitlines()
    assert " ERROR env: " in first
    assert others
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in "".join(others)


def test_a_record_is_one_line_of_json() -> None:
    (line,) = JsonFormatter().format(record(FORGED, fails=True)).splitlines()
    assert json.loads(line)["message"] == FORGED


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("message", "arguments"), [("%d", ("x",)), ("%s %s", (1,)), ("%s", (Unprintable(),)), (Unprintable(), ())]
)
def test_a_wrong_call_of_the_log_does_not_fail(message: Any, arguments: tuple[Any, ...]) -> None:
    wrong = logging.LogRecord("env", logging.ERROR, "x.py", 7, message, arguments, None)
    assert SecretFilter().filter(wrong)
    assert "A log message of x.py:7 failed" in wrong.getMessage()
