"""A gateway with TLS in front of a server, and clients that trust it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
import trustme

from tests.support.proxy import FaultProxy, tls_terminator

Way = Literal["plain", "TLS"]
WAYS: tuple[Way, ...] = ("plain", "TLS")


@contextmanager
def cutting_proxy(base_url: str, way: Way, **keywords: Any) -> Iterator[FaultProxy]:
    """Put a proxy in front of a server, and perhaps a gateway with TLS in front of the proxy.

    Args:
        base_url: The server.
        way: How clients reach the proxy's ``base_url``. They trust the gateway while it is there.
        keywords: Those of `FaultProxy`; by default there are no faults.
    """
    with FaultProxy(base_url, **{"faults": {}, **keywords}) as proxy:
        if way == "plain":
            yield proxy
            return
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            authority = trustme.CA()
            ca_file = Path(folder) / "ca.pem"
            authority.cert_pem.write_to_path(ca_file)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            patch.setenv("SSL_CERT_FILE", str(ca_file))
            with tls_terminator(proxy.base_url, context) as proxy.base_url:
                yield proxy
