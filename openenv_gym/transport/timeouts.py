"""How long a client waits for what."""

from __future__ import annotations

from typing import NamedTuple


class Timeouts(NamedTuple):
    """The time for each thing, in seconds.

    Attributes:
        connect_s: To connect: TCP, TLS and WebSocket.
        reset_s: For the answer to a reset.
        step_s: For the answer to a step, and to all else.
    """

    connect_s: float = 10.0
    reset_s: float = 60.0
    step_s: float = 60.0
