"""The strongest confinement: to a program in Linux namespaces, it looks like a separate machine.

It has its own process ids, users, mounts and System V objects, and no network. The file system is in memory,
has a fixed size, and is gone with the sandbox. Of the machine's files it has only the interpreter and
``/usr``, read-only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket

from . import seccomp, syscalls
from .among_others import spare_user
from .messages import Config

WORKSPACE, PROGRAM = "/workspace", "/program"

_USER = 1000  # of programs, inside
_NEW_ROOT = "/tmp"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_OWN_INODES = 200  # for the folders of the root itself
_PROGRAM_OPTIONS = "size=4m,nr_inodes=16,mode=0755"
_SEPARATE = (
    syscalls.CLONE_NEWUSER
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
)


class Namespaces:
    """Confines programs to namespaces; entered once.

    Attributes:
        workspace: The working folder's path.
        program: The path of the folder with the program.
        shown_as_root: A prefix to remove from paths in a program's output; none here.
        other_processes: How many processes count toward the limit besides a program's own.
    """

    workspace, program, shown_as_root = WORKSPACE, PROGRAM, ""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._has_two_users = os.geteuid() == 0
        # With only one user, the two processes of the sandbox itself count too.
        self.other_processes = 0 if self._has_two_users else 2

    def enter(self) -> None:
        """Enter: returns in a new process, the first of its namespace. When it ends, all others there end.

        Raises:
            OSError: This machine does not allow it.
        """
        if self._has_two_users:
            os.setgroups([])
        self._unshare()
        first = os.fork()
        if first:
            _, status = os.waitpid(first, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        self._build_root()
        socket.sethostname("sandbox")
        # A program of the same user cannot inspect this process or its open files.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)

    def confine(self) -> None:
        """Confine this process, a program's, permanently."""
        if self._has_two_users:
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)

    def restrict_calls(self) -> None:
        """Deny system calls to this process, a program's."""
        seccomp.install(among_others=False, signals_to=None)

    def is_of_a_program(self, pid: int, group: int) -> bool:
        """Whether a visible process belongs to a program."""
        return pid != os.getpid()

    def kill_all(self, group: int) -> None:
        """Kill all processes but this one at once, so that no fork escapes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def leave(self) -> None:
        """Do nothing: the file system goes with the process."""

    def files_in_use(self) -> tuple[int, int]:
        """Return zeros: the file system has a fixed size."""
        return 0, 0

    def _unshare(self) -> None:
        ready, tell = os.pipe()
        outside = os.getpid()
        helper = os.fork()
        if helper == 0:
            # It stays outside, because the users of a namespace are set from there.
            status = 1
            try:
                os.close(tell)
                if os.read(ready, 1):
                    self._map_users(outside)
                    status = 0
            finally:
                os._exit(status)
        os.close(ready)
        try:
            syscalls.unshare(_SEPARATE)
            os.write(tell, b"x")
        finally:
            os.close(tell)
            _, status = os.waitpid(helper, 0)
        if status:
            raise PermissionError("the users of a new namespace cannot be set")

    def _map_users(self, pid: int) -> None:
        if self._has_two_users:
            # The sandbox stays root; its programs run as a user without other files and processes.
            spare = spare_user(pid)
            maps = [("uid_map", f"0 0 1\n{_USER} {spare} 1"), ("gid_map", f"0 0 1\n{_USER} {spare} 1")]
        else:
            maps = [
                ("setgroups", "deny"),
                ("uid_map", f"{_USER} {os.geteuid()} 1"),
                ("gid_map", f"{_USER} {os.getegid()} 1"),
            ]
        for name, text in maps:
            file = os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
            os.write(file, text.encode())
            os.close(file)

    def _build_root(self) -> None:
        limits = self._config["limits"]
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        # Opened before the new root covers some of them.
        readable = {path: os.open(path, os.O_PATH) for path in _outermost(self._config["readable"])}
        devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES}
        nothing_special = syscalls.MS_NOSUID | syscalls.MS_NODEV
        options = f"size={limits['files_bytes']},nr_inodes={limits['files'] + _OWN_INODES},mode=0755"
        syscalls.mount("tmpfs", _NEW_ROOT, "tmpfs", nothing_special, options)
        for path, source in readable.items():
            target = _NEW_ROOT + path
            if os.path.islink(path):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.symlink(os.readlink(path), target)
                continue
            _bind(source, target)
            syscalls.make_read_only(target)
        for path, source in devices.items():
            _bind(source, _NEW_ROOT + path)
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            os.symlink(f"/proc/self/fd{target}", f"{_NEW_ROOT}/dev/{name}")
        for path in ("/proc", WORKSPACE, PROGRAM, "/tmp", "/dev/shm"):
            os.makedirs(_NEW_ROOT + path)
        for path in ("/tmp", "/dev/shm"):
            os.chmod(_NEW_ROOT + path, 0o1777)
        syscalls.mount("tmpfs", _NEW_ROOT + PROGRAM, "tmpfs", nothing_special, _PROGRAM_OPTIONS)
        # In a container that masks parts of its own /proc, none can be mounted. Then do without.
        with contextlib.suppress(PermissionError):
            flags = nothing_special | syscalls.MS_NOEXEC
            syscalls.mount("proc", f"{_NEW_ROOT}/proc", "proc", flags)
        if self._has_two_users:
            shutil.chown(_NEW_ROOT + WORKSPACE, _USER, _USER)
        for descriptor in (*readable.values(), *devices.values()):
            os.close(descriptor)
        syscalls.change_root(_NEW_ROOT)


def _outermost(paths: list[str]) -> list[str]:
    """Return the paths that exist and are not inside another one."""
    kept: list[str] = []
    for path in sorted(paths):
        if os.path.lexists(path) and not any(path == k or path.startswith(f"{k}/") for k in kept):
            kept.append(path)
    return kept


def _bind(source: int, target: str) -> None:
    """Bind an open file or folder to another path."""
    path = f"/proc/self/fd/{source}"
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    syscalls.mount(path, target, None, syscalls.MS_BIND | syscalls.MS_REC)
