"""A Unix socket, to which clients on the same machine move their connections.

Its file is removed at once. A client of the same user reaches it through the server's file descriptor of it,
in ``/proc``; for others, the kernel refuses that. So ``kill -9`` leaves nothing in the file system.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator

from starlette.types import Scope

from openenv_gym.transport.shared_memory import SharedMemory
from openenv_gym.transport.unix_socket import TIMEOUT_S, peer_uid
from openenv_gym.wire.unix_offer import HEADER, TICKET_SIZE, WITH_MEMORY, UnixOffer, address_text
from openenv_server.socket_takeover import EXTENSION

log = logging.getLogger("openenv_server")

_BACKLOG = 128

Move = Callable[[socket.socket, SharedMemory | None], None]


class PendingMove:
    """A connection that may move to the Unix socket.

    Args:
        offer: The offer; None if the socket is not offered.

    Attributes:
        offer: As given.
        move: What takes the Unix socket, once that is known.
    """

    def __init__(self, offer: UnixOffer | None) -> None:
        self.offer = offer
        self.move: asyncio.Future[Move] = asyncio.get_running_loop().create_future()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the accepted handshake that offer the socket."""
        return [] if self.offer is None else [(HEADER.encode(), self.offer.header.encode())]

    def allow(self, move: Move) -> None:
        """Let the client move from now on.

        Args:
            move: Takes the Unix socket, and the memory that is shared with the client.
        """
        self.move.set_result(move)


class UnixSockets:
    """The Unix socket of one server, open while clients may move to it. Use it on the event loop."""

    def __init__(self) -> None:
        self._pending: dict[bytes, PendingMove] = {}
        self._uses = 0
        self._listener: _Listener | None = None

    @contextlib.contextmanager
    def offer(self, scope: Scope) -> Iterator[PendingMove]:
        """Offer the socket to the client of a WebSocket, until the block ends or it has moved.

        Args:
            scope: The WebSocket's ASGI scope.
        """
        pending = PendingMove(self._offer(scope))
        if pending.offer is None:
            yield pending
            return
        self._pending[pending.offer.ticket] = pending
        self._uses += 1
        try:
            yield pending
        finally:
            self._pending.pop(pending.offer.ticket, None)
            pending.move.cancel()
            self._uses -= 1
            if not self._uses and self._listener is not None:
                self._listener.close()
                self._listener = None

    def _offer(self, scope: Scope) -> UnixOffer | None:
        client, server = scope.get("client"), scope.get("server")
        is_here = client and server and client[0] == server[0]  # the machine connects to itself
        if sys.platform != "linux" or not is_here or EXTENSION not in scope.get("extensions", {}):
            return None
        if self._listener is None:
            try:
                self._listener = _Listener(self._pending)
            except OSError as error:
                log.info("no Unix socket for clients on this machine, which stay with TCP: %s", error)
                return None
        return UnixOffer.make(
            address_text(client), address_text(server), os.getpid(), self._listener.descriptor
        )


class _Listener:
    """A listening Unix socket without a file.

    Args:
        pending: The connections that may move, by their tickets.

    Attributes:
        descriptor: The file descriptor of the file, which is removed.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, pending: dict[bytes, PendingMove]) -> None:
        assert sys.platform == "linux"
        self._pending = pending
        self._raw = socket.socket(socket.AF_UNIX)
        self._raw.setblocking(False)
        try:
            with tempfile.TemporaryDirectory(prefix="openenv-") as private, _opened(private) as folder:
                path = f"/proc/self/fd/{folder}/socket"  # an address has 107 characters at most
                self._raw.bind(path)
                self._raw.listen(_BACKLOG)
                self.descriptor = os.open(path, os.O_PATH)
        except BaseException:
            self._raw.close()
            raise
        self._greetings: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Accept no further client."""
        os.close(self.descriptor)
        for task in (self._accepting, *self._greetings):
            task.cancel()
        self._loop.remove_reader(self._raw)
        self._raw.close()

    async def _accept(self) -> None:
        while True:
            raw, _ = await self._loop.sock_accept(self._raw)
            greeting = self._loop.create_task(self._greet(raw))
            self._greetings.add(greeting)
            greeting.add_done_callback(self._greetings.discard)

    async def _greet(self, raw: socket.socket) -> None:
        """Find the connection that a client moves, and hand the socket over."""
        assert sys.platform == "linux"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if peer_uid(raw) != os.geteuid():
                    raise PermissionError("it is of another user")
                hello = await self._loop.sock_recv(raw, TICKET_SIZE + 1)  # a single write
                pending = self._pending.pop(hello[:TICKET_SIZE], None)
                if pending is None or pending.offer is None:
                    raise PermissionError("its ticket is unknown")
                move = await pending.move
            raw.setblocking(True)
            with _shared_memory(hello[TICKET_SIZE:] == WITH_MEMORY) as (memory, descriptors):
                # Before the proof: a client that has everything leaves the TCP socket.
                move(raw, memory)
                raw.send(pending.offer.proof)
                if hello[TICKET_SIZE:] == WITH_MEMORY:
                    socket.send_fds(raw, [WITH_MEMORY], descriptors)
        except (OSError, asyncio.CancelledError) as error:
            log.debug("a client on the Unix socket is refused: %s", error)
            raw.close()


@contextlib.contextmanager
def _shared_memory(is_wanted: bool) -> Iterator[tuple[SharedMemory | None, list[int]]]:
    """Memory to share with a client, and the file descriptor to send; neither if there is none."""
    descriptors: list[int] = []
    memory = None
    try:
        if is_wanted:
            try:
                descriptors.append(SharedMemory.create())
                memory = SharedMemory(descriptors[0], is_client=False)
            except OSError as error:
                log.info("no memory can be shared with clients on this machine: %s", error)
        yield memory, descriptors if memory is not None else []
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    """The file descriptor of a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
