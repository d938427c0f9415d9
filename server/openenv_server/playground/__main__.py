"""Serve the playground of a server from a separate process, on an inherited socket.

The process ends with the server: when its standard input does. `PlaygroundProcess` starts it.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading

import uvicorn

from openenv_gym.transport.endpoint import Endpoint
from openenv_server.playground.app import PlaygroundApp

# A page can wait for a moment; the steps of those who train come first.
_NICENESS = 10


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    threading.Thread(target=_end_with_server, daemon=True).start()
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICENESS)
    app = PlaygroundApp(lambda key: Endpoint.parse(arguments.url, api_key=key, is_direct=True))
    config = uvicorn.Config(app, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=arguments.fd)])


def _end_with_server() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
