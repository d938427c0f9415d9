"""Runs a command for as long as the process lives that started it; then ends it, with all that it started.

A script of the standard library alone: `kept.KeptProcess` runs it in a process of its own, of about 10 MB.
The other process holds the other end of a socket; when that closes, even by ``kill -9``, the command gets a
SIGTERM, and its whole process group a SIGKILL after the grace. (Linux's PDEATHSIG would need no process, but
it is sent when the *thread* ends that started the command, as threads of a pool do.) What the command started
in groups of their own is found where the kernel hands it over: on Linux, see PR_SET_CHILD_SUBREAPER in
prctl(2).

Its arguments: the socket's file descriptor, one for the command to inherit, the grace in seconds, and the
command.
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

_PR_SET_CHILD_SUBREAPER = 36


def keep(starter: socket.socket, inherited: int, grace_s: float, command: list[str]) -> int:
    """Runs the command to its end; returns its exit code, as a shell would say it."""
    # Not ignored, as the command would inherit that. It gets such a signal itself where it is for all.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[inherited], process_group=0)
    os.close(inherited)  # so that the port is free as soon as the command has ended
    with contextlib.suppress(OSError):
        starter.sendall(b"%d\n" % process.pid)
    threading.Thread(target=_end_with, args=(starter, process, grace_s), daemon=True).start()
    pid, status = os.wait()
    while pid != process.pid:  # one that was handed over
        pid, status = os.wait()
    _kill_group(process.pid)
    _kill_what_was_handed_over()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end_with(starter: socket.socket, process: subprocess.Popen[bytes], grace_s: float) -> None:
    with contextlib.suppress(OSError):
        starter.recv(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    time.sleep(grace_s)
    _kill_group(process.pid)


def _kill_what_was_handed_over() -> None:
    """Kills the processes that the command has left, and those that they leave in turn."""
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
    sys.exit(keep(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
