"""The supervisor of one sandbox: a process that runs programs for the server, one at a time.

Its standard input is one end of a socket. The server stops it by closing the other, as also happens when the
server dies. They exchange JSON lines. In namespaces, it is the first process, and all end when it ends.
"""

from __future__ import annotations

import json
import socket

from .confinement import Confinement
from .program import Program, ServerGoneError


def main() -> None:
    """Serve the socket until it is closed."""
    control = socket.socket(fileno=0)
    lines = control.makefile("rb")
    first = lines.readline()
    if not first:
        return
    config = json.loads(first)
    try:
        confinement = Confinement(config)
    except (OSError, RuntimeError, ImportError) as error:
        _send(control, {"error": str(error)})
        return
    try:
        _send(control, {"error": None})
        for line in lines:
            _send(control, Program(confinement, config, control).run(json.loads(line)))
    except (ServerGoneError, ConnectionError):
        return  # nobody waits for an answer
    finally:
        confinement.leave()


def _send(control: socket.socket, message: dict[str, object]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")
