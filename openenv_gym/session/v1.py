"""Version 1 of the protocol: one session a WebSocket, responses in order.

Its results are read into the `Result` of version 2, so that callers need not know the version.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from openenv_gym.errors import ConfigurationError, EndpointError, OpenEnvError, ProtocolError
from openenv_gym.session.channel import LATE_MARGIN_S, Timeouts
from openenv_gym.session.responses import error_of, lost_error, wrong_response
from openenv_gym.tracing import Span, find_tracer
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v1, v2
from openenv_gym.wire.codes import ErrorCode

# After these error responses the server has closed the session, or closes it now.
_CLOSING = (
    ErrorCode.SESSION_ERROR,
    ErrorCode.CAPACITY_REACHED,
    ErrorCode.FACTORY_ERROR,
    ErrorCode.TIMEOUT,
    ErrorCode.DEADLINE_EXCEEDED,
)


class V1Channel:
    """A `Channel` over version 1 of the protocol. It has one slot, and the server never resets it by itself.

    A server without a free session says so in response to the first request, not in `open`.

    Args:
        connection: An open connection.
        timeouts: How long to wait.
    """

    is_v2 = False
    autoresets = False
    sends_payloads = True
    has_result = False

    def __init__(self, connection: Connection, timeouts: Timeouts) -> None:
        self.connection = connection
        self.slots: set[int] = set()
        self.refused: Sequence[int] = ()
        self.sent_at: float = 0.0
        self.received_at: float = 0.0
        self._timeouts = timeouts
        self._slot = 0
        self._tracer = find_tracer()
        self._span: Span | None = None

    @property
    def endpoint(self) -> Endpoint:
        return self.connection.endpoint

    @property
    def is_open(self) -> bool:
        return self.connection.is_open

    @property
    def has_pending(self) -> bool:
        return self.connection.has_pending

    async def open(self, slots: Sequence[int], ticket: v2.Ticket | None = None) -> None:
        (self._slot,) = slots
        self.slots = {self._slot}

    async def send_reset(
        self, slots: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any], operation: str
    ) -> None:
        (seed,) = seeds
        data = options if seed is None else {**options, "seed": seed}
        limit_s = self._timeouts.reset_s
        await self._send(v1.encode_reset(data, self._limit(limit_s)), operation, self._wait_s(limit_s))

    async def send_step(
        self,
        slots: Sequence[int],
        actions: Any,
        operation: str,
        *,
        gather: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        limit_s = timeout_s or self._timeouts.step_s
        request = v1.encode_step(actions[0], self._limit(limit_s))
        await self._send(request, operation, self._wait_s(limit_s))

    async def result(
        self, operation: str, *, is_reset: bool = False, timeout_s: float | None = None
    ) -> v2.Result:
        response = await self._receive(operation, self._wait_s(timeout_s or self._timeout_s(is_reset)))
        if not isinstance(response, v1.StepAnswer):
            raise await self._wrong_response(response, operation)
        return v2.Result(
            id=0,
            slots=[self._slot],
            observations=[response.observation],
            rewards=[response.reward],
            terminated=[response.terminated],
            truncated=[response.truncated],
            infos=[(0, response.metadata)] if response.metadata else [],
            environment_us=[math.nan],
            server_us=math.nan,
        )

    def late_at(self, *, is_reset: bool) -> float:
        return self.sent_at + self._wait_s(self._timeout_s(is_reset))

    def expire(self, operation: str, *, is_reset: bool) -> EndpointError:
        return self.connection.expire(self._wait_s(self._timeout_s(is_reset)), operation)

    async def states(self, slots: Sequence[int]) -> list[Any]:
        await self._send(v1.STATE_REQUEST, "state", self._timeouts.step_s)
        response = await self._receive("state", self._timeouts.step_s)
        if not isinstance(response, v1.StateAnswer):
            raise await self._wrong_response(response, "state")
        return [response.data]

    async def mcp(self, slots: Sequence[int], request: dict[str, Any]) -> list[Any]:
        await self._send(v1.encode_mcp(request), "mcp", self._timeouts.step_s)
        response = await self._receive("mcp", self._timeouts.step_s)
        if not isinstance(response, v1.McpAnswer):
            raise await self._wrong_response(response, "mcp")
        return [response.data]

    async def render(self, slots: Sequence[int]) -> list[Any]:
        raise ConfigurationError(
            f"{self.endpoint} renders, but only version 1 of the protocol gets through to it, which cannot "
            "ask for pictures.",
            advice="Let the proxy pass on the header Sec-WebSocket-Protocol.",
            endpoint=self.endpoint.base_url,
        )

    def abort(self) -> None:
        self.connection.hang_up()

    async def close(self) -> None:
        self.slots = set()
        await self.connection.close(v1.encode_close(self._limit(self._timeouts.step_s)))

    def _timeout_s(self, is_reset: bool) -> float:
        return self._timeouts.reset_s if is_reset else self._timeouts.step_s

    def _limit(self, timeout_s: float) -> float | None:
        """The timeout to send with a request, if the server heeds it."""
        return timeout_s if self.connection.heeds_timeouts else None

    def _wait_s(self, timeout_s: float) -> float:
        """How long to wait for the response to a request with that timeout, in seconds."""
        return timeout_s + LATE_MARGIN_S if self.connection.heeds_timeouts else timeout_s

    async def _send(self, request: str, operation: str, timeout_s: float) -> None:
        if self.connection.has_pending:
            self.abort()  # interrupted before: the old response would be taken for this request's
        if self._tracer is not None:
            self._span = self._tracer.ask(operation, 1, self.endpoint.base_url)
        self.sent_at = perf_counter()
        await self.connection.send(request, timeout_s=timeout_s, operation=operation)

    async def _receive(self, operation: str, timeout_s: float) -> v1.Answer:
        payload = await self.connection.receive(timeout_s=timeout_s, operation=operation)
        self.received_at = perf_counter()
        self.connection.has_pending = False
        response = v1.decode_answer(payload)
        if self._span is not None:
            if isinstance(response, v1.ErrorAnswer):
                self._span.fail([response.message])
            self._span.end()
        if isinstance(response, v1.ErrorAnswer):
            raise await self._failed(response, operation)
        return response

    async def _failed(self, response: v1.ErrorAnswer, operation: str) -> OpenEnvError:
        self.refused = [self._slot]
        if response.code in _CLOSING:
            await self.close()
        if response.code == ErrorCode.SESSION_ERROR:
            return lost_error(self.endpoint, operation, response.message)
        return error_of(self.endpoint, operation, response.code, response.message, response.details)

    async def _wrong_response(self, response: v1.Answer, operation: str) -> ProtocolError:
        await self.close()
        return wrong_response(self.endpoint, operation, response)
