"""A real gateway on loopback, which a test configures, restarts and reloads."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import trustme

from openenv_gym.errors import EndpointError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json
from tests.support.engine import free_port


@cache
def program(name: str) -> str | None:
    """The path of an installed program; those of administrators are included."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Gateway:
    """A gateway in front of servers.

    Args:
        folder: Where its files go.
        has_tls: Whether it speaks TLS, with a certificate from a test authority.

    Attributes:
        folder: The same.
        port: Where it listens.
        origin: Its address, without a path.
        ca_file: The authority's certificate.
        certificate: Its own for 127.0.0.1 and env.example.com, with the key.
        command: Starts it in the foreground.
        reload_signal: Has it read its configuration again.
    """

    command: Sequence[str]
    reload_signal: signal.Signals

    def __init__(self, folder: Path, *, has_tls: bool) -> None:
        self.folder = folder
        self.port = free_port()
        self.origin = f"http{'s' if has_tls else ''}://127.0.0.1:{self.port}"
        self.ca_file, self.certificate = folder / "ca.pem", folder / "server.pem"
        self._log = folder / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        if has_tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca_file)
            issued = authority.issue_cert("127.0.0.1", "env.example.com")
            issued.private_key_and_cert_chain_pem.write_to_path(self.certificate)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env={**os.environ, "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)},
            )
        deadline = time.monotonic() + 10
        while not _listens(self.port):
            assert time.monotonic() < deadline
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it; its connections are cut."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None

    def restart(self, *, away_s: float = 0.0) -> None:
        """Stop it, and start it again after a while."""
        self.stop()
        time.sleep(away_s)
        self.start()

    def reload(self) -> None:
        """Have it read its configuration again."""
        assert self._process is not None
        self._process.send_signal(self.reload_signal)


GatewayT = TypeVar("GatewayT", bound=Gateway)


@contextmanager
def running(gateway: GatewayT) -> Iterator[GatewayT]:
    """Run a gateway."""
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def is_up(base_url: str, **keywords: object) -> bool:
    """Whether a server answers at an address, perhaps behind a gateway."""
    try:
        get_json(Endpoint.parse(base_url, **keywords), "/health", timeout_s=2)  # type: ignore[arg-type]
    except EndpointError:
        return False
    return True
