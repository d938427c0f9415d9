"""A client of version 2 of the protocol that sends any request and shows the raw responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openenv_gym.session.channel import Timeouts
from openenv_gym.session.v2 import V2Channel
from openenv_gym.transport.blocking import BlockingConnection, BlockingTransport, run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2


class V2Client:
    """The blocking calls of a `V2Channel`, and those that only tests make."""

    def __init__(self, base_url: str) -> None:
        self._channel = V2Channel(
            BlockingConnection(Endpoint(base_url), connect_timeout_s=5, offers_v2=True),
            BlockingTransport(),
            Timeouts(5, 10, 10),
        )
        assert self.connection.is_v2

    @property
    def connection(self) -> BlockingConnection:
        assert isinstance(self._channel.connection, BlockingConnection)
        return self._channel.connection

    @property
    def slots(self) -> set[int]:
        return self._channel.slots

    def next_id(self) -> int:
        return self._channel._next_id()

    def open(
        self,
        slots: Sequence[int],
        *,
        autoreset: v2.Autoreset = "disabled",
        max_episode_steps: int | None = None,
    ) -> None:
        self._channel._autoreset, self._channel._max_episode_steps = autoreset, max_episode_steps
        run(self._channel.open(slots))

    def ask(self, request: v2.Request, operation: str) -> v2.Answer:
        return run(self._channel._ask(request, operation))

    def values(self, request: v2.GetState | v2.Render, operation: str) -> list[Any]:
        return run(self._channel._values(request, operation))

    def send(self, request: v2.Request, operation: str) -> None:
        run(self._channel._send(request, request.slots, operation, self._channel._timeouts.step_s))

    def send_bytes(self, *payload: bytes) -> None:
        run(self.connection.send(list(payload), timeout_s=5, operation="bytes"))

    def receive_bytes(self) -> v2.Payload:
        return run(self.connection.receive(timeout_s=10, operation="bytes"))

    def receive(self, operation: str) -> v2.Answer:
        return run(self._channel._receive(operation, 10))

    def result(self, operation: str) -> v2.Result:
        return run(self._channel.result(operation))

    def close(self) -> None:
        run(self._channel.close())
