"""An environment's server on a node of a Ray cluster, and the actor that it lives and dies with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.process import _FD, _LOOPBACK, ProcessProvider

_DYING = str(Path(__file__).with_name("dying.py"))
_LOG_LINES = 200
# A server drains for ten seconds, where its settings do not say otherwise.
_STOP_TIMEOUT_S = 11.0


class NodeProvider(ProcessProvider):
    """Runs one server that other machines reach, as a child of this process.

    When an actor's process ends, Ray kills its children, and only those: what `ProcessProvider` puts between
    itself and a server would be killed, and the server go on. Where the process is killed itself, the kernel
    ends the child.

    Args:
        address: The node's address, to listen on.
        **keywords: Those of `ProcessProvider`, but for ``replicas``.
    """

    def __init__(self, address: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._address = address
        self._child: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=_LOG_LINES)

    def start(self) -> tuple[str, ...]:
        command, without = self._command()
        with socket.socket() as listening:
            listening.bind((self._address, 0))
            known = {_FD: str(listening.fileno()), _LOOPBACK: self._address}
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", _DYING, str(os.getpid()), *(known.get(w, w) for w in command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=[listening.fileno()],
                env={**{k: v for k, v in os.environ.items() if k not in without}, **self._variables},
            )
            self.endpoints = (f"http://{self._address}:{listening.getsockname()[1]}",)
        assert self._child.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()
        return self.endpoints

    def check(self) -> None:
        if self._child is not None and (code := self._child.poll()) is not None:
            self._reader.join(_STOP_TIMEOUT_S)
            raise ConfigurationError(
                f"The server ended with the exit code {code}. Its last words:\n{self.logs()}"
            )

    def logs(self) -> str:
        return "".join(self._log.copy())

    def stop(self) -> None:
        self.endpoints = ()
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    @property
    def pid(self) -> int:
        if self._child is None:
            raise ConfigurationError(f"The server of {self} is not started")
        return self._child.pid

    def wait(self) -> None:
        """Waits until the server has ended, or was stopped."""
        if (child := self._child) is not None:
            child.wait()

    def _read(self, output: IO[str]) -> None:
        with output:
            self._log.extend(output)


class Replica:
    """The actor: a server on the node where it runs. It ends when the server ends, for Ray to start another.

    Args:
        path: The environment's folder, or None.
        keywords: The other keywords of `NodeProvider`.

    Raises:
        OpenEnvError: The server did not come up. Ray does not try it again then.
    """

    def __init__(self, path: str | None, keywords: dict[str, Any]) -> None:
        import ray

        address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        self._provider = NodeProvider(address, path=path, **keywords)
        self._provider.launch()
        threading.Thread(target=self._end_with_server, name="openenv-watch", daemon=True).start()

    def base_url(self) -> str:
        """Where the server answers."""
        return self._provider.base_url

    def logs(self) -> str:
        """The last lines that the server wrote."""
        return self._provider.logs()

    def stop(self) -> None:
        """Stops the server."""
        self._provider.stop()

    def _end_with_server(self) -> None:
        self._provider.wait()
        try:
            self._provider.check()  # says nothing where it was stopped on purpose
        except ConfigurationError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
