"""Run a command until the process that started this one ends; then end the command and its descendants.

`SupervisedProcess` runs this script, which needs the standard library alone, in a process of about 10 MB. The
starter holds one end of a socket; when that closes, even because the starter got a ``kill -9``, the command
gets a SIGTERM and, after a grace period, its process group a SIGKILL. Processes that the command left in
other groups are handed over to this process, see PR_SET_CHILD_SUBREAPER in prctl(2), and killed.

If this process is killed itself, the kernel sends the command a SIGTERM, see PR_SET_PDEATHSIG. (That alone
would not do: the signal is sent when the starting *thread* ends, and the starter's may be one of a pool.)

Arguments: the socket's file descriptor, a file descriptor for the command to inherit, the grace period in
seconds, and the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

assert sys.platform != "win32"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def supervise(starter: socket.socket, inherited: int, grace_s: float, command: list[str]) -> int:
    """Run the command to its end; return its exit code as a shell would report it."""
    # Handled rather than ignored, because the command would inherit that. It gets its own copy of a signal
    # that is sent to the whole terminal or group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    supervisor = os.getpid()

    def end_with_supervisor() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != supervisor:  # it has ended already
                os._exit(1)

    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=[inherited],
        process_group=0,
        preexec_fn=end_with_supervisor,  # this process has one thread so far
    )
    os.close(inherited)  # so that the port is free as soon as the command has ended
    with contextlib.suppress(OSError):
        starter.sendall(b"%d\n" % process.pid)
    threading.Thread(target=_end_with_starter, args=(starter, process, grace_s), daemon=True).start()
    pid, status = os.wait()
    while pid != process.pid:  # a process that was handed over
        pid, status = os.wait()
    _kill_group(process.pid)
    _kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_with_starter(starter: socket.socket, process: subprocess.Popen[bytes], grace_s: float) -> None:
    with contextlib.suppress(OSError):
        starter.recv(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    time.sleep(grace_s)
    _kill_group(process.pid)


def _kill_descendants() -> None:
    """Kill the processes that the command left, and those that they leave in turn."""
    while children := [
        int(pid)
        for thread in Path("/proc/self/task").glob("*/children")
        for pid in thread.read_text().split()
    ]:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(
        supervise(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
    )
