"""`openenv validate` as a person or a script meets it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from openenv_cli.validation.report import Report

from tests.cli.validation.outcomes import edit

OPENENV = [sys.executable, "-m", "openenv_cli"]
HANG = """\
import os, sys, time
from pathlib import Path
Path(__file__).with_name("pid").write_text(str(os.getpid()))
time.sleep(600)
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*OPENENV, "validate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.integration
def test_a_good_folder_is_a_line_a_check_and_exits_with_0(walker: Path) -> None:
    done = run(walker, "--level", "static")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "✓ It has the required files  [files.required]"
    assert sum(line.startswith("✓ ") for line in lines) == 17
    assert lines[-1] == "walker is valid (static)"
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_verbose_explains_what_passed(walker: Path) -> None:
    assert "    name: walker, app: server.app:app" in run(walker, "--level", "static", "-v").stdout


@pytest.mark.integration
def test_a_failure_says_what_to_do_and_exits_with_1(walker: Path) -> None:
    edit(walker / "openenv.yaml", ("server.app:app", "server.app:main_app"))
    done = run(walker)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    place = lines.index("✗ The application in openenv.yaml exists  [app.defined]")
    assert (
        lines[place + 1] == "    openenv.yaml has app: server.app:main_app, but server/app.py has no main_app"
    )
    assert lines[place + 2].startswith("    → Write `main_app = create_app(…)`")
    assert "✗" not in lines[place + 3]
    assert lines[-1] == "walker is not valid (runtime)"


def test_a_failure_is_seen_at_the_end_and_what_was_skipped_for_it_is_one_line(walker: Path) -> None:
    edit(walker / "server/app.py", ("import sys\n", "import sys; 1 / 0\n"))
    (walker / "uv.lock").unlink()
    lines = run(walker, "--level", "runtime").stdout.splitlines()
    assert "- 18 checks were skipped because server.start did not pass" in lines
    assert not any("[session." in line for line in lines)
    assert lines[-3] == "Failures"
    assert lines[-2].startswith("✗ `openenv serve` starts it  [server.start]: The server ended with exit")
    assert lines[-1] == "walker is not valid (runtime)"
    explained = run(walker, "--level", "runtime", "--verbose").stdout
    assert "    Skipped because server.start did not pass" in explained
    assert "[session.step]" in explained


@pytest.mark.integration
def test_json_is_the_report_and_nothing_else(walker: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = run(walker, "--level", "static", "--json", "--output", file)
    assert done.stderr == ""
    report = Report.model_validate_json(done.stdout, strict=True)
    assert report.passed
    assert report.name == "walker"
    assert Report.model_validate_json(file.read_text()) == report
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_a_server_at_a_url(serve_gym: Callable[[str], str]) -> None:
    done = run(serve_gym("CartPole-v1"), "--json")
    assert done.returncode == 0, done.stdout
    report = Report.model_validate_json(done.stdout)
    assert {check.outcome for check in report.checks} == {"passed"}
    assert report.modes == []


def test_the_published_options_choose_a_server_or_a_folder(
    serve_gym: Callable[[str], str], walker: Path
) -> None:
    done = run("--url", serve_gym("CartPole-v1"), "--level", "semantic", "--json")
    assert done.returncode == 0, done.stdout
    assert Report.model_validate_json(done.stdout).level == "runtime"
    done = run(walker, "--local", "--skip-build", "--level", "static", "--json")
    assert Report.model_validate_json(done.stdout).level == "static"


def test_skip_build_builds_no_image_and_says_so(walker: Path) -> None:
    (walker / "uv.lock").unlink()
    edit(walker / "server/app.py", ("import sys\n", "import sys; 1 / 0\n"))  # nothing else takes long
    report = Report.model_validate_json(run(walker, "--skip-build", "--json").stdout)
    assert report.level == "runtime"
    assert "container: --skip-build was given" in report.left_out
    assert not [check for check in report.checks if check.level == "container"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--url", "http://127.0.0.1:9"], 4, "Nothing answers"),
        (["--url", "localhost:9"], 2, "is not a base URL"),
        (["./my_env", "--url", "http://127.0.0.1:9"], 2, "cannot be combined with the target ./my_env"),
        (["--local", "--url", "http://127.0.0.1:9"], 2, "cannot be combined with --local"),
        (["--local", "http://127.0.0.1:9"], 2, "--local requires a folder"),
        (["/"], 2, "has neither openenv.yaml nor server/app.py"),
        (["/no/such/folder"], 2, "No such folder: /no/such/folder"),
        (["http://127.0.0.1:9"], 4, "Nothing answers"),
        (["http://"], 2, "is not a base URL"),
        (["http://127.0.0.1:9", "--level", "static"], 2, "requires the environment's folder"),
        (["--output", "/no/such/folder/report.json"], 2, "does not exist"),
        (["--level", "deep"], 2, "static"),
        (["--timeout", "0"], 2, "0.1"),
    ],
)
def test_wrong_usage_says_what_to_do(arguments: list[str], code: int, message: str) -> None:
    failed = run(*arguments)
    assert failed.returncode == code, failed.stderr
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


def test_a_web_server_that_is_no_openenv_server_is_not_an_environment() -> None:
    from fastapi import FastAPI

    from tests.support.servers import running

    with running(FastAPI()) as base_url:
        failed = run(base_url)
    assert failed.returncode == 2
    assert "is not an OpenEnv server" in failed.stderr


def test_a_terminal_sees_colours_and_what_is_looked_at_now(walker: Path) -> None:
    (walker / "uv.lock").unlink()
    leader, follower = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*OPENENV, "validate", str(walker)], stdout=follower, stderr=follower, stdin=follower, env=env
    )
    os.close(follower)
    shown, deadline = b"", time.monotonic() + 60
    while b"walker is valid" not in shown:
        assert time.monotonic() < deadline, shown.decode()
        if select.select([leader], [], [], 1)[0]:
            shown += os.read(leader, 65536)
    assert process.wait(timeout=20) == 0
    os.close(leader)
    assert b"\x1b[" in shown
    assert "`openenv serve` starts it…".encode() in shown


@pytest.mark.parametrize("stage", ["openenv serve", "python -m"])
def test_ctrl_c_leaves_no_process(walker: Path, stage: str) -> None:
    (walker / "uv.lock").unlink()
    if stage == "openenv serve":
        edit(walker / "server/app.py", ("import sys\n", HANG))
    else:
        hang = HANG.replace("\n", "\n    ").rstrip()
        edit(walker / "server/app.py", ("    import argparse\n", f"    {hang}\n"))
    process = subprocess.Popen(
        [*OPENENV, "validate", str(walker)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    note, deadline = walker / "server/pid", time.monotonic() + 60
    while not note.exists() or not note.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
    assert not Path("/proc", note.read_text()).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["--template", "echo"], ["--template", "array"], ["--template", "chat"], ["--gym", "CartPole-v1"]],
    ids=["echo", "array", "chat", "gym"],
)
def test_what_openenv_init_makes_is_valid_and_starts_in_every_way(
    tmp_path: Path, arguments: list[str]
) -> None:
    made = [*OPENENV, "init", "my_env", "--output-dir", str(tmp_path), *arguments]
    subprocess.run(made, check=True, capture_output=True, timeout=200)
    done = run(tmp_path / "my_env", "--level", "runtime", "--json")
    report = Report.model_validate_json(done.stdout)
    assert {check.id: check.detail for check in report.checks if check.outcome != "passed"} == {}
    assert [mode.works for mode in report.modes] == [True, True, True, None]
