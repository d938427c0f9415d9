"""Pending responses of a vector environment's slots, and waiting for the first of them."""

from __future__ import annotations

import math
import selectors
import time
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from openenv_gym.transport.blocking import BlockingConnection
from openenv_gym.transport.connection import Connection

SourceT = TypeVar("SourceT")


class PendingRead(NamedTuple, Generic[SourceT]):
    """A pending response.

    Attributes:
        slots: The slots that may be in it.
        connection: The connection to wait for; None if only ``due_at`` matters.
        source: Where it comes from.
        due_at: Not before then, by ``time.monotonic()``.
        late_at: When it times out, by ``time.perf_counter()``.
        is_late: Whether that time has passed: give it up.
    """

    slots: Sequence[int]
    connection: Connection | None
    source: SourceT
    due_at: float = 0.0
    late_at: float = math.inf
    is_late: bool = False


def is_available(read: PendingRead[Any]) -> bool:
    """Whether reading need not wait: a response is here, or a failure to report."""
    connection = read.connection
    if connection is None:
        return read.due_at <= time.monotonic()
    assert isinstance(connection, BlockingConnection)
    return not connection.is_open or connection.has_more


def wait(reads: Sequence[PendingRead[SourceT]], deadline: float | None) -> list[PendingRead[SourceT]]:
    """Wait for responses; return those that arrived, are due, or are late, or none at the deadline."""
    now = time.monotonic()
    late_in = min(read.late_at for read in reads) - time.perf_counter()
    until = min((read.due_at for read in reads if read.connection is None), default=math.inf)
    until = min(until, now + late_in, math.inf if deadline is None else deadline)
    with selectors.DefaultSelector() as selector:
        for read in reads:
            if isinstance(read.connection, BlockingConnection):
                selector.register(read.connection.raw_socket, selectors.EVENT_READ, read)
        while True:
            events = selector.select(None if until == math.inf else max(until - time.monotonic(), 0))
            if not events:
                due = [read for read in reads if read.connection is None and read.due_at <= until]
                late = [read for read in reads if read.late_at <= time.perf_counter()]
                return due + [read._replace(is_late=True) for read in late]
            for key, _ in events:
                key.data.connection.answer_pings()  # which may be all that arrived
            if arrived := [key.data for key, _ in selector.select(0)]:
                return arrived
