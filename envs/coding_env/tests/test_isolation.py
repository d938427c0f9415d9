"""Programs that reach for what is not theirs: a test for each row of the README's table."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from coding_env.server.limits import Isolation, Limits
from coding_env.server.sandbox import Sandbox, SandboxError, strongest_isolation
from coding_env.tests import attacks

OpenSandbox = Callable[..., Sandbox]

SECRET = "sk-this-is-the-servers-own-key"


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's user, with a key in its environment."""
    process = subprocess.Popen(["sleep", "60"], env={"OPENENV_API_KEY": SECRET, "PATH": os.environ["PATH"]})
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which sandboxes without namespaces make theirs."""
    folder = Path(f"/tmp/coding_env-test-{os.getpid()}-{time.monotonic_ns()}")
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    folder.rmdir()


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder of the server's user, as ~/.ssh, in a place that all users may enter."""
    home = Path(f"/tmp/coding_env-test-{os.getpid()}-{time.monotonic_ns()}")
    folder = home / ".ssh"
    folder.mkdir(parents=True)
    (folder / "file").write_text(SECRET)
    yield folder
    for path in (home, folder):
        path.chmod(0o755)
    shutil.rmtree(home)


@pytest.mark.parametrize("name", attacks.NAMES)
def test_an_attack_fails(
    name: str,
    isolation: Isolation,
    open_sandbox: OpenSandbox,
    neighbour: subprocess.Popen[bytes],
    outside: Path,
) -> None:
    if isolation == "limits" and name not in ("io_uring", "network", "privileges", "processes", "ptrace"):
        pytest.skip("without Landlock, a program may see everything on the machine")
    if isolation == "landlock" and name == "sight":
        pytest.skip("Landlock does not hide whether a path exists, nor its size and times")
    sandbox = open_sandbox(isolation)
    before = _metadata(outside)
    with ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.socket(family)) for family in (socket.AF_INET, socket.AF_UNIX)
        ]
        listeners[0].bind(("127.0.0.1", 0))
        port = listeners[0].getsockname()[1]
        listeners[1].bind(f"\0coding-env-attack-{port}")
        for listener in listeners:
            listener.listen()
        mailbox = Path(f"/tmp/coding-env-messages-{port}")
        stack.callback(mailbox.unlink)
        for address in (str(mailbox), f"\0coding-env-messages-{port}"):
            listeners.append(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))
            listeners[-1].bind(address)
        mailbox.chmod(0o777)
        code = attacks.program(name, outside=str(outside), pid=neighbour.pid, port=port)
        outcome = sandbox.run(code)
        assert select.select(listeners, [], [], 0)[0] == []
    assert outcome.exit_code == 0, outcome
    assert "no " in outcome.stdout, outcome
    assert [line for line in outcome.stdout.splitlines() if line.startswith("DONE")] == []
    assert SECRET not in outcome.stdout
    assert _metadata(outside) == before
    assert neighbour.poll() is None
    assert sandbox.run("print('the supervisor is there')").exit_code == 0


def _metadata(folder: Path) -> list[tuple[str, int, int, int, float, bytes]]:
    """Everything about a folder and its parent that an attack could change."""
    found = []
    for path in (folder.parent, folder, *sorted(folder.iterdir())):
        status = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path), status.st_mode, status.st_uid, status.st_gid, status.st_mtime, content))
    return found


def test_a_machine_without_a_sandbox_is_refused_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="command bwrap is missing.*Install bubblewrap .*or use a kernel"):
        strongest_isolation(Limits(isolation="namespaces"))


def test_a_program_may_change_what_is_its_own(open_sandbox: OpenSandbox) -> None:
    code = """
import os, shutil
open("x", "w").close()
os.chmod("x", 0o600); os.utime("x", (1, 1)); shutil.copy2("x", "y")
print(oct(os.stat("y").st_mode), os.stat("y").st_mtime)
"""
    assert open_sandbox("namespaces").run(code).stdout == "0o100600 1.0\n"
    denied = open_sandbox("landlock").run("open('x', 'w').close()\nimport os; os.chmod('x', 0o600)")
    assert "PermissionError" in denied.stderr


def test_the_servers_variables_are_not_passed_on(
    isolation: Isolation, open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", SECRET)
    outcome = open_sandbox(isolation).run("import os; print(dict(os.environ))")
    assert "PYTHONHASHSEED" in outcome.stdout
    assert SECRET not in outcome.stdout


def test_a_signal_to_all_processes_reaches_the_programs_own_at_most(
    isolation: Isolation, open_sandbox: OpenSandbox, neighbour: subprocess.Popen[bytes]
) -> None:
    if os.geteuid() == 0 and isolation != "namespaces":
        pytest.skip("a spare user has no other processes to send it to")
    sandbox = open_sandbox(isolation)
    sandbox.run("import os\ntry: os.kill(-1, 9)\nexcept OSError: pass")
    assert neighbour.poll() is None
    assert sandbox.run("print('next')").stdout == "next\n"


def test_programs_do_not_see_each_others_files(
    strong_isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    first, second = open_sandbox(strong_isolation), open_sandbox(strong_isolation)
    first.run("open('mine', 'w').write('x')")
    code = "import glob\nprint(glob.glob('/tmp/coding-env-*/*/*') + glob.glob('/proc/*/cwd/mine') + glob.glob('*'))"
    assert second.run(code).stdout == "[]\n"


# --- the end -------------------------------------------------------------------------------------------------


TRICKS = {
    "a link to a folder": "os.symlink({target!r}, 'link')",
    "a link in the program's place": "os.unlink('/program/main.py'); os.symlink({target!r} + '/kept', '/program/main.py')",
    "a folder in the program's place": "os.unlink(__file__); os.makedirs(__file__ + '/x')",
    "a folder without permissions": "os.makedirs('a/b/c'); os.umask(0o777); os.mkdir('a/b/d'); os.chmod('a', 0)",
    "a deep folder": "[(os.mkdir('d' * 100), os.chdir('d' * 100)) for _ in range(150)]",
    "names that are no text": "[open(bytes([n]) * 3, 'w').close() for n in range(1, 256) if n != 47]",
    "the folder without permissions": "os.chmod('.', 0)",
    "the folder replaced": "p = os.getcwd(); os.rename(p, p + 'x'); os.symlink({target!r}, p)",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_the_end_removes_the_folder_and_nothing_else(
    trick: str, isolation: Isolation, open_sandbox: OpenSandbox, tmp_path: Path, temporary_folder: Path
) -> None:
    (tmp_path / "kept").write_text("kept")
    sandbox = open_sandbox(isolation)
    code = TRICKS[trick].format(target=str(tmp_path))
    sandbox.run(f"import os\ntry: {code}\nexcept OSError as error: print(error)")
    # Without Landlock, a program can spoil its own session.
    if trick != "the folder replaced" and not (isolation == "limits" and "place" in trick):
        assert sandbox.run("print('next')").stdout == "next\n"
    sandbox.close()
    assert (tmp_path / "kept").read_text() == "kept"
    assert list(temporary_folder.iterdir()) == []


def test_close_ends_a_program_that_runs(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    sandbox = open_sandbox(isolation)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            sandbox.run("import time; time.sleep(60)")
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not _children_of(sandbox):
        pass
    sandbox.close()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert len(failed) == 1


def _children_of(sandbox: object) -> list[int]:
    process: subprocess.Popen[bytes] = sandbox._process  # type: ignore[attr-defined]
    return _descendants(process.pid)


def _descendants(pid: int) -> list[int]:
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            children.append(int(folder.name))
    return children + [grandchild for child in children for grandchild in _descendants(child)]


SERVER = """
import json, sys
from coding_env.server.limits import Limits
from coding_env.server.sandbox import Sandbox
sandbox = Sandbox(Limits(**json.loads(sys.argv[1])), sys.argv[2])
print(sandbox._process.pid, flush=True)
sandbox.run(sys.argv[3])
"""


def test_a_server_that_is_killed_leaves_nothing(
    isolation: Isolation, open_sandbox: OpenSandbox, temporary_folder: Path
) -> None:
    sandbox = open_sandbox(isolation)
    limits = sandbox._limits
    sandbox.close()
    code = "import os, time\nos.fork()\nif os.fork() == 0:\n    try: os.setsid()\n    except OSError: pass\ntime.sleep(60)"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, json.dumps(vars(limits)), isolation, code],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    supervisor = int(server.stdout.readline())
    while len(_descendants(supervisor)) < 4:
        assert server.poll() is None
    processes = [supervisor, *_descendants(supervisor)]
    server.kill()
    server.wait()
    server.stdout.close()
    while alive := [pid for pid in processes if _is_alive(pid)]:
        assert alive  # the test's own time limit ends it
    assert list(temporary_folder.iterdir()) == []


def _is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
