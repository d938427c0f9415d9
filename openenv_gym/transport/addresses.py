"""The addresses of a host, and a socket to the first of them that can be reached."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

# An item of what ``socket.getaddrinfo`` returns.
AddressInfo = tuple[Any, Any, int, str, Any]

_lookups: dict[tuple[str, int], Future[list[AddressInfo]]] = {}
_lock = threading.Lock()


def look_up(host: str, port: int) -> Future[list[AddressInfo]]:
    """Look up the addresses of a host.

    A name takes as long as the resolver does, on a daemon thread, so that a caller can give up. Callers that
    need the same name at the same time share it.
    """
    found: Future[list[AddressInfo]] = Future()
    try:
        found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        return found
    except socket.gaierror:
        pass  # a name
    key = host, port
    with _lock:
        if key in _lookups:
            return _lookups[key]
        _lookups[key] = found
    found.set_running_or_notify_cancel()  # a caller that gives up does not cancel it for the others
    threading.Thread(target=_look_up, args=(key, found), name="openenv-dns", daemon=True).start()
    return found


def _look_up(key: tuple[str, int], found: Future[list[AddressInfo]]) -> None:
    try:
        addresses = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
    except Exception as error:
        found.set_exception(error)
    else:
        found.set_result(addresses)
    finally:
        with _lock:
            del _lookups[key]


async def open_socket(
    host: str,
    addresses: Sequence[AddressInfo],
    connect: Callable[[socket.socket, Any, int], Awaitable[None]],
) -> socket.socket:
    """Open a socket to the first address that can be reached.

    Args:
        host: The host's name, for the error.
        addresses: Its addresses.
        connect: Connects a socket to an address; also gets the number of addresses that are left.

    Raises:
        OSError: None can be reached.
    """
    failure: OSError = OSError(f"{host} has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        raw = socket.socket(family, kind, protocol)
        try:
            await connect(raw, address, len(addresses) - number)
        except OSError as error:
            raw.close()
            failure = error
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    raise failure


def _reset_after_fork() -> None:
    """A forked child has none of its parent's threads."""
    global _lock
    _lock = threading.Lock()
    _lookups.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
