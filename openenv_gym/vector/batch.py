"""What the slots of a vector environment last answered, in arrays that are made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from openenv_gym.env_spaces import EnvSpaces
from openenv_gym.metrics import Metrics
from openenv_gym.spaces.columns import Rows, column_of
from openenv_gym.vector.infos import batch_infos


class Batch:
    """The slots' results, written by the fleet and handed out by the vector environment.

    Args:
        interface: The spaces and codecs of one slot.
        count: The number of slots.

    Attributes:
        column: How observations are written into ``memory``.
        memory: The observations.
        rewards: float64 of shape (count,).
        terminated: bool of shape (count,), like all that follow.
        truncated: Whether the episode was cut short, by ``max_episode_steps`` too.
        has_episode: Whether the slot was reset, and its session is there.
        owes: Whether a reset or a step is under way.
        is_ready: Whether there is a result that was not handed out yet.
        infos: The slots' infos, where they have one.
        metrics: Where the time goes.
    """

    def __init__(self, interface: EnvSpaces, count: int) -> None:
        self.count = count
        self.column = column_of(interface.observation)
        self.memory = self.column.allocate(count)
        self.rewards = np.zeros(count)
        self.terminated = np.zeros(count, np.bool_)
        self.truncated = np.zeros(count, np.bool_)
        self.has_episode = np.zeros(count, np.bool_)
        self.owes = np.zeros(count, np.bool_)
        self.is_ready = np.zeros(count, np.bool_)
        self.infos: dict[int, dict[str, Any]] = {}
        self.metrics = Metrics(count)
        self._all = list(range(count))
        self._one = batch_space(interface.observation.space, 1)
        self._action_space = interface.action.space
        self._action_spaces: dict[int, spaces.Space[Any]] = {}

    def action_space(self, count: int) -> spaces.Space[Any]:
        """The space of the actions of so many slots."""
        space = self._action_spaces.get(count)
        if space is None:
            space = self._action_spaces[count] = batch_space(self._action_space, count)
        return space

    def hand_out_all(self, *, copy: bool) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Observations, rewards, terminations, truncations and infos of all slots."""
        infos = batch_infos(self.infos, self.count) if self.infos else {}
        self.infos = {}
        self.is_ready[:] = False
        return (
            self.column.batch(self.memory, copy=copy),
            self.rewards.copy(),
            self.terminated.copy(),
            self.truncated.copy(),
            infos,
        )

    def hand_out_begun(self, slots: Sequence[int], *, copy: bool) -> tuple[Any, dict[str, Any]]:
        """The observations of all slots, and the infos of some, in whose results the others have no part."""
        infos = {slot: self.infos.pop(slot) for slot in slots if slot in self.infos}
        self.is_ready[self.rows(slots)] = False
        return self.column.batch(self.memory, copy=copy), batch_infos(infos, self.count)

    def hand_out(self, slots: np.ndarray[Any, Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """The same of some slots, in fresh memory."""
        infos = {
            place: self.infos.pop(slot) for place, slot in enumerate(slots.tolist()) if slot in self.infos
        }
        self.is_ready[slots] = False
        return (
            self.column.take(self.memory, slots),
            self.rewards[slots],
            self.terminated[slots],
            self.truncated[slots],
            batch_infos(infos, len(slots)),
        )

    def last_observation(self, slot: int) -> Any:
        """A slot's last observation, an element of the single observation space in fresh memory."""
        return next(iter(iterate(self._one, self.column.take(self.memory, np.array([slot])))))

    def ask(self, slots: Sequence[int]) -> None:
        """Notes that a reset or a step is under way in some slots."""
        for slot in slots if self.infos else ():
            self.infos.pop(slot, None)
        rows = self.rows(slots)
        self.owes[rows], self.is_ready[rows] = True, False

    def fail(self, slots: Sequence[int], *, is_lost: bool) -> None:
        """Notes that nothing came of it; where the episode is lost, a step needs a reset first."""
        rows = self.rows(slots)
        self.owes[rows] = False
        if is_lost:
            self.has_episode[rows] = False

    def rows(self, slots: Sequence[int]) -> Rows:
        """The rows of some slots, in the form that NumPy is fastest with."""
        return slice(None) if slots == self._all else np.array(slots, np.int64)

    def note_final(self, slot: int, observation: Any, info: dict[str, Any]) -> None:
        """Notes how an episode ended whose slot was reset in the same step."""
        self.infos[slot] = {"final_obs": observation, "final_info": info, **self.infos.get(slot, {})}
