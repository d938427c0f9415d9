"""Temporary: `BlockingConnection` under the names of before, until nothing imports this module."""

from __future__ import annotations

import contextlib
import time

from openenv_gym.errors import EndpointError
from openenv_gym.transport.blocking import BlockingConnection, run
from openenv_gym.transport.connection import CLOSE_TIMEOUT_S
from openenv_gym.wire.framing import Payload


class Connection(BlockingConnection):
    """A connection with plain methods."""

    def send(self, message: str | list[Payload], *, timeout_s: float, what: str) -> None:  # type: ignore[override]
        run(super().send(message, timeout_s=timeout_s, operation=what))

    def receive(self, *, timeout_s: float, what: str) -> Payload:  # type: ignore[override]
        return run(super().receive(timeout_s=timeout_s, operation=what))

    def close(self, farewell: str) -> None:  # type: ignore[override]
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        if self.is_open:
            with contextlib.suppress(EndpointError):
                self.send(farewell, timeout_s=CLOSE_TIMEOUT_S, what="close")
                while (left_s := deadline - time.monotonic()) > 0:
                    self.receive(timeout_s=left_s, what="close")
        self.drop()

    def expire(self, timeout_s: float, what: str) -> EndpointError:
        return super().expire(timeout_s, what)

    @property
    def is_owed(self) -> bool:
        """The old name of `has_pending`."""
        return self.has_pending

    @is_owed.setter
    def is_owed(self, value: bool) -> None:
        self.has_pending = value

    @property
    def is_for_good(self) -> bool:
        """The old name of `says_goodbye`."""
        return self.says_goodbye

    @is_for_good.setter
    def is_for_good(self, value: bool) -> None:
        self.says_goodbye = value
