"""The requests of sessions that share a channel, until their responses are here."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from time import perf_counter
from typing import Any

import msgspec

from openenv_gym.tracing import Span


class Call:
    """A request of one session, until its response is here.

    Attributes:
        slot: The session.
        body: The action, the reset, or the whole request.
        together: Requests with the same value may travel as one.
        operation: The request's name in errors.
        timeout_s: How long to wait, in seconds.
        future: The response.
        due_at: When to give up, by the loop's clock.
        begun_at: When it was made, by ``time.perf_counter()``.
        request_id: The message that it was sent with.
        span: Its span, if this process has set up tracing.
    """

    __slots__ = (
        "begun_at",
        "body",
        "due_at",
        "future",
        "operation",
        "request_id",
        "slot",
        "span",
        "timeout_s",
        "together",
    )

    def __init__(
        self,
        slot: int,
        body: Any,
        together: Hashable,
        operation: str,
        timeout_s: float,
        future: asyncio.Future[Any],
        due_at: float,
    ) -> None:
        self.slot, self.body, self.together = slot, body, together
        self.operation, self.timeout_s, self.due_at = operation, timeout_s, due_at
        self.future = future
        self.begun_at = perf_counter()
        self.request_id = 0
        self.span: Span | None = None


class ResetBody(msgspec.Struct):
    """The parts of a reset."""

    seed: msgspec.Raw
    options: msgspec.Raw


def size_of(call: Call) -> int:
    """Return the bytes of an action; 0 for other requests."""
    return len(call.body) if type(call.body) is msgspec.Raw else 0
