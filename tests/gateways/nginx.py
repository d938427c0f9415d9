"""An nginx with blocks of a test's own."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gateways.document import blocks
from tests.gateways.gateway import Gateway, program, running

needs_nginx = pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")

# What docs/proxies.md tells users to write.
_BLOCK = blocks("nginx")[0]
WEBSOCKETS = "\n".join(re.findall(r"^ +(proxy_(?:http_version|set_header).*;)", _BLOCK, re.MULTILINE))
_MAP = re.search(r"^map .*?^}", _BLOCK, re.MULTILINE | re.DOTALL)
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
    server {{
        listen 127.0.0.1:{port}{ssl};
        {server}
    }}
}}
"""


class PlainNginx(Gateway):
    """An nginx in front of servers. Its reload cuts nothing: old processes end with their connections.

    Args:
        folder: Where its files go.
        server: The contents of its ``server`` block.
        has_tls: Whether it speaks TLS, with a certificate for 127.0.0.1 from a test authority.
    """

    reload_signal = signal.SIGHUP

    def __init__(self, folder: Path, server: str, *, has_tls: bool = False) -> None:
        super().__init__(folder, has_tls=has_tls)
        if has_tls:
            pem = self.certificate
            server = f"ssl_certificate {pem}; ssl_certificate_key {pem};\n{server}"
        assert _MAP is not None
        (folder / "nginx.conf").write_text(
            _CONFIGURATION.format(
                folder=folder, map=_MAP[0], port=self.port, ssl=" ssl" if has_tls else "", server=server
            )
        )
        self.command = [str(program("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")]


@contextmanager
def nginx(folder: Path, server: str, *, has_tls: bool = False) -> Iterator[PlainNginx]:
    """Run nginx with the contents of a ``server`` block."""
    with running(PlainNginx(folder, server, has_tls=has_tls)) as gateway:
        yield gateway
