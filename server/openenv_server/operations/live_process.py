"""The program behind ``LIVE_PORT``: it answers ``GET /live`` while the server itself cannot.

An environment that computes in C may hold Python's interpreter lock for seconds, and no thread of its process
can answer meanwhile. This process can. The event loops of the server write a byte to its standard input from
time to time; the server is dead once none of them has done so for a while. It imports the standard library
only, so it starts in a moment and takes little memory.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_MANY = 4096
_SLOW_CLIENT_S = 5


class Heart:
    """When an event loop of the server has last run.

    Args:
        most_silent_s: After so many seconds of silence the server is dead.
    """

    def __init__(self, most_silent_s: float) -> None:
        self._most_silent_s = most_silent_s
        self._beat_at = time.monotonic()
        self._has_started = False

    def listen(self) -> None:
        """Note each byte on standard input, until the server has ended; then end this process."""
        while os.read(0, _MANY):
            self._beat_at, self._has_started = time.monotonic(), True
        os._exit(0)

    def status(self) -> tuple[int, dict[str, str]]:
        """The HTTP status, and the response."""
        silent_s = time.monotonic() - self._beat_at
        if not self._has_started:
            return 503, {"status": "starting"}
        if silent_s > self._most_silent_s:
            return 503, {"status": "dead", "message": f"No event loop has run for {silent_s:.0f} s"}
        return 200, {"status": "live"}


def handler_of(heart: Heart) -> type[BaseHTTPRequestHandler]:
    """The handler of each request."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _SLOW_CLIENT_S

        def do_GET(self) -> None:
            status, fields = heart.status() if self.path == "/live" else (404, {"message": "Only /live"})
            body = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: probes come every few seconds."""

    return Handler


def main(fd: int, most_silent_s: float) -> None:
    """Answer until the server has ended.

    Args:
        fd: The file descriptor of the listening socket.
        most_silent_s: After so many seconds of silence the server is dead.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # this process ends after the server, not before it
    heart = Heart(most_silent_s)
    threading.Thread(target=heart.listen, daemon=True).start()
    server = ThreadingHTTPServer(("", 0), handler_of(heart), bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=fd)
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
