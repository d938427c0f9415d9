"""What keeps a program away from the rest of the machine, besides its limits.

In namespaces, bubblewrap has made a separate machine around this process, and only the filter of system calls is
added. Without them, Landlock restricts a program to its files, and the filter keeps it off the network, in its
process group, and away from the metadata of all files, which Landlock does not restrict.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
from typing import Any

from . import usage
from .seccomp import allow_signals_to, program_filter

WORKSPACE, PROGRAM = "/workspace", "/program"

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LANDLOCK_SCOPES_SIGNALS = 6
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36


class Confinement:
    """The folders of a sandbox, and the confinement of its programs.

    Args:
        config: The server's first message.

    Attributes:
        workspace: The working folder's path.
        program: The path of the folder with the program.
        program_folder: An open descriptor of it, through which it can be written.
        shown_as_root: A prefix to remove from paths in a program's output.
        other_processes: How many processes count toward the limit besides a program's own.

    Raises:
        OSError: The machine does not allow it.
        RuntimeError: libseccomp is missing.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._in_namespaces = config["isolation"] == "namespaces"
        self._readable: list[str] = config["readable"]
        # Before this user loses access to the packages.
        self._landlock = _landlock_version() if config["isolation"] == "landlock" else 0
        self._may_signal = self._in_namespaces or self._landlock >= _LANDLOCK_SCOPES_SIGNALS
        self._filter = program_filter(in_namespaces=self._in_namespaces, may_signal=self._may_signal)
        if config["user"] is not None:
            _become(config["user"], config["python"])
        if self._in_namespaces:
            self.shown_as_root, self.other_processes = "", 1
            self.program_folder: int = config["program_folder"]
        else:
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)
            self.other_processes = usage.threads_of(os.geteuid())
            self.shown_as_root = tempfile.mkdtemp(prefix="coding-env-")
            for path in (WORKSPACE, PROGRAM):
                os.mkdir(self.shown_as_root + path, 0o700)
            self.program_folder = os.open(self.shown_as_root + PROGRAM, os.O_RDONLY | os.O_DIRECTORY)
        self.workspace, self.program = self.shown_as_root + WORKSPACE, self.shown_as_root + PROGRAM
        # A program of the same user cannot inspect this process or its open files.
        _prctl(_PR_SET_DUMPABLE, 0)

    def confine(self) -> None:
        """Confine this process, a program's, permanently."""
        if not self._in_namespaces:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._landlock:
            _restrict_files([*self._readable, self.program], [self.workspace, *_DEVICES])
        if not self._may_signal:
            allow_signals_to(self._filter, os.getpid())
        self._filter.load()

    def processes(self, group: int) -> list[int]:
        """Return the visible processes of a program, by its process group."""
        try:
            pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        except OSError:
            return []
        if self._in_namespaces:
            return [pid for pid in pids if pid != os.getpid()]
        return [pid for pid in pids if _group_of(pid) == group]

    def kill_all(self, group: int) -> int:
        """Kill a program and everything that it started, at once, so that no fork escapes; return its status."""
        with contextlib.suppress(ProcessLookupError):
            if self._in_namespaces:
                os.kill(-1, signal.SIGKILL)
            else:
                os.killpg(group, signal.SIGKILL)
        status = 0
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, one = os.waitpid(-1, 0)
                status = one if pid == group else status
        return status

    def in_sockets(self, pids: list[int], most: int) -> int:
        """Return the memory that sockets of these processes may hold, if each has ``most`` of them at most."""
        in_network = usage.in_network() if self._in_namespaces else 0
        return in_network + sum(usage.in_sockets(pid, most) for pid in pids)

    def files_in_use(self) -> tuple[int, int]:
        """Return the bytes and entries of the working folder; zeros in namespaces: its size is fixed."""
        return (0, 0) if self._in_namespaces else usage.of_folder(self.workspace)

    def leave(self) -> None:
        """Remove the folders, whatever their depth and permissions. No link is followed."""
        if not self._in_namespaces:
            for command in (("chmod", "-R", "u+rwx"), ("rm", "-rf")):
                subprocess.run([*command, self.shown_as_root], stderr=subprocess.DEVNULL, check=False)


def _become(user: int, python: str) -> None:
    """Change this process's user, which is root, for good."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # The change leaves the inheritable capabilities. 0x20080522 is version 3 of the interface.
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
    if not os.access(python, os.X_OK):
        raise PermissionError(
            f"only root can run {python}: name another interpreter in CODING_ENV_PYTHON, "
            "or run the server as another user"
        )


def _restrict_files(readable: list[str], writable: list[str]) -> None:
    """Restrict this process to some files and folders, and signals to its own processes."""
    from landlockpy import AccessFS, Ruleset, Scope

    read = AccessFS.EXECUTE | AccessFS.READ_FILE | AccessFS.READ_DIR
    of_a_file = AccessFS.EXECUTE | AccessFS.READ_FILE | AccessFS.WRITE_FILE | AccessFS.TRUNCATE
    with Ruleset(scoped=Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET) as rules:
        for paths, access in ((readable, read), (writable, rules.handled_fs)):
            for path in filter(os.path.exists, paths):
                rules.allow_path(path, access if os.path.isdir(path) else access & of_a_file)
        rules.restrict()


def _landlock_version() -> int:
    from landlockpy import abi_version

    version = abi_version()
    if not version:
        raise OSError("this kernel has no Landlock, which needs Linux 5.13 or later")
    return version


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None).prctl(option, value, 0, 0, 0):
        raise OSError(f"prctl({option}) failed")
