"""Confinement without namespaces: the program runs among the machine's other processes.

Landlock restricts it to its files, a seccomp filter keeps it off the network and in its process group, and
both keep it away from other processes. The isolation "limits" does without Landlock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time

from . import landlock, seccomp, syscalls
from .folders import remove, usage
from .messages import Config

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SPARE_USERS = range(61184, 65280)  # the range of systemd's dynamic users
_PAUSE_S = 0.001


def spare_user(number: int) -> int:
    """Return a user id without files, and most likely without processes."""
    return _SPARE_USERS[number % len(_SPARE_USERS)]


class AmongOthers:
    """Confines programs without namespaces. Attributes and methods are those of `Namespaces`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._uses_landlock = config["isolation"] == "landlock"
        self.other_processes = 0

    def enter(self) -> None:
        """Switch to a spare user if this one is root, and make the folders.

        Raises:
            OSError: The machine does not allow it.
        """
        if self._uses_landlock:
            landlock.version()
        if os.geteuid() == 0:
            user = spare_user(os.getpid())
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            if not os.access(self._config["python"], os.X_OK):
                raise PermissionError(
                    f"only root can run {self._config['python']}; "
                    "name another interpreter in CODING_ENV_PYTHON, or run the server as another user"
                )
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        # A program of the same user cannot inspect this process or its open files.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        self.other_processes = _threads_of(os.geteuid())
        self.shown_as_root = tempfile.mkdtemp(prefix="coding-env-")
        self.workspace, self.program = f"{self.shown_as_root}/workspace", f"{self.shown_as_root}/program"
        for path in (self.workspace, self.program):
            os.mkdir(path, 0o700)

    def confine(self) -> None:
        """Confine this process, a program's, permanently."""
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)

    def restrict_calls(self) -> None:
        """Deny files and system calls to this process, a program's."""
        if not self._uses_landlock:
            # Best effort: the weakest isolation promises no filter.
            with contextlib.suppress(OSError):
                seccomp.install(among_others=True, signals_to=(0, os.getpid()))
            return
        landlock.restrict([*self._config["readable"], self.program], [self.workspace, *_DEVICES])
        keeps_signals_in = landlock.version() >= landlock.SIGNALS_SINCE
        seccomp.install(among_others=True, signals_to=None if keeps_signals_in else (0, os.getpid()))

    def is_of_a_program(self, pid: int, group: int) -> bool:
        """Whether a visible process belongs to a program."""
        try:
            return os.getpgid(pid) == group
        except OSError:
            return False

    def kill_all(self, group: int) -> None:
        """Kill the program's process group, which a filter keeps it in, and all other children."""
        with contextlib.suppress(ChildProcessError):
            while True:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
                for child in _children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(_PAUSE_S)

    def leave(self) -> None:
        """Remove the folders."""
        remove(self.shown_as_root)

    def files_in_use(self) -> tuple[int, int]:
        """Return the bytes and entries of the working folder."""
        return usage(self.workspace)


def _children() -> list[int]:
    """Return the present children of this process."""
    own = os.getpid()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name, in parentheses, may hold anything.
                parent = int(file.read().rpartition(b")")[2].split()[1])
            if parent == own:
                found.append(int(name))
    return found


def _threads_of(user: int) -> int:
    """Count the threads of a user: the kernel counts all of them toward a program's limit."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == user or name == str(os.getpid()):
                count += len(os.listdir(f"/proc/{name}/task"))
    return count
