"""Action masks: which actions are legal, from infos or observations, for one environment or for many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from openenv_gym.errors import ConfigurationError, ResetNeededError, SpaceError, excerpt

FIELD = "action_mask"


class ActionMask(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Says which actions are legal, with `action_masks`, which MaskablePPO asks for.

    The field that has them is in the observation, or else in the info. Its value is a mask, with a place for
    each action that is 1 if the action is legal; or a list of the legal actions. While an info does not have
    it, all actions are legal. Observations and infos stay as they are.

    For a vector environment use `openenv_gym.wrappers.vector.ActionMask`.

    Args:
        env: An environment whose action space is `Discrete`; or with masks alone, `MultiDiscrete` or
            `MultiBinary`.
        field: The field's name, with dots in an observation of parts: "board.legal_actions".

    Raises:
        SpaceError: There are no masks for such an action space.

    Example:
        >>> env = ActionMask(gym.make("openenv/my-game"), "legal_actions")
        >>> env.reset()
        >>> env.action_masks()
        array([ True, False,  True,  True])
    """

    def __init__(self, env: gym.Env[Any, Any], field: str = FIELD) -> None:
        if isinstance(env, VectorEnv):
            raise ConfigurationError(
                f"{env} is a vector environment.", advice="Use openenv_gym.wrappers.vector.ActionMask."
            )
        RecordConstructorArgs.__init__(self, field=field)
        super().__init__(env)
        self._masks = MaskReader(env, env.observation_space, env.action_space, field)
        self._value: Any = None
        self._has_begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._value, self._has_begun = self._masks.read(observation, info), True
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._value = self._masks.read(observation, info)
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> np.ndarray[Any, Any]:
        """Return which actions are legal now.

        Returns:
            bool of shape (n,) for `Discrete`, (sum of ``nvec``,) for `MultiDiscrete`, (2n,) for
            `MultiBinary`.

        Raises:
            ResetNeededError: Before the first reset.
            ConfigurationError: Neither observations nor infos have had the field.
            SpaceError: Its value is neither a mask nor a list of actions.
        """
        if not self._has_begun:
            raise ResetNeededError("There are no action masks before the first reset")
        self._masks.check_known()
        return self._masks.mask(self._value)


class Masks:
    """The masks of the slots of a vector environment.

    Args:
        envs: The vector environment.
        field: As in `ActionMask`.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], field: str = FIELD) -> None:
        self._reader = MaskReader(envs, envs.single_observation_space, envs.single_action_space, field)
        self._all = range(envs.num_envs)
        self._values: list[Any] | None = None

    @property
    def are_known(self) -> bool:
        """Whether any observation or info has had the field."""
        return self._reader.is_known

    def update(self, observations: Any, infos: Mapping[str, Any], slots: Iterable[int] | None = None) -> None:
        """Note the results of a reset or a step of some slots; by default of all."""
        found = self._reader.read(observations, infos)
        if self._values is None:
            self._values = [None] * len(self._all)
        if found is None and not self._reader.is_known:
            return
        have = None if self._reader.is_observed else infos.get(f"_{self._reader.field}")
        for slot in self._all if slots is None else slots:
            self._values[slot] = found[slot] if found is not None and (have is None or have[slot]) else None

    def take(self) -> np.ndarray[Any, Any]:
        """Return the masks, bool of shape (number of slots, number of actions)."""
        if self._values is None:
            raise ResetNeededError("There are no action masks before the first reset")
        self._reader.check_known()
        return np.stack([self._reader.mask(value) for value in self._values])


class MaskReader:
    """Reads masks from a field of observations or infos.

    Args:
        env: The environment, to name in errors.
        observation_space: Of one environment.
        action_space: Of one environment.
        field: As in `ActionMask`.

    Attributes:
        field: As given.
        is_observed: Whether the field is in the observation.
        is_known: Whether it has been found.
    """

    def __init__(
        self,
        env: object,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        field: str,
    ) -> None:
        if not can_be_masked(action_space):
            raise SpaceError(
                f"{action_space} has no masks: they are for Discrete, MultiDiscrete and MultiBinary actions.",
                advice="Put ActionMask around a wrapper that makes the actions discrete.",
            )
        self.field = field
        self._env = env
        self._size = sum(_sizes(action_space))
        self._action_space = action_space
        self._keys = field.split(".")
        space: Any = observation_space
        for key in self._keys:
            space = space.spaces.get(key) if isinstance(space, spaces.Dict) else None
        self._space = space
        self.is_observed: bool = space is not None
        self.is_known: bool = False

    def read(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """Return the field's value, None without one; for a batch, the batched value."""
        if self.is_observed:
            value = observation
            for key in self._keys:
                value = value[key]
        else:
            value = info.get(self.field)
        self.is_known = self.is_known or value is not None
        return value

    def check_known(self) -> None:
        """Raise an error if the field was never found."""
        if not self.is_known:
            raise ConfigurationError(
                f"Neither the observations nor the infos of {self._env} have {self.field!r}.",
                advice="Pass ActionMask the field that has the mask or the legal actions.",
            )

    def mask(self, value: Any) -> np.ndarray[Any, Any]:
        """Return the mask that a field's value stands for."""
        space = self._action_space
        if isinstance(self._space, spaces.OneOf) and value is not None:
            kind, value = value
            value = None if self._space.spaces[int(kind)] == spaces.Discrete(1) else value
        size = self._size
        if value is None:
            return np.ones(size, np.bool_)
        if not isinstance(space, spaces.Discrete):
            places = np.concatenate([np.ravel(part) for part in value]) if len(value) else np.zeros(0)
            if places.shape == (size,) and _is_binary(places):
                return places.astype(np.bool_)
            raise SpaceError(f"{self.field} {excerpt(value)} is no mask of {space}, which has {size} places")
        numbers = np.asarray(list(value))
        # With one or two actions, [0, 1] may be either.
        is_mask = numbers.shape == (space.n,) and _is_binary(numbers)
        if is_mask and (space.n > 2 or numbers.dtype == np.bool_ or "mask" in self.field):
            return numbers.astype(np.bool_)
        mask = np.zeros(space.n, np.bool_)
        if numbers.size:
            if not all(action in space for action in numbers):
                raise SpaceError(f"{self.field} {excerpt(value)} has other actions than {space}")
            mask[numbers - space.start] = True
        return mask


def can_be_masked(space: spaces.Space[Any]) -> bool:
    """Return whether there are masks for an action space."""
    return bool(_sizes(space))


def _sizes(space: spaces.Space[Any]) -> list[int]:
    """Return how many places a mask has for each part of an action."""
    match space:
        case spaces.Discrete():
            return [int(space.n)]
        case spaces.MultiDiscrete():
            return [int(n) for n in space.nvec.flat]
        case spaces.MultiBinary():
            return [2] * int(np.prod(space.shape))
        case _:
            return []


def _is_binary(numbers: np.ndarray[Any, Any]) -> bool:
    return numbers.dtype.kind in "biuf" and bool(((numbers == 0) | (numbers == 1)).all())
