"""An environment's server on a node of a Ray cluster, and the actor that it lives and dies with."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.provider import Provider
from openenv_gym.providers.server_command import ServerCommand
from openenv_gym.providers.stopping import stop_timeout_s

_DYING = str(Path(__file__).with_name("dying.py"))
_LOG_LINES = 200
_READER_TIMEOUT_S = 5.0


class NodeProvider(Provider):
    """Runs one server that other machines reach, as a child of this process.

    When an actor's process ends, Ray kills its children, and only those: what `ProcessProvider` puts between
    itself and a server would be killed, and the server go on. Where the process is killed itself, the kernel
    ends the child.

    Args:
        address: The node's address, to listen on.
        server: What to run.
        ready_timeout_s: The time for it to be ready, in seconds.
    """

    def __init__(self, address: str, server: ServerCommand, *, ready_timeout_s: float) -> None:
        self._address = address
        self._server = server
        self.ready_timeout_s = ready_timeout_s
        self._child: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=_LOG_LINES)

    def __str__(self) -> str:
        return self._server.name

    def start(self) -> tuple[str, ...]:
        command = self._server.resolve(self._address)
        environment = command.environment()
        self._stop_timeout_s = stop_timeout_s(environment)
        is_v6 = ":" in self._address
        with socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET) as listening:
            listening.bind((self._address, 0))
            words = command.words(listening.fileno())
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", _DYING, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=[listening.fileno()],
                env=environment,
                start_new_session=True,
            )
            host = f"[{self._address}]" if is_v6 else self._address
            self.endpoints = (f"http://{host}:{listening.getsockname()[1]}",)
        assert self._child.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()
        return self.endpoints

    def check(self) -> None:
        if self._child is not None and (code := self._child.poll()) is not None:
            self._reader.join(_READER_TIMEOUT_S)
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(self._stop_timeout_s)
        _kill_group(child)

    def wait(self) -> None:
        """Waits until the server has ended, or was stopped; ends what it has left."""
        if (child := self._child) is not None:
            child.wait()
            _kill_group(child)

    def _read(self, output: IO[str]) -> None:
        with output:
            self._log.extend(output)


def _kill_group(child: subprocess.Popen[str]) -> None:
    """Kills a process, if it runs still, and what it started in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class Replica:
    """The actor: a server on the node where it runs. It ends when the server ends, for Ray to start another.

    Args:
        server: What to run.
        ready_timeout_s: The time for it to be ready, in seconds.
    """

    def __init__(self, server: ServerCommand, ready_timeout_s: float) -> None:
        import ray

        address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        self._provider = NodeProvider(address, server, ready_timeout_s=ready_timeout_s)
        self._came_up: Future[None] = Future()
        threading.Thread(target=self._serve, name="openenv-serve", daemon=True).start()

    def base_url(self) -> str:
        """Where the server answers; waits until it does.

        Raises:
            OpenEnvError: It did not come up.
        """
        self._came_up.result()
        return self._provider.base_url

    def logs(self) -> str:
        """The last lines that the server wrote."""
        return self._provider.logs()

    def stop(self) -> None:
        """Stops the server."""
        self._provider.stop()

    def _serve(self) -> None:
        """Starts the server and waits for its end, in one thread: the kernel ends a child with its thread."""
        try:
            self._provider.launch()
        except BaseException as error:
            self._came_up.set_exception(error)
            return
        self._came_up.set_result(None)
        self._provider.wait()
        try:
            self._provider.check()  # says nothing where it was stopped on purpose
        except ConfigurationError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
