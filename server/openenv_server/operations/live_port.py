"""A port on which another process says that the server is alive, even while it holds the interpreter lock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

_PROGRAM = Path(__file__).with_name("live_process.py")
BEAT_S = 1.0
# The server is dead if no event loop has run for so many seconds.
MOST_SILENT_S = 30.0
_BACKLOG = 16
_END_S = 1.0


@contextlib.contextmanager
def live_process(listening: socket.socket | None) -> Iterator[Connection | None]:
    """Run `live_process.py` on a bound socket, as long as the server runs.

    Yields:
        The pipe for `beat`, which other processes may write to as well; None without a socket.
    """
    if listening is None:
        yield None
        return
    read, write = os.pipe()
    listening.listen(_BACKLOG)
    os.set_blocking(write, False)
    fd = listening.fileno()
    words = [sys.executable, "-I", "-S", str(_PROGRAM), str(fd), str(MOST_SILENT_S)]
    process = subprocess.Popen(words, stdin=read, pass_fds=[fd])
    os.close(read)
    listening.close()
    heartbeat = Connection(write, readable=False)
    try:
        yield heartbeat
    finally:
        heartbeat.close()  # which ends the process
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def beat(heartbeat: Connection) -> None:
    """Say that the running event loop runs, now and from time to time."""
    with contextlib.suppress(BlockingIOError, BrokenPipeError):  # the probe itself will fail
        os.write(heartbeat.fileno(), b"!")
    asyncio.get_running_loop().call_later(BEAT_S, beat, heartbeat)
