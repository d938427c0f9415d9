"""Coming back to a server after a socket broke."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openenv_gym.errors import EndpointError, OpenEnvError, ProtocolError, SessionLostError
from openenv_gym.transport.old_connection import Connection
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import BadFrameError, CloseCode, PeerClosedError

# How often to knock at a server of several processes, for each of them, until the right one opens.
KNOCKS = 8

# Where nothing listens for so long, the server's process has ended, and its sessions with it.
_MOST_REFUSED_S = 0.6
_LONGEST_PAUSE_S = 5.0

# Of the time that lanes have together: what each has at least, and how much comes back in a second.
_LEAST_S = 0.5
_REGAINED = 0.3

log = logging.getLogger("openenv_gym")


class Leeway:
    """The time that lanes have together to look for ways back, as the sessions of all stand still meanwhile.

    Where many are lost at once, the later ones have half a second each. What was spent comes back with time.

    Args:
        most_s: In seconds.
    """

    def __init__(self, most_s: float = math.inf) -> None:
        self.most_s = self._left_s = most_s
        self._at = time.monotonic()

    @contextmanager
    def spend(self) -> Iterator[float]:
        """For as long as a way back is looked for; gives the seconds that this may take."""
        begin = time.monotonic()
        self._left_s = min(self._left_s + (begin - self._at) * _REGAINED, self.most_s)
        try:
            yield max(self._left_s, _LEAST_S)
        finally:
            self._at = time.monotonic()
            self._left_s = max(self._left_s - (self._at - begin), 0.0)


def may_be_asked_again(error: OpenEnvError) -> bool:
    """Whether a session was lost with its connection, so that a reset in a new one makes sense.

    The server itself may have closed it, and would again.
    """
    return isinstance(error, SessionLostError) and error.__cause__ is not None and not _is_refusal(error)


def _is_refusal(error: SessionLostError) -> bool:
    """Whether there is no point in coming back.

    One side closed the connection because of what the other sent, and would again; or the server stops.
    """
    closed = error.__cause__
    if isinstance(closed, PeerClosedError):
        return closed.code in (CloseCode.PROTOCOL_ERROR, CloseCode.TOO_BIG, CloseCode.GOING_AWAY)
    return isinstance(closed, BadFrameError)


def come_back(
    lost: Connection,
    connect: Callable[[float], Connection],
    request: v2.Resume,
    *,
    grace_s: float,
    timeout_s: float,
    what: str,
    cause: SessionLostError,
) -> tuple[Connection, v2.Resumed]:
    """Opens another socket to the same server process, and resumes the sessions there.

    It is tried again and again, with growing pauses, for ``grace_s``; no try goes on for longer than that.

    Args:
        lost: The connection that broke.
        connect: Opens a connection, in so many seconds at most.
        request: The request to resume.
        grace_s: How long the way back is looked for, in seconds: the server keeps the sessions for so long.
        timeout_s: The time to connect, and then for the answer, in seconds.
        what: What was being done when the connection broke ("step 12").
        cause: How it broke.

    Raises:
        SessionLostError: The sessions are gone, or there was no way to them in time.
    """
    if _is_refusal(cause):
        raise cause
    begin = time.monotonic()
    until = begin + grace_s
    refused_since: float | None = None
    last: EndpointError = cause
    for pause_s in _pauses(min(grace_s / 10, _LONGEST_PAUSE_S)):
        time.sleep(min(pause_s, max(until - time.monotonic(), 0)))
        now = time.monotonic()
        if now >= until:
            raise _lost(
                lost, what, cause, f"there was no way back to it within {grace_s:g} s ({last.message})"
            ) from cause
        try:
            connection = _connect_to(lost.worker, connect, until, timeout_s)
            answer = _ask(connection, request, _time_left(until, timeout_s))
        except EndpointError as error:
            last = error
            if not isinstance(error.__cause__, ConnectionRefusedError):
                refused_since = None
            elif refused_since is None:
                refused_since = now
            elif now - refused_since > _MOST_REFUSED_S:
                raise _lost(
                    lost, what, cause, "nothing listens there any more: its server has ended"
                ) from cause
            continue
        if isinstance(answer, v2.Resumed):
            log.info("%s: the connection broke and was opened again after %.2f s", lost.endpoint, now - begin)
            return connection, answer
        connection.drop()
        raise _lost(lost, what, cause, answer.message) from cause
    raise AssertionError("unreachable: the pauses do not end")


def _time_left(until: float, most_s: float) -> float:
    """The seconds until then, ``most_s`` at most; a moment where there are none left."""
    return max(min(until - time.monotonic(), most_s), 1e-3)


def _connect_to(
    worker: tuple[int, int], connect: Callable[[float], Connection], until: float, timeout_s: float
) -> Connection:
    """A connection to one of the processes of a server; the kernel chooses which one a socket meets."""
    for _ in range(KNOCKS * worker[1]):
        connection = connect(_time_left(until, timeout_s))
        if connection.worker == worker:
            return connection
        connection.drop()
    raise EndpointError(f"{connection.endpoint}: its process {worker[0]} did not answer")


def _ask(connection: Connection, request: v2.Resume, timeout_s: float) -> v2.Resumed | v2.Failed:
    if not connection.is_v2:
        connection.drop()
        return v2.Failed(code=ErrorCode.UNKNOWN_SESSION, message="the server speaks version 1 only now")
    connection.is_for_good = False  # where this comes to nothing, the next try may not
    connection.send(v2.encode(request), timeout_s=timeout_s, what="resume")
    answer = v2.decode_answer(connection.receive(timeout_s=timeout_s, what="resume"))
    if isinstance(answer, v2.Resumed | v2.Failed):
        connection.is_for_good = True
        return answer
    connection.drop()
    raise ProtocolError(f"{connection.endpoint} answered resume with {type(answer).__name__}")


def _pauses(longest_s: float) -> Iterator[float]:
    """Seconds to wait before each try: none, then twice as many each time, more or less by chance."""
    yield 0.0
    pause_s = 0.05
    while True:
        yield pause_s * random.uniform(0.5, 1.5)
        pause_s = min(pause_s * 2, longest_s)


def _lost(lost: Connection, what: str, cause: SessionLostError, reason: str) -> SessionLostError:
    return SessionLostError(
        f"The connection to {lost.endpoint} broke during {what} ({cause.__cause__}), and its sessions are "
        f"lost: {reason}."
    )
