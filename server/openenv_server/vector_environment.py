"""Serve a Gymnasium vector environment: the slots that a client opens together are one batch of it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from openenv_gym.errors import ConfigurationError
from openenv_gym.spaces.batches import batch_of
from openenv_gym.spaces.infos import split_infos
from openenv_gym.wire.v2 import Autoreset
from openenv_server.gymnasium_environment import (
    GymnasiumEnvironment,
    GymnasiumModels,
    models_from_env,
)
from openenv_server.step_lock import PROCESS_LOCK

Envs = VectorEnv[Any, Any, Any]
MakeEnvs = Callable[..., Envs]

_MODES: dict[Autoreset, AutoresetMode] = {
    "next_step": AutoresetMode.NEXT_STEP,
    "same_step": AutoresetMode.SAME_STEP,
    "disabled": AutoresetMode.DISABLED,
}


class VectorFactory:
    """Makes batches for clients that open several slots together, and environments for those that open one.

    Args:
        make_envs: Makes a vector environment, called with the number of its environments. If it has a
            parameter ``autoreset_mode``, it is called with that too.
        models: The models of its spaces; derived from an environment if left out.

    Attributes:
        models: As given, or derived.

    Raises:
        ConfigurationError: What it makes is no vector environment.
    """

    def __init__(self, make_envs: MakeEnvs, models: GymnasiumModels | None = None) -> None:
        self.__name__: str = getattr(make_envs, "__name__", type(make_envs).__name__)
        self._make_envs = make_envs
        self._takes_mode = "autoreset_mode" in inspect.signature(make_envs).parameters
        with PROCESS_LOCK.held_by(self):
            envs = self._envs(1, AutoresetMode.NEXT_STEP)
            self._mode = autoreset_mode_of(envs, AutoresetMode.NEXT_STEP)
            probe = SingleEnv(envs)
            self.models: GymnasiumModels = models or models_from_env(probe)
            probe.close()

    def __call__(self) -> GymnasiumEnvironment:
        """Make one environment."""
        return GymnasiumEnvironment(self._single, self.models)

    def batch(self, count: int, autoreset: Autoreset) -> Callable[[], VectorEnvironment]:
        """Return a function that makes a batch.

        It raises `ConfigurationError` if the environments are made with another autoreset mode.
        """
        asked = _MODES[autoreset]

        def make() -> VectorEnvironment:
            with PROCESS_LOCK.held_by(threading.current_thread()):
                environment = VectorEnvironment(self._envs(count, asked), asked)
                if environment.autoreset_mode is asked:
                    return environment
                environment.close()
            raise ConfigurationError(
                f"It was asked for the autoreset mode {asked.value} and has made environments with "
                f"{environment.autoreset_mode.value}.",
                advice="Pass its autoreset_mode on, or give it no such parameter.",
            )

        make.__name__ = self.__name__
        return make

    def refusal(self, autoreset: Autoreset) -> str | None:
        """Return why no batch has the autoreset mode that a client asks for; None if it has it."""
        asked = _MODES[autoreset]
        if self._takes_mode or asked is self._mode:
            return None
        return (
            f"The environments of this server have the autoreset mode {self._mode.value}, not {asked.value}. "
            f'Pass autoreset_mode="{self._mode.value}".'
        )

    def _single(self) -> gym.Env[Any, Any]:
        return SingleEnv(self._envs(1, AutoresetMode.NEXT_STEP))

    def _envs(self, count: int, mode: AutoresetMode) -> Envs:
        envs = self._make_envs(count, autoreset_mode=mode) if self._takes_mode else self._make_envs(count)
        missing = [
            name
            for name in ("single_action_space", "single_observation_space", "num_envs", "reset", "step")
            if not hasattr(envs, name)
        ]
        if missing:
            raise ConfigurationError(
                f"{type(envs).__name__} is no vector environment: it has no {missing[0]}.",
                advice="Return a gymnasium.vector.VectorEnv.",
            )
        if envs.num_envs != count:
            raise ConfigurationError(
                f"The function was asked for {count} environments and has made {envs.num_envs}.",
                advice="Its argument is the number of environments.",
            )
        return envs


def vector_factory(make_envs: MakeEnvs) -> tuple[VectorFactory, GymnasiumModels]:
    """The arguments of `create_app` for a vector environment: a factory, and the models of its spaces.

    All slots that a client opens together, as `RemoteVectorEnv` does, are one vector environment on the
    server, which steps them in one call. A client that opens a single slot gets one of its own.

    Args:
        make_envs: Makes a `gymnasium.vector.VectorEnv`, called with the number of environments. If it has a
            parameter ``autoreset_mode``, it gets the one that the client asks for; else the client has to ask
            for the one in the environment's ``metadata``.

    Raises:
        ConfigurationError: What it makes is no vector environment.

    Example:
        >>> factory, models = vector_factory(lambda n: gym.make_vec("CartPole-v1", n))
        >>> app = create_app(factory, models.action, models.observation, max_concurrent_envs=4096)
    """
    factory = VectorFactory(make_envs)
    return factory, factory.models


class VectorEnvironment:
    """A vector environment, whose environments are stepped in one call.

    Args:
        envs: The vector environment.
        autoreset_mode: That of an environment whose ``metadata`` has none.

    Attributes:
        envs: As given.
        autoreset_mode: When it resets environments whose episodes have ended.
        step_lock: The server holds it around every call, unless the environment sets
            ``SUPPORTS_CONCURRENT_SESSIONS = True``.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, envs: Envs, autoreset_mode: AutoresetMode) -> None:
        self.envs = envs
        self.autoreset_mode: AutoresetMode = autoreset_mode_of(envs, autoreset_mode)
        self._observations = batch_of(envs.single_observation_space)
        runs_in_parallel = getattr(envs.unwrapped, "SUPPORTS_CONCURRENT_SESSIONS", False)
        self.step_lock = None if runs_in_parallel else PROCESS_LOCK

    def reset(self, seeds: Sequence[int | None], options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those in ``options["reset_mask"]``.

        Args:
            seeds: One for each environment. Seeds that count up by one are given as Gymnasium's single seed,
                as some vector environments take no others.
            options: The options.
        """
        first = seeds[0]
        seed: Any = list(seeds)
        if first is None and not any(seed is not None for seed in seeds):
            seed = None
        elif first is not None and list(range(first, first + len(seeds))) == seed:
            seed = first
        return self.envs.reset(seed=seed, options=dict(options) or None)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all environments."""
        return self.envs.step(actions)

    def rows(self, observations: Any, places: Sequence[int]) -> Any:
        """Return the observations of some environments, in fresh memory."""
        return self._observations.take(observations, np.array(places))

    def render(self) -> Any:
        """A picture of each environment; None if they were made without a render mode."""
        return self.envs.render()

    def close(self) -> None:
        """Close all environments."""
        self.envs.close()


class SingleEnv(gym.Env[Any, Any]):
    """The only environment of a vector environment of one.

    Args:
        envs: The vector environment.
    """

    def __init__(self, envs: Envs) -> None:
        self._envs = envs
        self.action_space: gym.Space[Any] = envs.single_action_space
        self.observation_space: gym.Space[Any] = envs.single_observation_space
        self.metadata: dict[str, Any] = dict(getattr(envs, "metadata", {}))
        self.render_mode: str | None = getattr(envs, "render_mode", None)
        self.spec = getattr(envs, "spec", None)
        self.SUPPORTS_CONCURRENT_SESSIONS = getattr(envs.unwrapped, "SUPPORTS_CONCURRENT_SESSIONS", False)
        self._actions, self._observations = batch_of(self.action_space), batch_of(self.observation_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observations, infos = self._envs.reset(seed=seed, options=options)
        return self._observations.split(observations, 1)[0], split_infos(infos, 1)[0]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        memory = self._actions.allocate(1)
        self._actions.put(action, memory, 0)
        actions = self._actions.batch(memory, copy=False)
        observations, rewards, terminated, truncated, infos = self._envs.step(actions)
        info = split_infos(infos, 1)[0]
        observation = self._observations.split(observations, 1)[0]
        if "final_obs" in info:  # the next episode has begun; this is the end of the last one
            observation, info = info["final_obs"], info.get("final_info", {})
        return observation, rewards[0], bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        pictures = self._envs.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        self._envs.close()


def autoreset_mode_of(envs: Envs, default: AutoresetMode) -> AutoresetMode:
    """Return when a vector environment resets its environments, or the default if it does not say."""
    return AutoresetMode(getattr(envs, "metadata", {}).get("autoreset_mode", default))
