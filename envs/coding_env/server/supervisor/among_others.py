"""The confinement where there are no namespaces: the program runs among the machine's other processes.

Landlock keeps it to its files, a seccomp filter off the network and in its process group, and both off
other processes. The isolation "limits" goes without Landlock.
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
_SPARE_USERS = range(61184, 65280)  # where systemd takes those that it makes for a service's run
_PAUSE_S = 0.001


def spare_user(number: int) -> int:
    """A user who has no files and most likely no processes."""
    return _SPARE_USERS[number % len(_SPARE_USERS)]


class AmongOthers:
    """Confines programs without namespaces; the attributes and methods are those of `Namespaces`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._uses_landlock = config["isolation"] == "landlock"
        self.other_processes = 0

    def enter(self) -> None:
        """Becomes a user of its own, where this one is root, and makes the folders.

        Raises:
            OSError: This machine does not allow it.
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
        # A program of the same user can look neither into this process nor at what it holds.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        self.other_processes = _threads_of(os.geteuid())
        self.shown_as_root = tempfile.mkdtemp(prefix="coding-env-")
        self.workspace, self.program = f"{self.shown_as_root}/workspace", f"{self.shown_as_root}/program"
        for path in (self.workspace, self.program):
            os.mkdir(path, 0o700)

    def confine(self) -> None:
        """Confines this process, a program's, for good."""
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)

    def restrict_calls(self) -> None:
        """Takes files and system calls from this process, a program's."""
        if not self._uses_landlock:
            # Better than nothing where there is nothing: the weakest isolation promises no filter.
            with contextlib.suppress(OSError):
                seccomp.install(among_others=True, signals_to=(0, os.getpid()))
            return
        landlock.restrict([*self._config["readable"], self.program], [self.workspace, *_DEVICES])
        keeps_signals_in = landlock.version() >= landlock.SIGNALS_SINCE
        seccomp.install(among_others=True, signals_to=None if keeps_signals_in else (0, os.getpid()))

    def is_of_a_program(self, pid: int, group: int) -> bool:
        """Whether a process that is seen is a program's."""
        try:
            return os.getpgid(pid) == group
        except OSError:
            return False

    def kill_all(self, group: int) -> None:
        """Ends the program's group, which a filter keeps it in, and whatever else came to be a child."""
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
        """Removes the folders."""
        remove(self.shown_as_root)

    def files_in_use(self) -> tuple[int, int]:
        """Bytes and entries of the working folder."""
        return usage(self.workspace)


def _children() -> list[int]:
    """The processes whose parent is this one, by now."""
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
    """How many threads of a user there are: the kernel counts all of them toward a program's limit."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == user or name == str(os.getpid()):
                count += len(os.listdir(f"/proc/{name}/task"))
    return count
