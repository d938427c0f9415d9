"""The supervisor of one sandbox: a process that runs programs for the server, one at a time.

The server starts it with one end of a socket, and stops it by closing the other, as also happens when the
server dies. It imports only the standard library and this package.
"""

from __future__ import annotations

import socket

from .among_others import AmongOthers
from .messages import decode_config, decode_request, encode
from .namespaces import Namespaces
from .program import Program, ServerGoneError


def main(descriptor: int) -> None:
    """Serve a socket until it is closed.

    Args:
        descriptor: The socket's file descriptor.
    """
    control = socket.socket(fileno=descriptor)
    lines = control.makefile("rb")
    first = lines.readline()
    if not first:
        return
    config = decode_config(first)
    kind = Namespaces if config["isolation"] == "namespaces" else AmongOthers
    confinement = kind(config)
    try:
        confinement.enter()
    except OSError as error:
        control.sendall(encode({"error": str(error)}))
        return
    try:
        control.sendall(encode({"error": None}))
        for line in lines:
            answer = Program(confinement, config, control).run(decode_request(line))
            control.sendall(encode(answer))
    except (ServerGoneError, ConnectionError):
        return  # nobody waits for an answer
    finally:
        confinement.leave()
