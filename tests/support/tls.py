"""Certificates that clients trust, and a gateway with TLS in front of a server."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
import trustme

from tests.support.proxy import FaultProxy, UnixFaultProxy, tls_terminator

Way = Literal["plain", "TLS", "Unix"]
WAYS: tuple[Way, ...] = ("plain", "TLS", *(("Unix",) if sys.platform == "linux" else ()))


@contextmanager
def trusted_certificate() -> Iterator[Path]:
    """Write a certificate for 127.0.0.1 and its key to a file; clients in this process trust it meanwhile."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, authority = Path(name), trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = folder / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        yield certificate


@contextmanager
def cutting_proxy(base_url: str, way: Way, **keywords: Any) -> Iterator[FaultProxy]:
    """Put a proxy in front of a server, and perhaps a gateway with TLS in front of the proxy.

    On the way "Unix" it is in front of the server's Unix socket, to which clients move from TCP.

    Args:
        base_url: The server.
        way: How clients reach the proxy's ``base_url``.
        keywords: Those of `FaultProxy`; by default there are no faults.
    """
    keywords = {"faults": {}, **keywords}
    if way == "Unix":
        with (
            TemporaryDirectory() as name,
            pytest.MonkeyPatch.context() as patch,
            UnixFaultProxy(base_url, Path(name), patch, **keywords) as proxy,
        ):
            yield proxy
        return
    with FaultProxy(base_url, **keywords) as proxy:
        if way == "plain":
            yield proxy
            return
        with trusted_certificate() as certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            with tls_terminator(proxy.base_url, context) as proxy.base_url:
                yield proxy
