"""The offer to move a connection from TCP to a Unix socket, a header of the accepted WebSocket handshake.

A client on the same machine may take it up; ``docs/protocol-v2.md`` says how.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, NamedTuple

HEADER = "x-openenv-unix"

# The sizes of a ticket and a proof in bytes.
TICKET_SIZE = PROOF_SIZE = 16
# Follows the ticket: whether shared memory is to follow the proof.
WITHOUT_MEMORY, WITH_MEMORY = b"\0", b"\1"

_HEADER = re.compile(
    r"(\S{1,64}) (\S{1,64}) ([0-9]{1,9}) ([0-9]{1,9}) ([0-9a-f]{32}) ([0-9a-f]{32})", re.ASCII
)


class UnixOffer(NamedTuple):
    """The offer of one connection.

    Attributes:
        client: The client's address, as the server sees it: see `address_text`.
        server: The server's address, as the server sees it.
        pid: The server's process.
        descriptor: The file descriptor of the Unix socket's file in that process.
        ticket: What the client shows.
        proof: What the server answers, so that another server is noticed.
    """

    client: str
    server: str
    pid: int
    descriptor: int
    ticket: bytes
    proof: bytes

    @classmethod
    def make(cls, client: str, server: str, pid: int, descriptor: int) -> UnixOffer:
        """Make an offer that nobody can guess."""
        ticket, proof = secrets.token_bytes(TICKET_SIZE), secrets.token_bytes(PROOF_SIZE)
        return cls(client, server, pid, descriptor, ticket, proof)

    @classmethod
    def parse(cls, header: str) -> UnixOffer | None:
        """Read the header's value; None if it is not an offer that this release knows."""
        found = _HEADER.fullmatch(header)
        if found is None:
            return None
        client, server, pid, descriptor, ticket, proof = found.groups()
        return cls(client, server, int(pid), int(descriptor), bytes.fromhex(ticket), bytes.fromhex(proof))

    @property
    def header(self) -> str:
        """The header's value."""
        ends = f"{self.client} {self.server} {self.pid} {self.descriptor}"
        return f"{ends} {self.ticket.hex()} {self.proof.hex()}"

    @property
    def path(self) -> str:
        """Where a process of the same user finds the Unix socket."""
        return f"/proc/{self.pid}/fd/{self.descriptor}"


def address_text(address: Any) -> str:
    """An address of a TCP socket, the same for both of its ends: ``127.0.0.1:8000``."""
    host, port = address[:2]
    return f"{host.removeprefix('::ffff:')}:{port}"
