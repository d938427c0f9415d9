"""The slots of one batch: all are reset and stepped in one call of a vector environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from gymnasium.vector import AutoresetMode

from openenv_gym.spaces.infos import batch_infos, split_infos
from openenv_server.connections.slot import Slot
from openenv_server.errors import WrongResultError
from openenv_server.sessions.session import Session, StepCounts
from openenv_server.vector_environment import VectorEnvironment


class BatchReset(NamedTuple):
    """The reset of some slots of a batch.

    Attributes:
        places: Their places in the batch; None stands for all.
        seeds: A seed for each slot of the batch.
        options: The options.
    """

    places: list[int] | None
    seeds: Sequence[int | None]
    options: Mapping[str, Any]


class BatchFinal(NamedTuple):
    """The ends of episodes whose slots were reset in the same step: an element and an info for each place."""

    places: list[int]
    observations: list[Any]
    infos: list[dict[str, Any]]


class BatchOutcome(msgspec.Struct, gc=False):
    """The result of a reset or a step of a batch.

    Attributes:
        slot: The batch's number: that of its first slot.
        numbers: The slots that it is the result of.
        observations: A batch of their space.
        rewards: float64 over the slots.
        terminated: bools over the slots.
        truncated: bools over the slots.
        infos: As the vector environment returns them, without those of `final`.
        begin: When the call began, by ``time.perf_counter()``.
        seconds: Time inside the environment.
        final: Ends of episodes, if slots were reset in the same step.
    """

    slot: int
    numbers: Sequence[int]
    observations: Any
    rewards: Any
    terminated: Any
    truncated: Any
    infos: dict[str, Any]
    begin: float
    seconds: float
    final: BatchFinal | None = None


class _Driver:
    """What a `Slot` asks of a driver; a batch calls its vector environment itself."""

    any_thread = True

    def __init__(self, environment: VectorEnvironment) -> None:
        self.reset, self.step, self.render = environment.reset, environment.step, environment.render


class BatchSlot(Slot):
    """The slots of one batch, which count as one: its number is that of the first.

    The connection's thread runs it from the start, as there is nothing to run beside it.

    Args:
        numbers: The slots, in the order of the batch.
        session: The session, whose environment is a `VectorEnvironment`.
        request_of: As in `Slot`.
    """

    def __init__(
        self, numbers: Sequence[int], session: Session, request_of: Callable[[int], int | None]
    ) -> None:
        environment: VectorEnvironment = session.environment
        driver: Any = _Driver(environment)
        super().__init__(numbers[0], session, driver, "disabled", None, request_of=request_of)
        self._numbers = self._known_equal = list(numbers)
        self.is_fast = self.resets_fast = True
        self._environment = environment
        self._is_disabled = environment.autoreset_mode is AutoresetMode.DISABLED
        self._in_same_step = environment.autoreset_mode is AutoresetMode.SAME_STEP
        self._episode_steps = np.zeros(len(numbers), np.int64)
        self._has_begun = False
        self._taken = self._begun = 0

    @property
    def numbers(self) -> Sequence[int]:
        return self._numbers

    def is_all_of(self, numbers: Sequence[int]) -> bool:
        """Whether these are its slots, in their order. A list that comes again is known at a glance."""
        if numbers is not self._known_equal:
            if numbers != self._numbers:
                return False
            self._known_equal = numbers
        return True

    def reset(self, data: BatchReset) -> Any:
        """Start episodes."""
        if data.places is not None and not self._is_disabled:
            return self.refused(
                "The environments of this server are reset together, unless the autoreset mode is DISABLED"
            )
        options = dict(data.options)
        if data.places is not None:
            mask = np.zeros(len(self._numbers), np.bool_)
            mask[data.places] = True
            options["reset_mask"] = mask
        begin = perf_counter()
        try:
            observations, infos = self._environment.reset(data.seeds, options)
            seconds = perf_counter() - begin
            self._has_begun = True
            numbers = self._numbers
            if data.places is None:
                self._episode_steps[:] = 0
            else:
                self._episode_steps[data.places] = 0
                numbers = [numbers[place] for place in data.places]
                each = split_infos(infos, len(self._numbers))
                named = {row: each[place] for row, place in enumerate(data.places)}
                infos = batch_infos(named, len(numbers))
                observations = self._environment.rows(observations, data.places)
        except BaseException as error:
            return self.failed(error)
        self._begun += len(numbers)
        none = np.zeros(len(numbers), np.bool_)
        rewards = np.zeros(len(numbers))
        return BatchOutcome(self.number, numbers, observations, rewards, none, none, infos, begin, seconds)

    def step(self, action: Any) -> Any:
        """Take one action in each environment."""
        if not self._has_begun:
            return self.refused("No episode is in progress: call reset before step")
        begin = perf_counter()
        try:
            observations, rewards, terminated, truncated, infos = self._environment.step(action)
            seconds = perf_counter() - begin
            count = len(self._numbers)
            self._taken += count
            self._episode_steps += 1
            rewards = _checked(rewards, np.float64, count, "rewards")
            terminated = _checked(terminated, np.bool_, count, "terminations")
            truncated = _checked(truncated, np.bool_, count, "truncations")
            ended = np.logical_or(terminated, truncated)
            if np.count_nonzero(ended):
                self._episode_steps[ended] = 0
            final = None
            if self._in_same_step and "final_obs" in infos:
                infos = dict(infos)
                final = _take_final(infos, count)
        except BaseException as error:
            return self.failed(error)
        return BatchOutcome(
            self.number,
            self._known_equal,
            observations,
            rewards,
            terminated,
            truncated,
            infos,
            begin,
            seconds,
            final,
        )

    def states(self) -> list[dict[str, Any]]:
        """The state of each slot."""
        return [{"episode_id": None, "step_count": count} for count in self._episode_steps.tolist()]

    def render(self) -> Any:
        """The picture of each slot. Call it on the session's thread.

        Raises:
            WrongResultError: The environment has another number of pictures.
        """
        count = len(self._numbers)
        pictures = super().render()
        if pictures is None:
            return [None] * count
        if len(pictures) != count:
            raise WrongResultError(f"The environment renders {len(pictures)} pictures, not {count}")
        return pictures

    def each(self, values: Any) -> list[tuple[int, Any]]:
        return list(zip(self._numbers, values, strict=True))

    def _count(self) -> StepCounts:
        return StepCounts(self._taken, self._begun)


def _take_final(infos: dict[str, Any], count: int) -> BatchFinal:
    """Take the ends of episodes out of the infos of a step, where Gymnasium has them."""
    ends = {
        key: infos.pop(key)
        for name in ("final_obs", "final_info")
        for key in (name, f"_{name}")
        if key in infos
    }
    each = split_infos(ends, count)
    places = [place for place, end in enumerate(each) if "final_obs" in end]
    return BatchFinal(
        places,
        [each[place]["final_obs"] for place in places],
        [each[place].get("final_info", {}) for place in places],
    )


def _checked(values: Any, dtype: Any, count: int, name: str) -> np.ndarray[Any, Any]:
    """What a vector environment returns for each of its environments, as an array.

    Raises:
        WrongResultError: It has another shape.
    """
    array = np.ascontiguousarray(values, dtype)
    if array.shape != (count,):
        raise WrongResultError(f"The environment's {name} have the shape {array.shape}, not ({count},)")
    return array
