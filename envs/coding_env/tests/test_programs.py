"""The input of programs, and their results."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from coding_env.server.limits import Isolation
from coding_env.server.sandbox import Sandbox

OpenSandbox = Callable[..., Sandbox]


def test_stdout_stderr_and_the_exit_code_are_returned(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    outcome = open_sandbox(isolation).run(
        "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    )
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("out\n", "err\n", 3)
    assert outcome.stopped_by is None
    assert 0 < outcome.duration_s < 10


def test_a_traceback_shows_the_line_and_the_same_path_everywhere(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    outcome = open_sandbox(isolation).run("x = 0\n1 / x")
    assert 'File "/program/main.py", line 2, in <module>\n    1 / x\n' in outcome.stderr
    assert outcome.exit_code == 1


def test_a_signal_is_a_negative_exit_code(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    outcome = sandbox.run(f"import os; os.kill(os.getpid(), {signal.SIGSEGV:d})")
    assert outcome.exit_code == -signal.SIGSEGV
    assert sandbox.run("import os; os.abort()").exit_code == -signal.SIGABRT


def test_files_last_from_program_to_program_and_modules_can_be_imported(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    sandbox = open_sandbox(isolation)
    sandbox.run("open('helper.py', 'w').write('answer = 42')")
    assert sandbox.run("import helper; print(helper.answer)").stdout == "42\n"
    assert open_sandbox(isolation).run("import os; print(os.listdir())").stdout == "[]\n"


def test_a_huge_input_arrives_whole(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    text = "ü" * 500_000
    assert open_sandbox(isolation).run("import sys; print(len(sys.stdin.read()))", text).stdout == "500000\n"


def test_a_huge_unread_input_blocks_nothing(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    assert sandbox.run("print('done')", "x" * 1_000_000).stdout == "done\n"
    closes = "import os, time; os.close(0); time.sleep(0.1); print('closed')"
    assert sandbox.run(closes, "x" * 1_000_000).stdout == "closed\n"


def test_output_that_is_not_text_is_returned_too(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    assert sandbox.run("import os; os.write(1, bytes([65, 255, 0, 66]))").stdout == "A\ufffd\0B"
    assert sandbox.run("print('ü€🎮')").stdout == "ü€🎮\n"
    outcome = sandbox.run(r"print('\ud800')")
    assert outcome.exit_code == 1
    assert "UnicodeEncodeError" in outcome.stderr


@pytest.mark.parametrize("code", ["def", "\ud800", "x = '''", "# coding: nothing\n"])
def test_invalid_source_is_a_failed_program(code: str, open_sandbox: OpenSandbox) -> None:
    outcome = open_sandbox("namespaces").run(code)
    assert outcome.exit_code == 1
    assert "Error" in outcome.stderr


def test_outputs_can_be_closed(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    outcome = open_sandbox(isolation).run(
        "import os, time; os.close(1); os.close(2); time.sleep(0.1); os._exit(7)"
    )
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("", "", 7)


def test_endless_output_is_cut_and_the_program_continues(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    sandbox = open_sandbox(isolation)
    outcome = sandbox.run("for _ in range(100): print('x' * 10_000)\nimport sys; sys.exit(5)")
    assert len(outcome.stdout) == 16 << 10
    assert (outcome.exit_code, outcome.stdout_truncated, outcome.stderr_truncated) == (5, True, False)
    outcome = sandbox.run("while True: print('x' * 10_000)", timeout_s=0.5)
    assert len(outcome.stdout) == 16 << 10
    assert outcome.stopped_by == "time"


def test_the_hash_seed_determines_the_order_of_sets(open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox("namespaces")
    code = "print({str(n) for n in range(50)})"
    outputs = [sandbox.run(code, hash_seed=seed).stdout for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_programs_have_threads_and_processes_and_event_loops(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    code = """
import asyncio, subprocess, sys, threading
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
print(subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True).stdout.strip())
asyncio.run(asyncio.sleep(0))
"""
    outcome = open_sandbox(isolation).run(code)
    assert (outcome.stdout, outcome.stderr) == ("thread\n42\n", "")


def test_a_program_can_end_its_own_processes(strong_isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    code = """
import subprocess
try:
    subprocess.run(["sleep", "60"], timeout=0.1)
except subprocess.TimeoutExpired:
    print("ended")
"""
    assert open_sandbox(strong_isolation).run(code).stdout == "ended\n"


def test_sandboxes_run_at_the_same_time(open_sandbox: OpenSandbox) -> None:
    from concurrent.futures import ThreadPoolExecutor

    sandboxes = [open_sandbox("namespaces") for _ in range(4)]
    begin = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(
            pool.map(lambda sandbox: sandbox.run("import time; time.sleep(1); print(1)"), sandboxes)
        )
    assert [outcome.stdout for outcome in outcomes] == ["1\n"] * 4
    assert time.monotonic() - begin < 3
