"""Programs that take all they can get. The limits are small, so that the machine survives a failing one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coding_env.server.limits import Isolation, Limits
from coding_env.server.sandbox import Sandbox

OpenSandbox = Callable[..., Sandbox]


def test_an_endless_loop_ends_with_its_time(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    outcome = sandbox.run("print('begun', flush=True)\nwhile True: pass", timeout_s=0.5)
    assert (outcome.stopped_by, outcome.stdout, outcome.exit_code) == ("time", "begun\n", -9)
    assert 0.5 <= outcome.duration_s < 3
    assert sandbox.run("print('next')").stdout == "next\n"


def test_a_program_that_ignores_signals_ends_with_its_time(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    code = "import signal, time\nfor n in set(signal.Signals) - {9, 19}: signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)"
    assert open_sandbox(isolation).run(code, timeout_s=0.5).stopped_by == "time"


def test_cpu_time_is_limited(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    outcome = open_sandbox(isolation, cpu_s=1).run("while True: pass")
    assert outcome.stopped_by == "time"
    assert outcome.duration_s < 9


def test_a_memory_bomb_is_a_memory_error(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    outcome = open_sandbox(isolation).run("x = bytearray(10_000_000_000)")
    assert "MemoryError" in outcome.stderr
    assert outcome.exit_code == 1


def test_processes_together_have_no_more_memory_than_one(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    code = "import os, time\nfor _ in range(4): os.fork() or (bytearray(b'x' * 90_000_000), time.sleep(60))\ntime.sleep(60)"
    outcome = open_sandbox(isolation).run(code)
    assert outcome.stopped_by == "memory"
    assert outcome.duration_s < 8


@pytest.mark.parametrize("call", ["os.memfd_create('x')", "libc.shmget(0, 100_000_000, 0o1777) + 1 or [][0]"])
def test_memory_outside_of_processes_is_denied(
    call: str, isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    outcome = open_sandbox(isolation).run(f"import ctypes, os\nlibc = ctypes.CDLL(None)\n{call}")
    assert outcome.exit_code == 1, outcome


FILL = """
import os, socket, time
kept = []
def fill(*sockets):
    kept.extend(sockets)
    for one in sockets:
        one.setblocking(False)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
        except OSError: pass
        try:
            while one.send(bytes(65536)): pass
        except OSError: pass
def tcp():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        return client, listening.accept()[0]
for _ in range(8):
    if os.fork() == 0:
        try:
            while True: fill(*PAIR())
        except OSError: pass
        time.sleep(60)
time.sleep(60)
"""


@pytest.mark.parametrize("pair", ["socket.socketpair", "tcp"])
def test_memory_in_sockets_counts(pair: str, isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    if pair == "tcp" and isolation != "namespaces":
        pytest.skip("the sandbox has no such sockets")
    outcome = open_sandbox(isolation).run(FILL.replace("PAIR", pair))
    assert outcome.stopped_by == "memory", outcome
    assert outcome.duration_s < 8


def test_the_size_of_a_file_is_limited(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    code = """
import os
with open("big", "wb", buffering=0) as file:
    try:
        while True: file.write(b"x" * 1_000_000)
    except OSError: pass
print(os.path.getsize("big"))
"""
    outcome = open_sandbox(isolation).run(code)
    assert 1_000_000 <= int(outcome.stdout) <= 8 << 20, outcome


def test_a_full_disk_is_the_programs_own(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    fills = "import itertools\nfor n in itertools.count(): open(f'f{n}', 'wb').write(b'x' * 1_000_000)"
    outcome = sandbox.run(fills)
    assert outcome.stopped_by == "files" or "No space left" in outcome.stderr
    # The next program runs, and can delete files.
    clears = (
        "import os\nfor name in os.listdir(): os.unlink(name)\nopen('new', 'w').write('x'); print('room')"
    )
    assert sandbox.run(clears).stdout == "room\n"


def test_the_number_of_files_is_limited(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    code = "import itertools, time\nfor n in itertools.count():\n    open(f'{n}', 'w').close()\n    time.sleep(0.0005)"
    sandbox = open_sandbox(isolation)
    outcome = sandbox.run(code)
    assert outcome.stopped_by == "files" or "No space left" in outcome.stderr
    if isolation == "namespaces":
        assert sandbox.run("import os; print(len(os.listdir()))").stdout == "200\n"


@pytest.mark.parametrize(
    "hides", ["os.mkdir('e', 0)", "[(os.mkdir('d' * 200), os.chdir('d' * 200)) for _ in range(30)]"]
)
def test_files_cannot_be_hidden_from_the_limit(
    hides: str, isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    code = f"import os, time\nos.mkdir('d')\nos.chdir('d')\nfd = os.open('.', os.O_RDONLY)\nos.chdir('..')\n{hides}\n"
    code += "while True: time.sleep(0.01)"
    outcome = open_sandbox(isolation).run(code, timeout_s=1)
    assert outcome.stopped_by == ("time" if isolation == "namespaces" else "files")


def test_a_fork_bomb_is_limited(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    began = time.monotonic()
    outcome = sandbox.run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", timeout_s=1)
    assert outcome.stopped_by == "time"
    assert time.monotonic() - began < 8
    assert sandbox.run("print('next')").stdout == "next\n"
    code = "import os, time\nn = 0\ntry:\n    while os.fork(): n += 1\n    time.sleep(60)\nexcept OSError: print(n)"
    assert 0 < int(sandbox.run(code).stdout) < 16


def test_a_process_that_hops_from_fork_to_fork_is_caught(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    sandbox = open_sandbox(isolation)
    sandbox.run("import os\nif os.fork() == 0:\n    while True:\n        if os.fork(): os._exit(0)")
    # Were it alive, it would still have the working folder and time on the processor.
    assert sandbox.run("print('next')").stdout == "next\n"
    sandbox.close()


_DAEMON = """
import os, sys, time
def spawn():
    {setsid}
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "{marker}"])
if os.fork() == 0:
    spawn()
    os._exit(0)
os.wait()
print("left behind", flush=True)
{end}
"""
_SETSID = """
    try: os.setsid()
    except OSError: pass"""


@pytest.mark.parametrize("setsid", ["", _SETSID], ids=["grandchild", "daemon"])
@pytest.mark.parametrize("end", ["", "time.sleep(60)", "os.abort()"], ids=["returns", "times-out", "aborts"])
def test_no_process_outlives_its_program(
    end: str, setsid: str, isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    marker = f"9{time.monotonic_ns()}"
    outcome = open_sandbox(isolation).run(_DAEMON.format(setsid=setsid, marker=marker, end=end), timeout_s=2)
    # It holds the pipes open, and the end of the program is still reported.
    assert outcome.stdout == "left behind\n", outcome
    assert outcome.duration_s < 5
    assert processes_with(marker) == []


def test_variables_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODING_ENV_TIMEOUT_S", "2.5")
    monkeypatch.setenv("CODING_ENV_ISOLATION", "namespaces")
    assert Limits.from_environment() == Limits(timeout_s=2.5, isolation="namespaces")
    for name, value in (("FILES", "many"), ("MEMORY_MB", "0"), ("ISOLATION", "none"), ("CPU_S", "nan")):
        with monkeypatch.context() as patch:
            patch.setenv(f"CODING_ENV_{name}", value)
            with pytest.raises(ValueError, match=f"CODING_ENV_{name} must be "):
                Limits.from_environment()


def processes_with(marker: str) -> list[int]:
    """The processes, in this machine or container, whose command line has the marker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
