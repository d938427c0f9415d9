"""A slot: one session of a lane, with its episodes' ends, and where its steps run."""

from __future__ import annotations

from copy import deepcopy
from time import perf_counter
from typing import Any

from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.v2 import Autoreset, SlotError
from openenv_server.calls import UnknownKeywordsError
from openenv_server.incidents import report
from openenv_server.lanes.contracts import Driver
from openenv_server.sessions import Session

# Below the first an environment gains nothing from a thread of its own: handing a step over takes a tenth of
# that. The second is higher, so that an environment in between is not moved to and fro.
_FAST_S = 0.5e-3
_SLOW_S = 1e-3
_IN_A_ROW = 2


# What came of a reset or a step in a slot: its number, observation, reward, terminated, truncated, info; how
# the episode ended that was reset in the same step (its last observation and info), or None; and the seconds
# inside the environment. A plain tuple, as one is made for every step of every slot.
Outcome = tuple[int, Any, Any, bool, bool, dict[str, Any], tuple[Any, dict[str, Any]] | None, float]


class Slot:
    """One session of a lane.

    It begins on its session's own thread. Where its steps turn out to be fast, and any thread may call it,
    the lane takes them itself, one slot after another; where they become slow, they go back to the thread,
    beside those of the other slots.

    Attributes:
        is_fast: Whether the lane itself takes its steps.
        is_busy: Whether a reset or a step is under way.
    """

    def __init__(
        self,
        number: int,
        session: Session,
        driver: Driver,
        autoreset: Autoreset,
        max_episode_steps: int | None,
    ) -> None:
        self.number = number
        self.session = session
        self.is_fast = self.is_busy = False
        self._driver = driver
        self._reset, self._take = driver.reset, driver.step
        self._may_move = driver.may_move
        self._resets_in_the_same_step = autoreset == "same_step"
        self._resets_in_the_next_step = autoreset == "next_step"
        self._max_steps = max_episode_steps
        self._steps = -1  # no episode yet
        self._steps_before = self._resets = 0
        session.steps_and_resets = self._count
        self._has_ended = False
        self._in_a_row = 0

    @property
    def resets_next(self) -> bool:
        """Whether the next step, whatever its action is, starts an episode instead."""
        return self._has_ended and self._resets_in_the_next_step

    def reset(self, data: dict[str, Any]) -> Outcome | SlotError:
        """Starts an episode; ``data`` is what the environment's reset takes."""
        begin = perf_counter()
        try:
            observation, reward, terminated, truncated, info = self._reset(data)
        except UnknownKeywordsError as error:
            return self.refused(str(error))
        except BaseException as error:
            self._begin_at(-1)
            return self.failed(error)
        self._begin_at(0)
        self._has_ended = False
        self._resets += 1
        took = perf_counter() - begin
        return self.number, observation, reward, terminated, truncated, info, None, took

    def step(self, action: Any) -> Outcome | SlotError:
        """Takes one action."""
        if self._steps < 0:
            return self.refused("No episode is under way: reset comes before step")
        if self._has_ended and self._resets_in_the_next_step:
            return self.reset({})
        try:
            return self._step(action)
        except BaseException as error:
            return self.failed(error)

    def _step(self, action: Any) -> Outcome | SlotError:
        begin = perf_counter()
        observation, reward, terminated, truncated, info = self._take(action)
        took = perf_counter() - begin
        if self._may_move and (took > _SLOW_S if self.is_fast else took < _FAST_S):
            self._in_a_row += 1
            if self._in_a_row == _IN_A_ROW:
                self.is_fast, self._in_a_row = not self.is_fast, 0
        elif self._in_a_row:
            self._in_a_row = 0
        self._steps += 1
        if self._steps == self._max_steps:
            truncated = True
        if not (terminated or truncated):
            return self.number, observation, reward, False, False, info, None, took
        self._has_ended = True
        if not self._resets_in_the_same_step:
            return self.number, observation, reward, terminated, truncated, info, None, took
        # A copy, as the environment may write its next observation into the same memory.
        final = deepcopy(observation), info
        first = self.reset({})
        if isinstance(first, SlotError):
            return first
        _, observation, _, _, _, info, _, reset_took = first
        return self.number, observation, reward, terminated, truncated, info, final, took + reset_took

    def _begin_at(self, steps: int) -> None:
        """Counts an episode's steps from there on; those of the last one stay counted."""
        before, self._steps = self._steps, steps
        self._steps_before += max(before, 0)

    def _count(self) -> tuple[int, int]:
        """The steps taken and the episodes started, over all episodes."""
        return self._steps_before + max(self._steps, 0), self._resets

    def render(self) -> Any:
        """A picture, drawn on the session's thread.

        What draws may be bound to its thread, so from now on all is done there.
        """
        self.is_fast = self._may_move = False
        with self.session.turn():
            return self._driver.render()

    def refused(self, message: str, details: dict[str, Any] | None = None) -> SlotError:
        """The error for something that was not tried."""
        return SlotError(self.number, ErrorCode.VALIDATION_ERROR, message, details or {})

    def failed(self, error: BaseException) -> SlotError:
        """The error for what the environment raised; also for what would end the thread (SystemExit)."""
        fields = {"slot": self.number, **self.session.log_fields}
        error_id = report(error, f"the environment raised in slot {self.number}", **fields)
        message = f"{type(error).__name__}: {error}"
        return SlotError(self.number, ErrorCode.EXECUTION_ERROR, message, {"error_id": error_id})
