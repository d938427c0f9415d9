"""A lane: one WebSocket of version 2 of the protocol, with many sessions on it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from openenv_gym.errors import EndpointError, OpenEnvError, ProtocolError, RemoteError, SessionLostError
from openenv_gym.transport.connection import CLOSE_TIMEOUT_S
from openenv_gym.transport.old_connection import Connection
from openenv_gym.transport.refusals import capacity_error, remote_error
from openenv_gym.transport.returning import Leeway, come_back, may_be_asked_again
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode

# How often sessions are asked for whose connection breaks before the answer.
_OPEN_TRIES = 3


class _Unanswered:
    """A request that is not answered yet, as far as it is kept to be sent again.

    Attributes:
        payload: The request.
        missing: The slots that are not answered.
    """

    __slots__ = ("missing", "payload")

    def __init__(self, payload: list[v2.Payload], missing: Sequence[int]) -> None:
        self.payload = payload
        self.missing = missing


class Lane:
    """Sends requests and reads answers, of which one request may have several.

    When the connection breaks, another one is opened, the sessions are resumed there, and what was not
    answered is asked for again: the server has it done, or does it now, but never twice.

    Args:
        connection: The connection; its server speaks version 2.
        connect: Opens another to the same server, in so many seconds at most.
        timeouts: How long to wait.
        leeway: The time for the way back to the server, even where it keeps the sessions for longer; None
            leaves it to the server.

    Attributes:
        slots: The numbers of the sessions that were opened.
        sent_at: When the last request was sent, by ``time.perf_counter()``.
        received_at: When the last answer had come.
        resumed: How often the sessions were resumed.
        refused: The slots of the request that the server refused last.
    """

    def __init__(
        self,
        connection: Connection,
        connect: Callable[[float], Connection],
        timeouts: Timeouts,
        *,
        leeway: Leeway | None = None,
    ) -> None:
        self.connection = connection
        self._leeway = leeway or Leeway()
        self.timeouts = timeouts
        self.slots: set[int] = set()
        self.sent_at = self.received_at = 0.0
        self.resumed = 0
        self.refused: list[int] = []
        self._connect = connect
        self._token = ""
        self._grace_s = 0.0
        self._unanswered: dict[int, _Unanswered] = {}
        self._early: deque[v2.Result] = deque()  # results that came while another answer was waited for
        self._requests = 0

    @property
    def is_open(self) -> bool:
        """Whether a request can be made."""
        return self.connection.is_open

    @property
    def has_early(self) -> bool:
        """Whether `result` has something to give without waiting."""
        return bool(self._early)

    def next_id(self) -> int:
        """A number for a request."""
        self._requests += 1
        return self._requests

    def open(
        self,
        slots: Sequence[int],
        *,
        autoreset: v2.Autoreset = "disabled",
        max_episode_steps: int | None = None,
    ) -> None:
        """Opens sessions: all of them, or none.

        Raises:
            CapacityError: The server has not as many free sessions.
            RemoteError: The server could not make an environment.
            SessionLostError: The connection broke, again and again.
        """
        request = v2.Open(
            id=self.next_id(), slots=list(slots), autoreset=autoreset, max_episode_steps=max_episode_steps
        )
        for tries_left in reversed(range(_OPEN_TRIES)):
            try:
                answer = self.ask(request, "open")
                break
            except SessionLostError as error:
                if self._token or not tries_left or not may_be_asked_again(error):
                    raise
                # The server closes what it may have opened, as nobody was told how to come back to it.
                self.connection = self._connect(self.timeouts.connect_s)
        if not isinstance(answer, v2.Opened):
            raise self._wrong_answer(answer, "open")
        self.slots.update(answer.slots)
        self._token, self._grace_s = answer.token, min(answer.grace_s, self._leeway.most_s)
        if answer.errors:
            if self.slots == set(answer.slots):
                self.close()
            elif answer.slots:
                self.ask(v2.Close(id=self.next_id(), slots=answer.slots), "close")
                self.slots.difference_update(answer.slots)
            raise self._not_opened(answer.errors, len(slots))

    def values(self, request: v2.GetState | v2.Render, what: str) -> list[Any]:
        """The states or the pictures of some slots.

        Raises:
            RemoteError: One could not be had.
        """
        answer = self.ask(request, what)
        if not isinstance(answer, v2.Values):
            raise self._wrong_answer(answer, what)
        if answer.errors:
            raise self.slot_error(answer.errors[0], what)
        return answer.values

    def ask(self, request: v2.Request, what: str) -> v2.Answer:
        """Sends a request that has one answer, and waits for it."""
        try:
            self.send(request, what)
            while True:
                answer = self.receive(what)
                if type(answer) is not v2.Result or answer.id == request.id:
                    break
                if self._is_news(answer):
                    self._early.append(answer)
            self._forget(request.id)
            return answer
        except Exception:
            raise
        except BaseException:
            self.give_up()  # Ctrl-C, say: the answer would be taken for the next one of its kind
            raise

    def send(self, request: v2.Request, what: str) -> None:
        """Sends a request.

        Raises:
            SessionLostError: The connection was given up.
            DeadlineExceededError: The server does not take it in time.
            ProtocolError: There is something in the request that cannot be sent.
        """
        try:
            payload = v2.encode(request)
        except (TypeError, OverflowError) as error:
            raise ProtocolError(f"{what} cannot be sent: {error}") from error
        self._unanswered[request.id] = _Unanswered(payload, request.slots)
        self.sent_at = perf_counter()
        self.connection.send(payload, timeout_s=self.timeouts.step_s, what=what)

    def result(self, what: str, *, is_reset: bool = False) -> v2.Result:
        """Waits for the next answer to a reset or a step.

        Raises:
            DeadlineExceededError: None came in time.
            SessionLostError: The connection broke, and the sessions could not be resumed.
            ProtocolError: The answer is none.
            RemoteError: The server did not do the request in any slot.
        """
        if self._early:
            return self._early.popleft()
        while True:
            answer = self.receive(what, self._most_s(is_reset))
            if type(answer) is not v2.Result:
                raise self._wrong_answer(answer, what)
            if self._is_news(answer):
                return answer

    def late_at(self, *, is_reset: bool) -> float:
        """When `result` would have waited too long, by ``time.perf_counter()``."""
        return max(self.sent_at, self.received_at) + self._most_s(is_reset)

    def expire(self, what: str, *, is_reset: bool) -> EndpointError:
        """Gives up an answer that is late; the error that `result` raises then."""
        return self.connection.expire(self._most_s(is_reset), what)

    def _most_s(self, is_reset: bool) -> float:
        return self.timeouts.reset_s if is_reset else self.timeouts.step_s

    def _is_news(self, result: v2.Result) -> bool:
        """Whether it is the first answer of its slots: after resuming, one may come a second time."""
        unanswered = self._unanswered.get(result.id)
        if unanswered is None:
            return False
        if result.slots == unanswered.missing and not result.errors:
            self._forget(result.id)
            return True
        answered = {*result.slots, *(error.slot for error in result.errors)}
        missing = [slot for slot in unanswered.missing if slot not in answered]
        if not answered or len(missing) + len(answered) != len(unanswered.missing):
            return False
        unanswered.missing = missing
        if not missing:
            self._forget(result.id)
        return True

    def _forget(self, request_id: int) -> list[int]:
        """Expects nothing more of a request; the slots that had no answer yet."""
        unanswered = self._unanswered.pop(request_id, None)
        self.connection.is_owed = bool(self._unanswered)
        return [] if unanswered is None else list(unanswered.missing)

    def receive(self, what: str, timeout_s: float | None = None) -> v2.Answer:
        """Waits for the next answer, in the time for a step if none is given. Raises what `result` does."""
        if timeout_s is None:
            timeout_s = self.timeouts.step_s
        first_loss_at: float | None = None
        while True:
            try:
                payload = self.connection.receive(timeout_s=timeout_s, what=what)
                break
            except SessionLostError as error:
                first_loss_at = first_loss_at or perf_counter()
                if perf_counter() - first_loss_at > self._grace_s:
                    raise  # it breaks again and again before the answer is here
                self._come_back(what, error)
        self.received_at = perf_counter()
        try:
            answer = v2.decode_answer(payload)
        except ProtocolError as error:
            self.connection.drop()
            raise ProtocolError(f"{self.connection.endpoint}, {what}: {error}") from error
        if type(answer) is v2.Failed:
            request_id = answer.id
            if request_id is None and self._unanswered:
                request_id = next(iter(self._unanswered))
                if len(self._unanswered) > 1:
                    self.connection.drop()  # there is no telling which one it is
            self.refused = [] if request_id is None else self._forget(request_id)
            where = f"{self.connection.endpoint}, {what}"
            if answer.code == ErrorCode.SESSION_ERROR:
                self.connection.drop()
                raise SessionLostError(f"{where}: {answer.message}.")
            raise remote_error(where, answer.code, answer.message, answer.details)
        return answer

    def _come_back(self, what: str, cause: SessionLostError) -> None:
        """Goes on over another connection after this one broke."""
        if not self._token:
            raise cause
        runs = [(number, list(asked.missing)) for number, asked in self._unanswered.items()]
        request = v2.Resume(id=self.next_id(), slots=sorted(self.slots), token=self._token, missing=runs)
        with self._leeway.spend() as most_s:
            self.connection, resumed = come_back(
                self.connection,
                self._connect,
                request,
                grace_s=min(self._grace_s, most_s),
                timeout_s=self.timeouts.connect_s,
                what=what,
                cause=cause,
            )
        self.resumed += 1
        for number in resumed.unknown:
            if number in self._unanswered:
                payload = self._unanswered[number].payload
                self.connection.send(payload, timeout_s=self.timeouts.step_s, what="resume")

    def slot_error(self, error: v2.SlotError, what: str) -> OpenEnvError:
        """What the server says of one slot, as an error to raise. Some say that its session is gone."""
        where = f"{self.connection.endpoint}, {what}"
        if error.code in (ErrorCode.TIMEOUT, ErrorCode.UNKNOWN_SESSION):
            self.slots.discard(error.slot)
        if error.code == ErrorCode.UNKNOWN_SESSION:
            return SessionLostError(f"{where}: {error.message}.")
        return remote_error(where, error.code, error.message, error.details)

    def give_up(self) -> None:
        """Ends all sessions without waiting for the server, and never comes back to them."""
        self._token = ""
        self.connection.hang_up()

    def close(self) -> None:
        """Ends all sessions and the connection. Safe to call again."""
        slots, self.slots = sorted(self.slots), set()
        if self.connection.is_open and slots:
            self.timeouts = Timeouts(*[CLOSE_TIMEOUT_S] * 3)
            self._grace_s = min(self._grace_s, CLOSE_TIMEOUT_S)
            # Whatever fails here, the server is gone or busy; with the connection it ends the sessions too.
            with contextlib.suppress(EndpointError, RemoteError):
                self.send(v2.Close(id=self.next_id(), slots=slots), "close")
                # Answers to other requests may come before.
                while type(self.receive("close")) is not v2.Closed:
                    pass
        self.connection.hang_up()

    def _not_opened(self, errors: Sequence[v2.SlotError], asked_for: int) -> OpenEnvError:
        first = errors[0]
        if first.code != ErrorCode.CAPACITY_REACHED or asked_for == 1:
            return self.slot_error(first, "open")
        available = asked_for - len(errors)
        finding = (
            f"{self.connection.endpoint} has {available} of the {asked_for} sessions that were asked for"
        )
        return capacity_error(finding, first.message, asked_for, first.details, available)

    def _wrong_answer(self, answer: v2.Answer, what: str) -> ProtocolError:
        self.connection.drop()
        return ProtocolError(f"{self.connection.endpoint} answered {what} with {type(answer).__name__}")
