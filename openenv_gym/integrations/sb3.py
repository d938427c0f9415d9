"""`RemoteVecEnv`: many sessions of a server as one ``VecEnv`` of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from openenv_gym.errors import (
    ConfigurationError,
    LocalAttributeError,
    MissingExtraError,
    ResetNeededError,
    SpaceError,
    excerpt,
)
from openenv_gym.spaces.infos import split_infos
from openenv_gym.vector import RemoteVectorEnv
from openenv_gym.vector.server_pool import Addresses
from openenv_gym.wrappers.masks import Masks, can_be_masked
from openenv_gym.wrappers.vector import ActionMask

try:
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    raise MissingExtraError("openenv_gym.integrations.sb3", "rl") from error

Indices = int | Iterable[int] | None


class RemoteVecEnv(VecEnv):
    """Many sessions of a server as one ``VecEnv``: a step of all of them takes one round trip.

    Results are those of SB3's own ``DummyVecEnv`` over as many environments: an environment whose episode has
    ended is reset in the same step, its info has ``terminal_observation`` and ``TimeLimit.truncated``, and
    the info of its reset is in ``reset_infos``. Wrap it in SB3's ``VecMonitor`` for the returns in its logs.

    Args:
        env: The server's address, or a list of several servers'; a name, "openenv/my-env"; or a vector
            environment that was made with ``autoreset_mode="SameStep"``, `RemoteVectorEnv` or a wrapper
            around one.
        num_envs: The number of environments.
        **keywords: Those of `RemoteVectorEnv`, for a server or a name: ``gym`` or another source instead of
            ``env``, ``render_mode``, ``max_episode_steps``, ``on_session_lost`` and others.

    Attributes:
        envs: The vector environment.
        reset_infos: The info of each environment's last reset.

    Raises:
        ConfigurationError: A vector environment with another autoreset mode or with keywords; functions,
            which only environments in this process are made by; and what `RemoteVectorEnv` raises.
        SpaceError: Stable-Baselines3 does not support a space.

    Example:
        >>> env = VecMonitor(RemoteVecEnv("http://localhost:8000", num_envs=16))
        >>> PPO("MlpPolicy", env).learn(100_000)
    """

    def __init__(
        self, env: VectorEnv[Any, Any, Any] | Addresses | None = None, num_envs: int = 1, **keywords: Any
    ) -> None:
        self.envs: VectorEnv[Any, Any, Any] = _vector_env(env, num_envs, keywords)
        try:
            _check_space("observation", self.envs.single_observation_space)
            _check_space("action", self.envs.single_action_space)
        except SpaceError:
            if self.envs is not env:
                self.envs.close()
            raise
        self._masks = _masks_of(self.envs)
        self._keeps_masks = self._masks is None and can_be_masked(self.envs.single_action_space)
        if self._keeps_masks:
            self._masks = Masks(self.envs)
        self._has_begun = self._is_stepping = False
        self._actions: Any = None
        super().__init__(
            self.envs.num_envs, self.envs.single_observation_space, self.envs.single_action_space
        )
        self.metadata: dict[str, Any] = dict(self.envs.metadata)

    def reset(self) -> Any:
        """Begin an episode in each environment, with what `seed` and `set_options` have prepared.

        Returns:
            The observations, an array with one row for each environment, or a dict or a tuple of arrays.

        Raises:
            Exception: What `RemoteVectorEnv.reset` raises.
        """
        if self._is_stepping:
            self.step_wait()
        groups: list[tuple[dict[str, Any], list[int]]] = []
        for slot, options in enumerate(self._options):
            same = next((slots for other, slots in groups if _are_equal(other, options)), None)
            if same is None:
                groups.append((options, [slot]))
            else:
                same.append(slot)
        if len(groups) > 1 and not self._has_begun:
            groups.insert(0, (groups[0][0], list(range(self.num_envs))))  # the first reset is of all
        seeds = self._seeds
        for options, slots in groups:
            observations = self._reset(slots, seeds, options)
        self._reset_seeds()
        self._reset_options()
        return observations

    def _reset(self, slots: Sequence[int], seeds: Sequence[int | None], options: Mapping[str, Any]) -> Any:
        """Reset some environments; return the observations of all."""
        data = dict(options)
        if len(slots) < self.num_envs:
            data["reset_mask"] = np.isin(np.arange(self.num_envs), slots)
        observations, infos = self.envs.reset(seed=list(seeds), options=data or None)  # type: ignore[arg-type]
        self._has_begun = True
        if self._keeps_masks and self._masks is not None:
            self._masks.update(observations, infos, slots)
        each = split_infos(infos, self.num_envs)
        for slot in slots:
            self.reset_infos[slot] = each[slot]
        return observations

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Send an action to each environment without waiting; `step_wait` returns the results."""
        if isinstance(self.envs, RemoteVectorEnv):
            self.envs.step_async(actions)
        self._actions, self._is_stepping = actions, True

    def step_wait(self) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any], list[dict[str, Any]]]:
        """Return the results of `step_async`.

        Returns:
            observations: As `reset` returns them.
            rewards: float32 of shape (num_envs,).
            dones: bool of shape (num_envs,); the next episode of these has begun.
            infos: A dict for each environment.

        Raises:
            Exception: What `RemoteVectorEnv.step` raises.
        """
        self._is_stepping = False
        if isinstance(self.envs, RemoteVectorEnv):
            observations, rewards, terminations, truncations, batched = self.envs.step_wait()
        else:
            observations, rewards, terminations, truncations, batched = self.envs.step(self._actions)
        if self._keeps_masks and self._masks is not None:
            self._masks.update(observations, batched)
        infos = split_infos(batched, self.num_envs)
        dones = terminations | truncations
        for info, is_truncated in zip(infos, (truncations & ~terminations).tolist(), strict=True):
            info["TimeLimit.truncated"] = is_truncated
        for slot in np.flatnonzero(dones).tolist():
            info = infos[slot]
            ended = {
                **info.pop("final_info", {}),
                "TimeLimit.truncated": info.pop("TimeLimit.truncated"),
                "terminal_observation": info.pop("final_obs"),
            }
            infos[slot], self.reset_infos[slot] = ended, info
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """End all sessions, and stop servers that were started for them."""
        self.envs.close()

    def action_masks(self) -> np.ndarray[Any, Any]:
        """Return which actions are legal in each environment, for MaskablePPO.

        They come from ``info["action_mask"]`` or the observation's ``action_mask``, or from an
        `openenv_gym.wrappers.vector.ActionMask` around the vector environment.

        Returns:
            bool of shape (num_envs, number of actions).

        Raises:
            LocalAttributeError: The environment has no masks.
            ResetNeededError: Before the first reset.
        """
        return self._known_masks().take()

    def _known_masks(self) -> Masks:
        masks = self._masks
        if masks is None or (self._has_begun and not masks.are_known):
            raise LocalAttributeError(
                f"Neither the infos nor the observations of {self.envs} have an action_mask.",
                advice="openenv_gym.wrappers.vector.ActionMask reads masks from other fields.",
            )
        return masks

    def get_images(self) -> Sequence[np.ndarray[Any, Any] | None]:
        """Return an image of each environment; None for each if ``render_mode`` is not "rgb_array"."""
        if self.render_mode != "rgb_array":
            gym.logger.warn(f"The render mode is {self.render_mode}; images need 'rgb_array'")
            return [None] * self.num_envs
        frames: Any = self.envs.render()
        return list(frames)

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of each environment.

        Args:
            attr_name: ``action_masks``, or what `RemoteVectorEnv.get_attr` takes: ``state``, which the server
                is asked for, ``spec``, ``render_mode`` and others.
            indices: The environments; by default all.

        Raises:
            LocalAttributeError: Any other attribute, which exists only on the server.
        """
        slots = self._get_indices(indices)
        if attr_name == "action_masks":
            self._known_masks()
            return [partial(self._masks_of_slot, slot) for slot in slots]
        if attr_name in ("observation_space", "action_space"):
            return [getattr(self, attr_name) for _ in slots]
        values = self.envs.unwrapped.get_attr(attr_name)  # type: ignore[attr-defined]
        return [values[slot] for slot in slots]

    def has_attr(self, attr_name: str) -> bool:
        try:
            self.get_attr(attr_name)
        except AttributeError:
            return False
        except ResetNeededError:
            pass  # it has the attribute, but no value before a reset
        return True

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Raise an error: the attributes of an environment on a server cannot be set from here.

        Raises:
            LocalAttributeError: Always. Pass what an environment needs with `set_options`.
        """
        self.envs.unwrapped.set_attr(attr_name, value)  # type: ignore[attr-defined]

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of some environments.

        Args:
            method_name: ``action_masks``; ``render``; ``reset`` with ``seed`` and ``options``, which returns
                the observation and the info; ``get_wrapper_attr`` and ``has_wrapper_attr``.
            *method_args: Its positional arguments.
            indices: The environments; by default all.
            **method_kwargs: Its keywords.

        Raises:
            LocalAttributeError: Any other method, which exists only on the server.
        """
        slots = list(self._get_indices(indices))
        match method_name:
            case "action_masks":
                return [self._masks_of_slot(slot) for slot in slots]
            case "render":
                frames = self.envs.render() or ()
                return [frames[slot] for slot in slots]
            case "reset":
                return self._reset_some(slots, *method_args, **method_kwargs)
            case "get_wrapper_attr":
                return self.get_attr(method_args[0], slots)
            case "has_wrapper_attr":
                return [self.has_attr(method_args[0]) for _ in slots]
        raise LocalAttributeError(
            f"The environments of {self.envs} are on a server: {method_name} cannot be called from here.",
            advice="These can: action_masks, render and reset.",
        )

    def _reset_some(
        self, slots: Sequence[int], *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> list[Any]:
        seeds = [seed if slot in slots else None for slot in range(self.num_envs)]
        observations = self._reset(slots, seeds, options or {})
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            return [
                ({key: part[slot] for key, part in observations.items()}, self.reset_infos[slot])
                for slot in slots
            ]
        if isinstance(space, spaces.Tuple):
            return [(tuple(part[slot] for part in observations), self.reset_infos[slot]) for slot in slots]
        return [(observations[slot], self.reset_infos[slot]) for slot in slots]

    def _masks_of_slot(self, slot: int) -> np.ndarray[Any, Any]:
        mask: np.ndarray[Any, Any] = self.action_masks()[slot]
        return mask

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Return False for each environment: those of a server are not wrapped here."""
        return [False for _ in self._get_indices(indices)]

    def __repr__(self) -> str:
        return f"RemoteVecEnv({self.envs})"


def _vector_env(env: object, num_envs: int, keywords: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    if isinstance(env, VectorEnv):
        if keywords or num_envs not in (1, env.num_envs):
            raise ConfigurationError(f"{env} has been made already: num_envs and keywords are for a server")
        if (mode := env.metadata.get("autoreset_mode")) is not AutoresetMode.SAME_STEP:
            raise ConfigurationError(
                f"Stable-Baselines3 resets environments in the step that ends an episode; {env} has {mode}.",
                advice='Make it with autoreset_mode="SameStep".',
            )
        return env
    if "autoreset_mode" in keywords:
        raise ConfigurationError("RemoteVecEnv resets as Stable-Baselines3 does: it takes no autoreset_mode")
    if isinstance(env, VecEnv | gym.Env) or _has_functions(env):
        raise ConfigurationError(
            f"RemoteVecEnv takes a server's address or a name, not {excerpt(env)}.",
            advice="Environments of this process belong in a DummyVecEnv or a SubprocVecEnv.",
        )
    mode = AutoresetMode.SAME_STEP
    if isinstance(env, str) and "openenv/" in env and "://" not in env:
        return gym.make_vec(env, num_envs=num_envs, autoreset_mode=mode, **keywords)
    if env is not None:
        keywords = {"base_url": env, **keywords}
    return RemoteVectorEnv(num_envs=num_envs, autoreset_mode=mode, **keywords)


def _has_functions(env: object) -> bool:
    """Whether it is what SB3's own vector environments take."""
    return isinstance(env, Sequence) and any(callable(part) for part in env)


def _masks_of(envs: VectorEnv[Any, Any, Any]) -> Masks | None:
    """Return the masks of an `ActionMask` around a vector environment."""
    while isinstance(envs, VectorWrapper):
        if isinstance(envs, ActionMask):
            return envs.masks
        envs = envs.env
    return None


def _are_equal(left: Any, right: Any) -> bool:
    """Compare options, which may have arrays in them."""
    if left is right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_are_equal(left[key], right[key]) for key in left)
    return type(left) is type(right) and np.array_equal(left, right)


def _check_space(kind: str, space: spaces.Space[Any]) -> None:
    """Raise an error if SB3 does not support a space."""
    parts: Iterable[spaces.Space[Any]] = (space,)
    if kind == "observation" and isinstance(space, spaces.Dict):
        parts = space.spaces.values()
    elif kind == "observation" and isinstance(space, spaces.Tuple):
        parts = space.spaces
    for part in parts:
        match part:
            case spaces.Box(shape=shape):
                is_supported = shape != ()
            case spaces.Discrete() | spaces.MultiDiscrete():
                is_supported = not np.any(part.start)
            case _:
                is_supported = isinstance(part, spaces.MultiBinary)
        if not is_supported:
            raise SpaceError(
                f"Stable-Baselines3 does not support {part} in the {kind} space {space}.",
                advice='Pass RemoteVecEnv(flatten_for_rl(gym.make_vec(…, autoreset_mode="SameStep"))).',
            )
