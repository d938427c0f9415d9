"""A real nginx on loopback, which a test configures, restarts and reloads."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from openenv_gym.errors import EndpointError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json
from tests.support.engine import free_port

_PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

needs_nginx = pytest.mark.skipif(_PROGRAM is None, reason="nginx is not installed")

# What docs/gateways.md tells users to write.
_DOCUMENT = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
WEBSOCKETS = "\n".join(re.findall(r"^ +(proxy_(?:http_version|set_header).*;)", _DOCUMENT, re.MULTILINE))
_MAP = re.search(r"^map .*?^}", _DOCUMENT, re.MULTILINE | re.DOTALL)
assert _MAP is not None

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {map}
    {http}
    server {{
        listen 127.0.0.1:{port}{ssl};
        {server}
    }}
}}
"""


class Nginx:
    """An nginx in front of servers.

    Args:
        folder: Where its files go.
        server: The contents of its ``server`` block.
        http: More of its ``http`` block.
        has_tls: Whether it speaks TLS, with a certificate for 127.0.0.1 from a test authority.

    Attributes:
        origin: Its address, without a path.
        ca_file: The authority's certificate.
    """

    def __init__(self, folder: Path, server: str, *, http: str = "", has_tls: bool = False) -> None:
        self._folder = folder
        self._port = free_port()
        self.origin = f"http{'s' if has_tls else ''}://127.0.0.1:{self._port}"
        self.ca_file = folder / "ca.pem"
        if has_tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca_file)
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
            server = (
                f"ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;\n{server}"
            )
        text = _CONFIGURATION.format(
            folder=folder,
            map=_MAP[0],
            port=self._port,
            ssl=" ssl" if has_tls else "",
            server=server,
            http=http,
        )
        (folder / "nginx.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert _PROGRAM is not None
        self._process = subprocess.Popen(
            [_PROGRAM, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not _listens(self._port):
            assert time.monotonic() < deadline
            assert self._process.poll() is None, (self._folder / "error.log").read_text()
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
        """Have it read its configuration again: new processes take over, old ones end with connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


@contextmanager
def nginx(folder: Path, server: str, *, http: str = "", has_tls: bool = False) -> Iterator[Nginx]:
    """Run nginx with the contents of a ``server`` block."""
    gateway = Nginx(folder, server, http=http, has_tls=has_tls)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


def _listens(port: int) -> bool:
    import socket

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
