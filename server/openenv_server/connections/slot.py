"""A slot: one session of a connection, with its autoreset and time limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.v2 import Autoreset, SlotError
from openenv_server.connections.adapters import Driver
from openenv_server.errors import reply_to
from openenv_server.sessions.session import Session, StepCounts

# A step below the first is too fast for its own thread: handing it over takes a tenth of that. The second is
# higher, so that a step in between does not switch back and forth.
_FAST_S = 0.5e-3
_SLOW_S = 1e-3
_IN_A_ROW = 2
# A slot that took very long once has to be fast so many times as often before it is trusted again.
_DISTRUST, _MOST_IN_A_ROW = 8, 1024


class EpisodeEnd(NamedTuple):
    """How an episode ended, and its last observation and info if the next one started in the same step."""

    terminated: bool
    truncated: bool
    observation: Any = None
    info: dict[str, Any] | None = None


class SlotOutcome(msgspec.Struct, gc=False):
    """The result of a reset or a step in one slot.

    A Struct, because one is made for every step of every slot.

    Attributes:
        begin: When the call of the environment began, by ``time.perf_counter()``.
        seconds: Time inside the environment.
        end: How the episode ended, if it did.
    """

    slot: int
    observation: Any
    reward: Any
    info: dict[str, Any]
    begin: float
    seconds: float
    end: EpisodeEnd | None = None


SlotResult = SlotOutcome | SlotError


class Slot:
    """One session of a connection.

    It starts on its session's own thread. If its steps turn out to be fast, and any thread may call the
    environment, the connection's thread takes them, one slot after another. If they become slow, they return
    to the session's thread and run beside those of the other slots.

    The caller of `reset` and `step` holds the session's turn.

    Args:
        number: Its number on the connection.
        session: The session.
        driver: Calls the session's environment.
        autoreset: When an episode that has ended is followed by the next one.
        max_episode_steps: After how many steps an episode is truncated; None is never.
        steps_first: Whether a step may come before the first reset.
        request_of: Returns the last request that names a slot, for the log.

    Attributes:
        is_fast: Whether the connection's thread takes its steps.
        resets_fast: Whether it takes its resets, too.
        is_busy: Whether a reset or a step is in progress on its session's thread.
    """

    def __init__(
        self,
        number: int,
        session: Session,
        driver: Driver,
        autoreset: Autoreset,
        max_episode_steps: int | None,
        *,
        steps_first: bool = False,
        request_of: Callable[[int], int | None] = lambda slot: None,
    ) -> None:
        self.number = number
        self.session = session
        self.is_fast: bool = False
        self.resets_fast: bool = False
        self.is_busy: bool = False
        self._driver = driver
        self._request_of = request_of
        self._reset, self._take = driver.reset, driver.step
        self._any_thread = driver.any_thread
        self._resets_in_the_same_step = autoreset == "same_step"
        self._resets_in_the_next_step = autoreset == "next_step"
        self._max_steps = max_episode_steps
        # -1 is no episode yet. A typed client may step first, and the environment decides what that means.
        self._steps = 0 if steps_first else -1
        self._steps_before = self._resets = 0
        session.counts = self._count
        self._has_ended = False
        self._enough_in_a_row = _IN_A_ROW
        self._in_a_row = 0  # steps that were fast enough, or too slow, to switch threads

    @property
    def resets_next(self) -> bool:
        """Whether the next step starts an episode, whatever its action is."""
        return self._has_ended and self._resets_in_the_next_step

    @property
    def numbers(self) -> Sequence[int]:
        """The slots that it stands for."""
        return (self.number,)

    def reset(self, data: Any) -> SlotResult:
        """Start an episode; ``data`` has the keywords of the environment's reset."""
        begin = perf_counter()
        try:
            observation, reward, terminated, truncated, info = self._reset(data)
        except BaseException as error:
            reply = self.failed(error)
            if reply.code == ErrorCode.EXECUTION_ERROR:  # else the environment was not called
                self._begin_at(-1)
            return reply
        self._begin_at(0)
        self._has_ended = False
        self._resets += 1
        seconds = perf_counter() - begin
        self.resets_fast = seconds < _FAST_S
        end = EpisodeEnd(terminated, truncated) if terminated or truncated else None
        return SlotOutcome(self.number, observation, reward, info, begin, seconds, end)

    def step(self, action: Any) -> SlotResult:
        """Take one action."""
        if self._steps < 0:
            return self.refused("No episode is in progress: call reset before step")
        if self._has_ended and self._resets_in_the_next_step:
            return self.reset({})
        try:
            begin = perf_counter()
            observation, reward, terminated, truncated, info = self._take(action)
            seconds = perf_counter() - begin
            if self._any_thread and (seconds > _SLOW_S if self.is_fast else seconds < _FAST_S):
                self._in_a_row += 1
                if self._in_a_row >= (_IN_A_ROW if self.is_fast else self._enough_in_a_row):
                    self.is_fast, self._in_a_row = not self.is_fast, 0
            elif self._in_a_row:
                self._in_a_row = 0
            self._steps += 1
            if self._steps == self._max_steps:
                truncated = True
            outcome = SlotOutcome(self.number, observation, reward, info, begin, seconds)
            if not (terminated or truncated):
                return outcome
            self._has_ended = True
            outcome.end = EpisodeEnd(terminated, truncated)
            return self._autoreset(outcome) if self._resets_in_the_same_step else outcome
        except BaseException as error:
            return self.failed(error)

    def distrust(self) -> None:
        """Note that a step on the connection's thread took so long that the others had to wait for it."""
        self.is_fast, self._in_a_row = False, 0
        self._enough_in_a_row = min(_DISTRUST * self._enough_in_a_row, _MOST_IN_A_ROW)

    def _autoreset(self, outcome: SlotOutcome) -> SlotResult:
        """Start the next episode, and keep how the last one ended."""
        # A copy, because the environment may write its next observation into the same memory.
        last = deepcopy(outcome.observation)
        first = self.reset({})
        if isinstance(first, SlotError) or outcome.end is None:
            return first
        outcome.end = outcome.end._replace(observation=last, info=outcome.info)
        outcome.observation, outcome.info = first.observation, first.info
        outcome.seconds += first.seconds
        return outcome

    def _begin_at(self, steps: int) -> None:
        """Start an episode's step count there, and keep the steps of the last episode counted."""
        before, self._steps = self._steps, steps
        self._steps_before += max(before, 0)

    def _count(self) -> StepCounts:
        return StepCounts(self._steps_before + max(self._steps, 0), self._resets)

    def render(self) -> Any:
        """A picture. Call it on the session's thread.

        Rendering may be bound to its thread, so from now on everything runs there.
        """
        self.is_fast = self._any_thread = False
        with self.session.turn("render"):
            return self._driver.render()

    def each(self, value: Any) -> list[tuple[int, Any]]:
        """What was read of the environment, for each slot that it stands for."""
        return [(self.number, value)]

    def refused(self, message: str, details: dict[str, Any] | None = None) -> SlotError:
        """The error for a request that was not tried."""
        return SlotError(self.number, ErrorCode.VALIDATION_ERROR, message, details or {})

    def failed(self, error: BaseException, request_id: int | None = None) -> SlotError:
        """The error for an exception, including those that would end the thread (SystemExit).

        Args:
            error: The exception.
            request_id: The request that failed. Default: the slot's last reset or step.
        """
        if request_id is None:
            request_id = self._request_of(self.number)
        fields = {"slot": self.number, "request_id": request_id, **self.session.log_fields}
        return SlotError(
            self.number, *reply_to(error, f"the environment raised in slot {self.number}", **fields)
        )
