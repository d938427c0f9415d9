"""`flatten_for_rl`: any environment with the spaces that Stable-Baselines3, RLlib and CleanRL support."""

from __future__ import annotations

from typing import Any, overload

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import DtypeObservation, FlattenObservation

from openenv_gym.rendering import is_image
from openenv_gym.wrappers.actions import FlatAction
from openenv_gym.wrappers.observations import FixedSizeObservation
from openenv_gym.wrappers.vector import EachSlot


@overload
def flatten_for_rl(
    env: gym.Env[Any, Any], *, max_text_bytes: int = ..., max_text_length: int = ..., max_items: int = ...
) -> gym.Env[Any, Any]: ...


@overload
def flatten_for_rl(
    env: VectorEnv[Any, Any, Any],
    *,
    max_text_bytes: int = ...,
    max_text_length: int = ...,
    max_items: int = ...,
) -> VectorEnv[Any, Any, Any]: ...


def flatten_for_rl(
    env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any],
    *,
    max_text_bytes: int = 256,
    max_text_length: int = 32,
    max_items: int = 16,
) -> gym.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    """Wrap an environment so that its observation is one array and its action is flat.

    - An observation that is one image (uint8, (H, W) or (H, W, C)) or one row of float32 is unchanged.
    - Any other becomes one row of float32: texts as padded bytes, sequences as padded items with a mask
      (`FixedSizeObservation`), then all parts one after another, discrete ones one-hot
      (`FlattenObservation`), as float32 (`DtypeObservation`).
    - An action that is a `Discrete` from 0, or a row (`Box` of floats, `MultiDiscrete` from 0,
      `MultiBinary`), is unchanged. Any other becomes a `MultiDiscrete`, or a `Box` if it has numbers
      (`FlatAction`).

    The ``repr`` of the returned environment lists the changes.

    Args:
        env: The environment, or a vector environment, whose slots are changed in the same way.
        max_text_bytes: The length of each text in an observation, in bytes. Longer texts are cut.
        max_text_length: The maximum number of characters of each text in an action.
        max_items: The maximum number of items of each sequence.

    Returns:
        A wrapper around ``env``, even if nothing had to be changed.

    Raises:
        SpaceError: A space has a part that cannot be flattened: a `Graph`, or a space that is not one of
            Gymnasium's, unless its samples are strings.

    Example:
        >>> env = flatten_for_rl(gym.make("openenv/my-env"))
        >>> model = PPO("MlpPolicy", env)
    """
    seen = {"max_text_bytes": max_text_bytes, "max_items": max_items}
    sent = {"max_text_length": max_text_length, "max_items": max_items}
    if isinstance(env, VectorEnv):
        return EachSlot(env, lambda one: _flatten(one, seen, sent))
    flat = _flatten(env, seen, sent)
    steps: list[str] = []
    for name, before, after in (
        ("observation", env.observation_space, flat.observation_space),
        ("action", env.action_space, flat.action_space),
    ):
        change = f"{before} became {_short(after)}" if after is not before else f"{before}, unchanged"
        steps.append(f"  {name}: {change}")
    limits = f"texts: {max_text_bytes} bytes seen, {max_text_length} characters sent; sequences: {max_items}"
    return _FlatForRL(flat, "\n".join([f"flatten_for_rl({env}):", *steps, f"  {limits} items"]))


def _flatten(env: gym.Env[Any, Any], seen: dict[str, int], sent: dict[str, int]) -> gym.Env[Any, Any]:
    flat = env
    if not _is_plain_observation(env.observation_space):
        flat = DtypeObservation(FlattenObservation(FixedSizeObservation(flat, **seen)), np.float32)
    if not _is_plain_action(env.action_space):
        flat = FlatAction(flat, **sent)
    return flat


class _FlatForRL(gym.Wrapper[Any, Any, Any, Any]):
    """The result of `flatten_for_rl`, which only describes the changes."""

    def __init__(self, env: gym.Env[Any, Any], summary: str) -> None:
        super().__init__(env)
        self._summary = summary

    def __str__(self) -> str:
        return self._summary

    def __repr__(self) -> str:
        return self._summary


def _is_plain_observation(space: spaces.Space[Any]) -> bool:
    if not isinstance(space, spaces.Box):
        return False
    return is_image(space) or (len(space.shape) == 1 and space.dtype == np.float32)


def _is_plain_action(space: spaces.Space[Any]) -> bool:
    match space:
        case spaces.Discrete():
            return bool(space.start == 0)
        case spaces.MultiDiscrete():
            return len(space.shape) == 1 and not space.start.any()
        case spaces.MultiBinary():
            return len(space.shape) == 1
        case spaces.Box():
            return len(space.shape) == 1 and space.dtype.kind == "f"
        case _:
            return False


def _short(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.MultiDiscrete):
        return f"MultiDiscrete of {space.nvec.size} choices"
    if isinstance(space, spaces.Box):
        return f"Box({space.low.min()}, {space.high.max()}, {space.shape}, {space.dtype})"
    return str(space)
