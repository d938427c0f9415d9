"""Run the playground beside a server: in a separate process, or in a thread if it needs what is in memory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Protocol

from openenv_server.playground.custom_tab import CustomTab

_BACKLOG = 128
_END_S = 1.0


class Runner(Protocol):
    """A running playground.

    Attributes:
        path: The Unix socket that it listens on.
    """

    path: str

    @property
    def is_running(self) -> bool:
        """Whether it runs."""

    def stop(self) -> None:
        """Stop it. Safe to call again."""


class PlaygroundProcess:
    """A process, so that a page which is drawn takes no time from the server's steps.

    Args:
        url: The server's address.
    """

    def __init__(self, url: str) -> None:
        listening, self.path = _listen()
        words = [sys.executable, "-P", "-m", "openenv_server.playground"]
        words += ["--fd", str(listening.fileno()), "--url", url]
        # It inherits no key: the server has taken those out of its environment.
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=sys.stderr, pass_fds=[listening.fileno()]
        )
        listening.close()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # which ends it
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(Path(self.path).parent, ignore_errors=True)


class PlaygroundThread:
    """A thread of the server's process, for a tab of the environment's own, which may use what is in memory.

    Args:
        url: The server's address.
        custom: The tab.
    """

    def __init__(self, url: str, custom: CustomTab) -> None:
        import uvicorn

        from openenv_gym.transport.endpoint import Endpoint
        from openenv_server.playground.app import PlaygroundApp

        listening, self.path = _listen()
        app = PlaygroundApp(lambda key: Endpoint.parse(url, api_key=key, is_direct=True), custom=custom)
        config = uvicorn.Config(app, log_config=None, server_header=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="openenv-playground", daemon=True
        )
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._server.should_exit = True
        shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def _listen() -> tuple[socket.socket, str]:
    """A listening socket in a folder that only this user can enter, and its path."""
    path = str(Path(tempfile.mkdtemp(prefix="openenv-playground-")) / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(_BACKLOG)
    return listening, path
