"""Serve EnvPool's environments, which a pool of threads steps in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from openenv_gym.errors import ConfigurationError, UsageError

# What EnvPool says of each environment beside its own infos.
_OWN_INFOS = ("env_id", "players")
_MOST_SEED = 2**31 - 1


class EnvPoolMaker:
    """Makes vector environments of EnvPool.

    Args:
        env_id: EnvPool's id, such as ``Pong-v5``.
        keywords: Further keywords of ``envpool.make_gymnasium``.

    Raises:
        ConfigurationError: EnvPool is not installed, or has no such environment.
    """

    def __init__(self, env_id: str, keywords: Mapping[str, Any] | None = None) -> None:
        try:
            import envpool
        except ImportError as error:
            raise ConfigurationError(
                f"{env_id} is to be served by the package envpool, which is not installed.",
                advice="Run: pip install envpool",
            ) from error
        self.env_id = env_id
        self.keywords: dict[str, Any] = dict(keywords or {})
        try:
            self._spec = envpool.make_spec(env_id, **self.keywords)
        except (AssertionError, TypeError, ValueError, KeyError) as error:
            raise ConfigurationError(f"EnvPool cannot make {env_id}: {error}") from error

    def __call__(self, num_envs: int) -> EnvPoolEnvs:
        """Make one."""
        return EnvPoolEnvs(self._spec, self.env_id, num_envs, self.keywords)


class EnvPoolEnvs(VectorEnv[Any, Any, Any]):
    """A pool of EnvPool as a Gymnasium vector environment.

    EnvPool takes seeds only when a pool is made, so a reset with seeds makes a new one. Episodes are reset in
    the step after their last, as EnvPool does it.

    Args:
        spec: EnvPool's spec of the environment.
        env_id: Its id.
        num_envs: The number of environments.
        keywords: Further keywords of ``envpool.make_gymnasium``.
    """

    def __init__(self, spec: Any, env_id: str, num_envs: int, keywords: Mapping[str, Any]) -> None:
        self._env_id, self._keywords = env_id, keywords
        self.num_envs = num_envs
        self.metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}
        self.single_observation_space: Space[Any] = spec.gymnasium_observation_space
        self.single_action_space: Space[Any] = spec.gymnasium_action_space
        self.observation_space: Space[Any] = batch_space(self.single_observation_space, num_envs)
        self.action_space: Space[Any] = batch_space(self.single_action_space, num_envs)
        self._pool: Any = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments.

        Raises:
            UsageError: Some have a seed and others none, or there are options, which EnvPool does not take.
        """
        if options:
            raise UsageError(f"EnvPool takes no options for a reset, got {', '.join(options)}")
        if isinstance(seed, list):
            if None in seed:
                raise UsageError("EnvPool takes a seed for every environment, or for none")
            self._make(env_seed=seed)
        elif seed is not None or self._pool is None:
            self._make(seed=int(np.random.default_rng().integers(_MOST_SEED)) if seed is None else seed)
        observations, infos = self._pool.reset()
        return observations, _without_own(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all environments."""
        observations, rewards, terminated, truncated, infos = self._pool.step(actions)
        return observations, rewards, terminated, truncated, _without_own(infos)

    def close_extras(self, **kwargs: Any) -> None:
        """End the pool's threads."""
        self._pool = None

    def _make(self, **seeds: Any) -> None:
        import envpool

        self._pool = envpool.make_gymnasium(self._env_id, num_envs=self.num_envs, **seeds, **self._keywords)


def _without_own(infos: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in infos.items() if name not in _OWN_INFOS}
