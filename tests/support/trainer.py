"""A training loop that checks each result: episodes are whole, and no step is lost or done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from openenv_gym import RemoteVectorEnv

Mask = np.ndarray[Any, Any]


class Trainer:
    """Steps slots of `tests.support.fork_server.Doer` with ``on_session_lost="truncate"``.

    Args:
        envs: The slots.

    Attributes:
        sends: Whether it calls `send` and `recv` instead of `step`.
        acknowledged: The numbers of the steps that were answered.
        lost: How often each slot lost its episode, int64 of shape (num_envs,).
    """

    def __init__(self, envs: RemoteVectorEnv) -> None:
        self.envs = envs
        self.sends = False
        self.acknowledged: list[int] = []
        self.lost = np.zeros(envs.num_envs, np.int64)
        self._steps = np.zeros(envs.num_envs, np.int64)
        self._has_ended = np.zeros(envs.num_envs, np.bool_)
        self._number = 0

    def reset(self, seconds: float = 0.0) -> None:
        """Begin an episode in each slot, which takes that long."""
        observations, _ = self.envs.reset(options={"seconds": seconds})
        assert observations.tolist() == [0] * self.envs.num_envs
        self._steps[:], self._has_ended[:] = 0, False

    def reset_ended(self, seconds: float = 0.0) -> None:
        """Reset the slots whose episode has ended, if they are not reset by themselves."""
        if self.envs.autoreset_mode is not AutoresetMode.DISABLED or not self._has_ended.any():
            return
        mask = self._has_ended.copy()
        observations, _ = self.envs.reset(options={"seconds": seconds, "reset_mask": mask})
        self._steps[mask], self._has_ended[:] = 0, False
        assert observations.tolist() == self._steps.tolist()

    def step(self, seconds: float = 0.0, *, ending: Sequence[int] = (), reset_seconds: float = 0.0) -> None:
        """Take a step in each slot, and check what it gives.

        Args:
            seconds: How long it takes.
            ending: The slots whose episodes it ends.
            reset_seconds: How long the autoreset after it takes.
        """
        self.reset_ended()
        count, mode = self.envs.num_envs, self.envs.autoreset_mode
        numbers = np.arange(self._number, self._number + count)
        self._number += count
        ends = np.zeros(count, np.bool_)
        ends[list(ending)] = True
        actions = {
            "number": numbers,
            "seconds": np.full(count, seconds),
            "ends": ends.astype(np.int64),
            "reset_seconds": np.full(count, reset_seconds),
        }
        if self.sends:
            self.envs.send(actions)
            _, *results = self.envs.recv(min_ready=count)
        else:
            results = list(self.envs.step(actions))
        observations, rewards, terminations, truncations, infos = results
        reasons = infos.get("final_info", {}) if mode is AutoresetMode.SAME_STEP else infos
        is_lost: Mask = reasons.get("_session_lost", np.zeros(count, np.bool_))
        was_reset = self._has_ended if mode is AutoresetMode.NEXT_STEP else np.zeros(count, np.bool_)
        has_stepped = ~was_reset & ~is_lost
        self.acknowledged += numbers[has_stepped].tolist()
        self.lost += is_lost
        self._steps[has_stepped] += 1
        self._steps[was_reset] = 0
        assert not (is_lost & was_reset).any(), "a lost reset is begun again, and costs nothing"
        assert truncations.tolist() == is_lost.tolist()
        assert terminations.tolist() == (ends & has_stepped).tolist()
        assert rewards.tolist() == has_stepped.astype(np.float64).tolist()
        ended = terminations | truncations
        if mode is AutoresetMode.SAME_STEP:
            for slot in np.flatnonzero(ended):
                assert infos["final_obs"][slot] == self._steps[slot]
            self._steps[ended] = 0
        else:
            self._has_ended = ended
        assert observations.tolist() == self._steps.tolist()

    def check_done(self, done: Counter[int]) -> None:
        """Check how often each step was carried out: once if it was answered, and never twice."""
        assert self.acknowledged
        assert {done[number] for number in self.acknowledged} == {1}
        assert max(times for number, times in done.items() if number >= 0) == 1
