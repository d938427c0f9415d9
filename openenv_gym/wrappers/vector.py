"""Wrappers for vector environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from openenv_gym.wrappers.masks import FIELD, Masks

if TYPE_CHECKING:
    AnyVectorWrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:
    AnyVectorWrapper = VectorWrapper  # not generic before Gymnasium 1.4


class ActionMask(AnyVectorWrapper, RecordConstructorArgs):
    """Says which actions are legal in each slot; `openenv_gym.wrappers.ActionMask` for vector environments.

    Args:
        env: A vector environment.
        field: As in `openenv_gym.wrappers.ActionMask`.

    Attributes:
        masks: The masks of the slots.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], field: str = FIELD) -> None:
        RecordConstructorArgs.__init__(self, field=field)
        super().__init__(env)
        self.masks: Masks = Masks(env, field)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        chosen = (options or {}).get("reset_mask")
        observations, infos = self.env.reset(seed=seed, options=options)
        self.masks.update(observations, infos, None if chosen is None else np.flatnonzero(chosen))
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        self.masks.update(observations, infos)
        return observations, rewards, terminations, truncations, infos

    def action_masks(self) -> np.ndarray[Any, Any]:
        """Return which actions are legal now.

        Returns:
            bool of shape (num_envs, number of actions).

        Raises:
            Exception: What the other `ActionMask` raises.
        """
        return self.masks.take()


class EachSlot(AnyVectorWrapper):
    """Applies wrappers of one environment to each slot, whatever the autoreset mode is.

    Gymnasium's own vector wrappers of observations refuse `AutoresetMode.SAME_STEP`.

    Args:
        env: A vector environment.
        wrap: Wraps one environment in observation and action wrappers, which keep no state.
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any], wrap: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]
    ) -> None:
        super().__init__(env)
        one = wrap(_Spaces(env.single_observation_space, env.single_action_space))
        self.single_observation_space, self.single_action_space = one.observation_space, one.action_space
        self.observation_space = batch_space(one.observation_space, self.num_envs)
        self.action_space = batch_space(one.action_space, self.num_envs)
        self._observers: list[Callable[[Any], Any]] = []
        self._actors: list[Callable[[Any], Any]] = []
        while isinstance(one, gym.Wrapper):
            if isinstance(one, gym.ObservationWrapper):
                self._observers.insert(0, one.observation)
            elif isinstance(one, gym.ActionWrapper):
                self._actors.append(one.action)
            one = one.env

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._observe_all(observations), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        if self._actors:
            each = [_applied(self._actors, action) for action in iterate(self.action_space, actions)]
            actions = _batch(self.env.single_action_space, each)
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        if self._observers and "final_obs" in infos:
            for slot in np.flatnonzero(infos["_final_obs"]):
                infos["final_obs"][slot] = _applied(self._observers, infos["final_obs"][slot])
        return self._observe_all(observations), rewards, terminations, truncations, infos

    def _observe_all(self, observations: Any) -> Any:
        if not self._observers:
            return observations
        space = self.env.observation_space
        each = [_applied(self._observers, observation) for observation in iterate(space, observations)]
        return _batch(self.single_observation_space, each)


class _Spaces(gym.Env[Any, Any]):
    """What wrappers are put around to read their spaces and functions."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def _applied(functions: list[Callable[[Any], Any]], element: Any) -> Any:
    for function in functions:
        element = function(element)
    return element


def _batch(space: spaces.Space[Any], elements: list[Any]) -> Any:
    empty: Any = create_empty_array(space, len(elements))
    return concatenate(space, elements, empty)
