"""Result buffers: what the slots of a vector environment last observed, in arrays that are allocated once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from openenv_gym.env_spaces import EnvSpaces
from openenv_gym.spaces.columns import Rows, column_of
from openenv_gym.spaces.infos import batch_infos, info_columns, split_infos


class Ready(NamedTuple):
    """The result of `RemoteVectorEnv.recv`: the k slots that are ready.

    Attributes:
        slots: Their numbers, ascending, int64 of shape (k,).
        observations: An element of the single observation space's batch of k.
        rewards: float64 of shape (k,).
        terminations: bool of shape (k,).
        truncations: bool of shape (k,).
        infos: As in `RemoteVectorEnv.step`, with k places.
    """

    slots: np.ndarray[Any, Any]
    observations: Any
    rewards: np.ndarray[Any, Any]
    terminations: np.ndarray[Any, Any]
    truncations: np.ndarray[Any, Any]
    infos: dict[str, Any]


class ResultBuffer:
    """The slots' latest results. The backend writes them, the vector environment takes them.

    Args:
        env_spaces: The spaces and codecs of one slot.
        count: The number of slots.

    Attributes:
        all: All slots. Who means all of them passes this list, so that they need not be compared.
        column: How observations are written into ``observations``.
        observations: The observations of all slots.
        rewards: float64 of shape (count,).
        terminated: bool of shape (count,), like all that follow.
        truncated: Whether the episode was cut short, by ``max_episode_steps`` too.
        has_episode: Whether the slot was reset and its session exists.
        pending: Whether a reset or a step is pending.
        ready: Whether there is a result that was not taken yet.
        infos: The slots' infos, for those that have one.
        info_columns: Infos of all slots, as they are returned, beside these.
        steps: The steps taken by each slot, over all episodes, int64.
        take_misfits: As in `EnvSpaces`.
    """

    def __init__(self, env_spaces: EnvSpaces, count: int) -> None:
        self.count = count
        self.column = column_of(env_spaces.observation)
        self.take_misfits = env_spaces.take_misfits
        self.observations: Any = self.column.allocate(count)
        self.rewards: NDArray[np.float64] = np.zeros(count)
        self.terminated: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.truncated: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.has_episode: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.pending: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.ready: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.infos: dict[int, dict[str, Any]] = {}
        self.info_columns: dict[str, Any] = {}
        self.steps: NDArray[np.int64] = np.zeros(count, np.int64)
        self.all: list[int] = list(range(count))
        self._as_returned = partial(_as_returned, env_spaces.observation.space)
        self._action_space = env_spaces.action.space
        self._action_spaces: dict[int, spaces.Space[Any]] = {}

    def action_space(self, count: int) -> spaces.Space[Any]:
        """The space of the actions of so many slots."""
        space = self._action_spaces.get(count)
        if space is None:
            space = self._action_spaces[count] = batch_space(self._action_space, count)
        return space

    def take_all(self, *, copy: bool) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take observations, rewards, terminations, truncations and infos of all slots."""
        infos = self._take_infos()
        self.ready[:] = False
        return (
            self.column.batch(self.observations, copy=copy),
            self.rewards.copy(),
            self.terminated.copy(),
            self.truncated.copy(),
            infos,
        )

    def take_resets(self, slots: Sequence[int], *, copy: bool) -> tuple[Any, dict[str, Any]]:
        """Take the infos of some slots, and look at the observations of all.

        The other slots' results stay for a later call.
        """
        if len(slots) == self.count:
            infos = self._take_infos()
        else:
            self._split_columns()
            each = {slot: self.infos.pop(slot) for slot in slots if slot in self.infos}
            infos = batch_infos(each, self.count)
        self.ready[self.rows(slots)] = False
        return self.column.batch(self.observations, copy=copy), infos

    def take_ready(self, chosen: np.ndarray[Any, Any] | None = None) -> Ready:
        """Take the results of all slots that are ready, or of the chosen ones among them, in fresh memory."""
        slots = np.flatnonzero(self.ready if chosen is None else self.ready & chosen)
        if len(slots) == self.count:
            infos = self._take_infos()
        else:
            self._split_columns()
            each = {
                place: self.infos.pop(slot) for place, slot in enumerate(slots.tolist()) if slot in self.infos
            }
            infos = batch_infos(each, len(slots))
        self.ready[slots] = False
        return Ready(
            slots,
            self.column.take(self.observations, slots),
            self.rewards[slots],
            self.terminated[slots],
            self.truncated[slots],
            infos,
        )

    def add_info_columns(self, columns: dict[str, Any], slots: Sequence[int]) -> None:
        """Keep infos that have come as columns over some slots."""
        if len(slots) == self.count:
            self.info_columns = info_columns(columns, self.count)
        else:
            for slot, info in zip(slots, split_infos(columns, len(slots)), strict=True):
                if info:
                    self.infos[slot] = info

    def _take_infos(self) -> dict[str, Any]:
        """Take the infos of all slots."""
        infos = batch_infos(self.infos, self.count) if self.infos else {}
        if self.info_columns:
            infos = {**self.info_columns, **infos}
        self.infos, self.info_columns = {}, {}
        return infos

    def _split_columns(self) -> None:
        """Give each slot its part of the columns, because not all slots are taken together."""
        columns, self.info_columns = self.info_columns, {}
        if columns:
            for slot, info in enumerate(split_infos(columns, self.count)):
                if info:
                    self.infos[slot] = {**info, **self.infos.get(slot, {})}

    def last_observation(self, slot: int) -> Any:
        """A slot's last observation, an element of the single observation space in fresh memory."""
        return self.column.split(self.column.take(self.observations, np.array([slot])), 1)[0]

    def has_ended(self, slot: int) -> bool:
        """Whether a slot's last result ended its episode."""
        return bool(self.terminated[slot] or self.truncated[slot])

    def mark_pending(self, slots: Sequence[int]) -> None:
        """Note that a reset or a step is pending in some slots."""
        if self.info_columns:
            if len(slots) == self.count:
                self.info_columns = {}
            else:
                self._split_columns()
        for slot in slots if self.infos else ():
            self.infos.pop(slot, None)
        rows = self.rows(slots)
        self.pending[rows], self.ready[rows] = True, False

    def mark_ready(self, rows: Rows) -> None:
        """Note that some slots have a result."""
        self.ready[rows], self.has_episode[rows], self.pending[rows] = True, True, False

    def mark_failed(self, slots: Sequence[int], *, is_lost: bool) -> None:
        """Note that a request failed; if the episode is lost, the next step needs a reset."""
        rows = self.rows(slots)
        self.pending[rows] = False
        if is_lost:
            self.has_episode[rows] = False

    def truncate(self, slot: int, info: dict[str, Any]) -> None:
        """End a slot's episode with its last observation."""
        self.rewards[slot], self.terminated[slot], self.truncated[slot] = 0.0, False, True
        self.infos[slot] = info
        self.ready[slot], self.pending[slot] = True, False

    def add_final(self, slot: int, observation: Any, info: dict[str, Any]) -> None:
        """Add how an episode ended whose slot was reset in the same step."""
        observation = self._as_returned(observation)
        self.infos[slot] = {"final_obs": observation, "final_info": info, **self.infos.get(slot, {})}

    def add_misfits(self, slots: Sequence[int]) -> None:
        """Add what was coerced in the observations of some slots, which were just written, to their infos."""
        if self.take_misfits is None:
            return
        for slot, misfits in zip(slots, self.take_misfits(), strict=True):
            if misfits:
                self.infos.setdefault(slot, {})["misfits"] = misfits

    def rows(self, slots: Sequence[int]) -> Rows:
        """The rows of some slots, in the form that NumPy indexes fastest."""
        return slice(None) if slots is self.all or slots == self.all else np.array(slots, np.int64)


def _as_returned(space: spaces.Space[Any], observation: Any) -> Any:
    """Return an observation as environments return it, with Python's integers for `Discrete`."""
    if isinstance(space, spaces.Discrete):
        return int(observation)
    if isinstance(space, spaces.Dict):
        return {name: _as_returned(part, observation[name]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_as_returned(part, piece) for part, piece in zip(space.spaces, observation, strict=True))
    return observation


def named(slots: Sequence[int]) -> str:
    """Name some ascending slots, briefly however many they are."""
    first, count = slots[0], len(slots)
    if count == 1:
        return f"slot {first}"
    if count == 2:
        return f"slots {first} and {slots[1]}"
    if slots[-1] - first == count - 1:
        return f"slots {first} to {slots[-1]}"
    return f"slots {first}, {slots[1]} and {count - 2} more"
