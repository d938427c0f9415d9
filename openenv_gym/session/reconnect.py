"""Reconnect and resume after a connection broke (version 2 of the protocol)."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from openenv_gym.backoff import Backoff
from openenv_gym.errors import EndpointError, SessionLostError
from openenv_gym.session.responses import sentence, wrong_response
from openenv_gym.transport.connection import Connection, Transport
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode

# Connects per server process in one attempt to reach a certain one; the kernel chooses which one accepts.
CONNECTS_A_WORKER = 8
# After the wrong process accepted, in seconds: gives a busy one time to accept.
CONNECT_PAUSE_S = 0.005

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
# If nothing listens for this long, the server's process has exited, and its sessions are gone.
_LONGEST_REFUSAL_S = 0.6

# A shared budget grants each reconnect at least this, and regains spent time at this rate (s per s).
_LEAST_S = 0.5
_REGAINED = 0.3

log = logging.getLogger("openenv_gym")


class ReconnectBudget:
    """The time that channels share for reconnecting, since all slots wait meanwhile.

    If many connections break at once, the later ones get half a second each. Spent time is regained slowly.

    Args:
        most_s: The budget, in seconds.
    """

    def __init__(self, most_s: float = math.inf) -> None:
        self.most_s = self._left_s = most_s
        self._at = time.monotonic()

    @contextmanager
    def spend(self) -> Iterator[float]:
        """Measure a reconnect; yields the seconds that it may take."""
        begin = time.monotonic()
        self._left_s = min(self._left_s + (begin - self._at) * _REGAINED, self.most_s)
        try:
            yield max(self._left_s, _LEAST_S)
        finally:
            self._at = time.monotonic()
            self._left_s = max(self._left_s - (self._at - begin), 0.0)


async def reconnect(
    lost: Connection,
    transport: Transport,
    request: v2.Resume,
    *,
    grace_s: float,
    timeout_s: float,
    operation: str,
    cause: SessionLostError,
) -> tuple[Connection, v2.Resumed]:
    """Open another connection to the same server process and resume the sessions there.

    Retries with backoff for ``grace_s``; no single attempt outlasts that.

    Args:
        lost: The broken connection.
        transport: Opens connections.
        request: The request to resume.
        grace_s: How long to keep trying, in seconds: as long as the server keeps the sessions.
        timeout_s: The time to connect, and then for the response, in seconds.
        operation: The request that was interrupted, "step 12".
        cause: How the connection broke.

    Raises:
        SessionLostError: The sessions are gone, or the server could not be reached in time.
    """
    if not cause.retryable:
        raise cause
    begin = time.monotonic()
    until = begin + grace_s
    backoff = Backoff(_FIRST_PAUSE_S, min(grace_s / 10, _LONGEST_PAUSE_S))
    pause_s = 0.0
    refused_since: float | None = None
    last: EndpointError = cause

    def give_up(reason: str) -> SessionLostError:
        return SessionLostError(
            f"The connection to {lost.endpoint} broke during {operation} ({cause.__cause__}), and its "
            f"sessions are lost: {sentence(reason)}",
            retryable=True,
            endpoint=lost.endpoint.base_url,
            operation=operation,
        )

    while True:
        await transport.sleep(min(pause_s, max(until - time.monotonic(), 0)))
        pause_s = backoff.next_s()
        now = time.monotonic()
        if now >= until:
            raise give_up(f"reconnecting failed for {grace_s:g} s ({last.message})") from cause
        try:
            connection = await _connect_to_worker(transport, lost.endpoint, lost.worker, until, timeout_s)
            response = await _ask(connection, request, _time_left(until, timeout_s))
        except EndpointError as error:
            last = error
            if lost.has_gateway or not isinstance(error.__cause__, ConnectionRefusedError):
                refused_since = None
            elif refused_since is None:
                refused_since = now
            elif now - refused_since > _LONGEST_REFUSAL_S:
                raise give_up("nothing listens there any more, so the server has exited") from cause
            continue
        if isinstance(response, v2.Resumed):
            log.info("%s: reconnected and resumed after %.2f s", lost.endpoint, time.monotonic() - begin)
            return connection, response
        connection.drop()
        raise give_up(response.message) from cause


def _time_left(until: float, most_s: float) -> float:
    """The seconds until then, ``most_s`` at most; a moment if none are left."""
    return max(min(until - time.monotonic(), most_s), 1e-3)


async def _connect_to_worker(
    transport: Transport, endpoint: Endpoint, worker: tuple[int, int], until: float, timeout_s: float
) -> Connection:
    """Connect to one of a server's processes; the kernel chooses which one accepts."""
    for _ in range(CONNECTS_A_WORKER * worker[1]):
        if time.monotonic() > until:
            break
        connection = await transport.connect(endpoint, timeout_s=_time_left(until, timeout_s))
        if connection.worker == worker:
            return connection
        connection.drop()
    raise EndpointError(f"{endpoint}: its process {worker[0]} did not accept", endpoint=endpoint.base_url)


async def _ask(connection: Connection, request: v2.Resume, timeout_s: float) -> v2.Resumed | v2.Failed:
    if not connection.is_v2:
        connection.drop()
        return v2.Failed(code=ErrorCode.UNKNOWN_SESSION, message="the server now speaks version 1 only")
    connection.sends_close = False  # if this attempt fails, the next one may still resume
    await connection.send(v2.encode(request), timeout_s=timeout_s, operation="resume")
    until = time.monotonic() + timeout_s
    while True:
        payload = await connection.receive(timeout_s=_time_left(until, timeout_s), operation="resume")
        try:
            response = v2.decode_answer(payload)
            break
        except v2.BadMessageError as error:
            if not error.new_type or time.monotonic() > until:  # else a newer server's, to be ignored
                connection.drop()
                raise
    if isinstance(response, v2.Resumed | v2.Failed):
        connection.sends_close = True
        return response
    connection.drop()
    raise wrong_response(connection.endpoint, "resume", response)
