"""Programs that reach for what is not theirs: a test for each row of the README's table."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coding_env.server.limits import Isolation
from coding_env.server.sandbox import Sandbox

OpenSandbox = Callable[..., Sandbox]

SECRET = "sk-this-is-the-servers-own-key"


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's user, with a key in its environment."""
    process = subprocess.Popen(["sleep", "60"], env={"OPENENV_API_KEY": SECRET, "PATH": os.environ["PATH"]})
    yield process
    process.kill()
    process.wait()


def test_the_servers_variables_are_not_passed_on(
    isolation: Isolation, open_sandbox: OpenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", SECRET)
    outcome = open_sandbox(isolation).run("import os; print(dict(os.environ))")
    assert "PYTHONHASHSEED" in outcome.stdout
    assert SECRET not in outcome.stdout


def test_other_processes_variables_and_memory_cannot_be_read(
    strong_isolation: Isolation, open_sandbox: OpenSandbox, neighbour: subprocess.Popen[bytes]
) -> None:
    code = f"""
import os
pids = [os.getppid(), 1, {os.getpid()}, {neighbour.pid}]
try: pids += [int(name) for name in os.listdir("/proc") if name.isdigit()]
except OSError: pass
own = os.getpid()
for pid in set(pids) - {{own}}:
    for name in ("environ", "mem", "maps"):
        try:
            with open(f"/proc/{{pid}}/{{name}}", "rb") as file:
                print("READ", name, file.read(1000))
        except OSError as error: print(type(error).__name__)
"""
    outcome = open_sandbox(strong_isolation).run(code)
    assert outcome.exit_code == 0
    assert "Error" in outcome.stdout
    assert "READ" not in outcome.stdout


def test_the_supervisor_cannot_be_read_in_any_confinement(
    isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    code = "import os\nfor n in ('environ', 'mem'):\n    try: print('READ', open(f'/proc/{os.getppid()}/{n}', 'rb').read(10))\n    except OSError: print('no')"
    assert open_sandbox(isolation).run(code).stdout == "no\nno\n"


def test_no_process_can_be_traced(
    isolation: Isolation, open_sandbox: OpenSandbox, neighbour: subprocess.Popen[bytes]
) -> None:
    code = f"import ctypes, os\nlibc = ctypes.CDLL(None)\nprint([libc.ptrace(16, pid, 0, 0) for pid in (os.getppid(), {neighbour.pid})])"
    assert open_sandbox(isolation).run(code).stdout == "[-1, -1]\n"


def test_signals_reach_no_other_process(
    isolation: Isolation, open_sandbox: OpenSandbox, neighbour: subprocess.Popen[bytes]
) -> None:
    sandbox = open_sandbox(isolation)
    code = f"""
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
# The parent, the server, its neighbour: by their numbers, and by their groups.
for pid in (os.getppid(), {os.getpid()}, {neighbour.pid}, -os.getppid(), -{os.getpid()}):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try: os.kill(pid, number)
        except OSError: pass
        libc.tgkill(pid, pid, number)
        try: signal.pidfd_send_signal(os.pidfd_open(pid), number)
        except (OSError, OverflowError): pass
print("sent")
"""
    assert sandbox.run(code).stdout == "sent\n"
    assert neighbour.poll() is None
    assert sandbox.run("print('the supervisor is there')").exit_code == 0


def test_a_signal_to_all_processes_reaches_the_programs_own_at_most(
    isolation: Isolation, open_sandbox: OpenSandbox, neighbour: subprocess.Popen[bytes]
) -> None:
    if os.geteuid() == 0 and isolation != "namespaces":
        pytest.skip("a spare user has no other processes to send it to")
    sandbox = open_sandbox(isolation)
    sandbox.run("import os\ntry: os.kill(-1, 9)\nexcept OSError: pass")
    assert neighbour.poll() is None
    assert sandbox.run("print('next')").stdout == "next\n"


def test_limits_and_priorities_of_others_stay_as_they_are(
    isolation: Isolation, open_sandbox: OpenSandbox, neighbour: subprocess.Popen[bytes]
) -> None:
    code = f"""
import os, resource
for pid in (os.getppid(), {neighbour.pid}):
    for call in (
        lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1)),
        lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
        lambda: os.sched_setaffinity(pid, [0]),
    ):
        try: call(); print("DONE")
        except OSError: print("no")
for raise_back in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
    try: resource.setrlimit(raise_back, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)); print("RAISED")
    except (OSError, ValueError): print("no")
"""
    outcome = open_sandbox(isolation).run(code)
    assert outcome.stdout == "no\n" * 9, outcome


def test_the_network_is_unreachable(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind(f"\0coding-env-test-{os.getpid()}")
        hidden.listen()
        code = f"""
import socket
for family, address in (
    (socket.AF_INET, {server.getsockname()!r}),
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_INET6, ("::1", {server.getsockname()[1]})),
    (socket.AF_UNIX, {hidden.getsockname()!r}),
):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(family, kind) as s:
                s.settimeout(1)
                s.connect(address)
                s.send(b"x")
                print("CONNECTED", address)
        except OSError: print("no")
try: socket.getaddrinfo("localhost.example", 80); print("RESOLVED")
except OSError: print("no")
"""
        outcome = open_sandbox(isolation).run(code)
    assert outcome.stdout == "no\n" * 9, outcome


def test_no_descriptor_is_inherited(isolation: Isolation, open_sandbox: OpenSandbox, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        code = "import os\nfor fd in range(3, 1024):\n    try: os.fstat(fd); print('OPEN', fd)\n    except OSError: pass"
        outcome = open_sandbox(isolation).run(code)
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == ("", "", 0)


def test_nothing_is_written_outside_of_the_folder(
    strong_isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    folder = Path(f"/tmp/coding-env-test-{os.getpid()}")
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    try:
        targets = [f"{folder}/x", f"/dev/shm/{folder.name}", f"/var/tmp/{folder.name}", f"/usr/{folder.name}"]
        code = f"""
import os
for path in {targets!r}:
    try: open(path, "w").write("x")
    except OSError: pass
try: os.symlink({str(folder)!r}, "link"); open("link/y", "w").write("x")
except OSError: pass
"""
        assert open_sandbox(strong_isolation).run(code).exit_code == 0
        assert list(folder.iterdir()) == []
        assert not any(Path(path).exists() for path in targets)
    finally:
        folder.rmdir()


def test_the_servers_files_cannot_be_read(
    strong_isolation: Isolation, open_sandbox: OpenSandbox, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    for folder in (secret, *secret.parents[:3]):
        folder.chmod(0o755)
    sources = [str(secret), __file__, "/etc/passwd", "/etc/hostname"]
    code = f"""
import os
for path in {sources!r}:
    try: print("READ", open(path).read())
    except OSError: print("no")
os.symlink({str(secret)!r}, "link")
try: print("READ", open("link").read())
except OSError: print("no")
try: os.link({str(secret)!r}, "hard"); print("READ", open("hard").read())
except OSError: print("no")
"""
    outcome = open_sandbox(strong_isolation).run(code)
    assert outcome.stdout == "no\n" * 6, outcome


def test_programs_do_not_see_each_others_files(
    strong_isolation: Isolation, open_sandbox: OpenSandbox
) -> None:
    first, second = open_sandbox(strong_isolation), open_sandbox(strong_isolation)
    first.run("open('mine', 'w').write('x')")
    code = "import glob\nprint(glob.glob('/tmp/coding-env-*/*/*') + glob.glob('/proc/*/cwd/mine') + glob.glob('*'))"
    assert second.run(code).stdout == "[]\n"


def test_the_interpreter_cannot_be_changed(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    code = "import os, sys\nfor path in (sys.executable, os.__file__):\n    try: open(path, 'ab'); print('OPEN')\n    except OSError: print('no')"
    if isolation == "limits" and os.access(sys.executable, os.W_OK) and os.geteuid() != 0:
        pytest.skip("the interpreter is the server's user's own")
    assert open_sandbox(isolation).run(code).stdout == "no\nno\n"


def test_no_privileges_can_be_gained(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None)
print([libc.unshare(flag) for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000)])
print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), libc.chroot(b"/"), libc.setns(0, 0))
print(libc.syscall(56 if os.uname().machine == "x86_64" else 220, 0x10000000 | 17, 0, 0, 0, 0))
for call in (lambda: os.setuid(0), lambda: os.setgid(0)):
    try: call(); print("DONE")
    except OSError: print("no")
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
print(libc.capget(header, data), list(data))
"""
    outcome = open_sandbox(isolation).run(code)
    lines = outcome.stdout.splitlines()
    assert lines == ["[-1, -1, -1, -1]", "-1 -1 -1", "-1", "no", "no", "0 [0, 0, 0, 0, 0, 0]"], outcome


# --- the end -------------------------------------------------------------------------------------------------


TRICKS = {
    "a link to a folder": "os.symlink({target!r}, 'link')",
    "a link in the program's place": "os.unlink('/program/main.py'); os.symlink({target!r} + '/kept', '/program/main.py')",
    "a folder in the program's place": "os.unlink(__file__); os.makedirs(__file__ + '/x')",
    "a folder without permissions": "os.makedirs('a/b/c'); os.chmod('a/b', 0); os.chmod('a', 0)",
    "a deep folder": "[(os.mkdir('d' * 100), os.chdir('d' * 100)) for _ in range(150)]",
    "names that are no text": "[open(bytes([n]) * 3, 'w').close() for n in range(1, 256) if n != 47]",
    "the folder without permissions": "os.chmod('.', 0)",
    "the folder replaced": "p = os.getcwd(); os.rename(p, p + 'x'); os.symlink({target!r}, p)",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_the_end_removes_the_folder_and_nothing_else(
    trick: str, isolation: Isolation, open_sandbox: OpenSandbox, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("kept")
    before = set(Path("/tmp").glob("coding-env-*"))
    sandbox = open_sandbox(isolation)
    code = TRICKS[trick].format(target=str(tmp_path))
    sandbox.run(f"import os\ntry: {code}\nexcept OSError as error: print(error)")
    if trick != "the folder replaced":
        assert sandbox.run("print('next')").stdout == "next\n"
    sandbox.close()
    assert (tmp_path / "kept").read_text() == "kept"
    assert set(Path("/tmp").glob("coding-env-*")) <= before


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


def test_a_server_that_is_killed_leaves_nothing(isolation: Isolation, open_sandbox: OpenSandbox) -> None:
    limits = open_sandbox(isolation)._limits
    before = set(Path("/tmp").glob("coding-env-*"))
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
    assert set(Path("/tmp").glob("coding-env-*")) <= before


def _is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
