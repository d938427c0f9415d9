"""A server of one WebSocket that does with its frames what a test wants."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire import handshake, v2


class Peer:
    """A server of one connection: it does the handshake, and then what a test wants."""

    def __init__(
        self, behave: Callable[[FrameSocket], None], *, accepts_v2: bool, tls: ssl.SSLContext | None
    ) -> None:
        self._behave, self._accepts_v2, self._tls = behave, accepts_v2, tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        raw, _ = self._listening.accept()
        raw.settimeout(10)
        try:
            if self._tls is not None:
                raw = self._tls.wrap_socket(raw, server_side=True)
            data = b""
            while b"\r\n\r\n" not in data:
                data += raw.recv(4096)
            key = data.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
            raw.sendall(accepting(key, accepts_v2=self._accepts_v2))
            frames = FrameSocket(raw, is_client=False, max_size=1 << 28)
            frames.set_timeout(10)
            self._behave(frames)
        except (OSError, AssertionError) as error:
            self.failure = error
        finally:
            raw.close()
            self._listening.close()


def accepting(key: str, *, accepts_v2: bool) -> bytes:
    """The response of a server that opens a WebSocket."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + handshake._GUID).digest()).decode()
    lines = [
        "HTTP/1.1 101 OK",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    lines += [f"Sec-WebSocket-Protocol: {v2.SUBPROTOCOL}"] if accepts_v2 else []
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def peer(
    behave: Callable[[FrameSocket], None], *, accepts_v2: bool = True, tls: ssl.SSLContext | None = None
) -> Iterator[Endpoint]:
    served = Peer(behave, accepts_v2=accepts_v2, tls=tls)
    yield Endpoint(f"http{'s' if tls else ''}://127.0.0.1:{served.port}")
    served.thread.join(timeout=15)
    assert not served.thread.is_alive()
    assert not isinstance(served.failure, AssertionError), served.failure
