"""A client moves its connection to a Unix socket, if the server runs on this machine and as the same user."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from hmac import compare_digest

from openenv_gym.transport.shared_memory import SharedMemory
from openenv_gym.wire.unix_offer import (
    HEADER,
    PROOF_SIZE,
    WITHOUT_MEMORY,
    UnixOffer,
    address_text,
)

log = logging.getLogger("openenv_gym")

# The server answers within microseconds. If it has other things to do, TCP is good enough.
TIMEOUT_S = 1.0

_CREDENTIALS = struct.Struct("3i")

Connect = Callable[[socket.socket, str], Awaitable[None]]
Exchange = Callable[[socket.socket, bytes, int], Awaitable[bytes]]


async def move_to_unix_socket(
    tcp: socket.socket,
    headers: Mapping[str, str],
    connect: Connect,
    exchange: Exchange,
    wish: bytes = WITHOUT_MEMORY,
) -> socket.socket | None:
    """Take up a server's offer, if its Unix socket can be reached from here.

    Args:
        tcp: The TCP socket that the WebSocket was opened on. It can be used as before if this returns None.
        headers: The headers of the response.
        connect: Connects a Unix socket to a path.
        exchange: Sends bytes, and receives so many.
        wish: `WITHOUT_MEMORY`, or `WITH_MEMORY`, which `receive_memory` has to receive.

    Returns:
        The Unix socket, which continues the connection in place of the TCP socket; None without a server on
        this machine, of this user, and behind no proxy.
    """
    offer = UnixOffer.parse(headers.get(HEADER, ""))
    if offer is None or sys.platform != "linux" or not _is_of(offer, tcp):
        return None
    raw = socket.socket(socket.AF_UNIX)
    try:
        await connect(raw, offer.path)
        if peer_uid(raw) == os.geteuid() and compare_digest(
            await exchange(raw, offer.ticket + wish, PROOF_SIZE), offer.proof
        ):
            return raw
        log.debug("%s is not the Unix socket of the server at %s", offer.path, offer.server)
    except OSError as error:  # another machine, container or user
        log.debug("the Unix socket of the server at %s cannot be reached: %s", offer.server, error)
    except BaseException:
        raw.close()
        raise
    raw.close()
    return None


def receive_memory(raw: socket.socket) -> SharedMemory | None:
    """Receive the memory that the server shares, behind its proof; None if it has none to share.

    Raises:
        OSError: This process cannot use it.
    """
    if sys.platform == "win32":
        return None
    _, descriptors, _, _ = socket.recv_fds(raw, 1, 1)
    if not descriptors:
        return None
    try:
        return SharedMemory(descriptors[0], is_client=True)
    finally:
        os.close(descriptors[0])


def peer_uid(raw: socket.socket) -> int:
    """The user of the process at the other end of a Unix socket.

    Raises:
        OSError: The system does not say.
    """
    if sys.platform != "linux":
        raise OSError("this system does not say whose process it is")
    credentials = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(credentials)[1]
    return uid


def _is_of(offer: UnixOffer, tcp: socket.socket) -> bool:
    """Whether the server sees the same connection as this side: nothing stands between."""
    try:
        return (offer.client, offer.server) == (
            address_text(tcp.getsockname()),
            address_text(tcp.getpeername()),
        )
    except OSError:  # it broke
        return False
