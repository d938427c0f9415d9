"""PettingZoo's parallel environments, with several agents: on a server, and back again in a trainer.

A server has one action and one observation a step, so a `JointEnv` puts those of all agents into a ``Dict``
by agent. `parallel_env` takes them apart again::

    openenv serve --gym PettingZoo-v0 --gym-kwarg env=butterfly/pistonball-v6

    env = parallel_env("http://localhost:8000")        # a pettingzoo.ParallelEnv

A trainer that knows Gymnasium alone, and controls all agents, takes the server as it is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from openenv_gym.errors import ConfigurationError, MissingExtraError, ResetNeededError, excerpt

try:
    import pettingzoo
    from pettingzoo import ParallelEnv
    from pettingzoo.env_registry.exceptions import PettingZooRegistryError
except ModuleNotFoundError as error:
    if error.name != "pettingzoo":
        raise
    raise MissingExtraError("openenv_gym.integrations.pettingzoo", "pettingzoo") from error

ByAgent = dict[str, Any]


class JointEnv(gym.Env[ByAgent, ByAgent]):
    """A parallel environment as one environment, whose actions and observations are dicts by agent.

    - **Action**: one for each possible agent; those of agents that are not there are ignored.
    - **Observation**: one for each possible agent. An agent that has left keeps its last one; one that has
      not come yet has an arbitrary one, the same in each episode.
    - **Reward**: the sum of all agents' rewards, in the order of the dict that has them.
    - **Episode**: it ends when no agent is there any more; it is truncated if the last one to go was.
    - **Info**: PettingZoo's own dicts by agent, ``infos``, and after a step ``rewards``, ``terminations`` and
      ``truncations``; and ``agents``, the list of those who are there.

    Args:
        env: The parallel environment.

    Raises:
        ConfigurationError: It does not say which agents are possible, or their names are not strings.

    Example:
        >>> app = create_app(*gymnasium_factory(lambda: JointEnv(MyGame())))
    """

    def __init__(self, env: ParallelEnv[str, Any, Any]) -> None:
        agents = getattr(env, "possible_agents", None)
        if not agents or not all(isinstance(agent, str) for agent in agents):
            raise ConfigurationError(
                f"{env} has no list of names as its possible_agents, but {excerpt(agents)}.",
                advice="The spaces of a served environment need a fixed name for each agent.",
            )
        self.env = env
        self.metadata: dict[str, Any] = {"render_modes": [], **env.metadata}
        self.render_mode: str | None = getattr(env, "render_mode", None)
        self.action_space: spaces.Dict = spaces.Dict({agent: env.action_space(agent) for agent in agents})
        self.observation_space: spaces.Dict = spaces.Dict(
            {agent: env.observation_space(agent) for agent in agents}
        )
        self.observation_space.seed(0)
        self._absent: ByAgent = self.observation_space.sample()
        self._observations: ByAgent = self._absent

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ByAgent, dict[str, Any]]:
        """Begin an episode.

        Returns:
            The observations and the info; see the class.
        """
        super().reset(seed=seed)
        observations, infos = self.env.reset(seed=seed, options=options)
        self._observations = {**self._absent, **observations}
        return self._observations, {"agents": list(self.env.agents), "infos": infos}

    def step(self, action: ByAgent) -> tuple[ByAgent, float, bool, bool, dict[str, Any]]:
        """Let each agent that is there act.

        Returns:
            The observations, the sum of the rewards, whether the episode has ended, whether it was truncated,
            and the info; see the class.
        """
        actions = {agent: action[agent] for agent in self.env.agents}
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        self._observations = {**self._observations, **observations}
        info = {
            "agents": list(self.env.agents),
            "rewards": {agent: float(reward) for agent, reward in rewards.items()},
            "terminations": {agent: bool(is_terminated) for agent, is_terminated in terminations.items()},
            "truncations": {agent: bool(is_truncated) for agent, is_truncated in truncations.items()},
            "infos": infos,
        }
        has_ended = not self.env.agents
        is_truncated = has_ended and any(truncations.values())
        reward = sum(info["rewards"].values())
        return self._observations, reward, has_ended and not is_truncated, is_truncated, info

    def render(self) -> Any:
        """Return what the parallel environment renders."""
        return self.env.render()

    def close(self) -> None:
        """Close the parallel environment."""
        self.env.close()


def make_joint_env(env: str, **keywords: Any) -> JointEnv:
    """Make a parallel environment by its name: what ``gym.make("PettingZoo-v0", env=…)`` calls.

    Args:
        env: An id of PettingZoo, "butterfly/pistonball-v6"; or the import path of a function that makes one,
            "my_package.games:parallel_env".
        **keywords: Of ``pettingzoo.make``, or of the function.

    Raises:
        ConfigurationError: PettingZoo has no such environment, lacks a package for it, or the function
            cannot be imported.
    """
    if ":" not in env:
        try:
            return JointEnv(pettingzoo.make("parallel", env, **keywords))
        except PettingZooRegistryError as error:
            raise ConfigurationError(f"PettingZoo cannot make {env}: {error}") from error
    module, _, name = env.partition(":")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"The parallel environment {env} cannot be imported: {error}.") from error
    return JointEnv(make(**keywords))


gym.register("PettingZoo-v0", f"{__name__}:make_joint_env", order_enforce=False)


def parallel_env(env: str | gym.Env[Any, Any], **keywords: Any) -> RemoteParallelEnv:
    """Return a served `JointEnv` as a parallel environment again, with PettingZoo's interface.

    Args:
        env: A server's address; a name, "openenv/my-env"; or an environment that has been made.
        **keywords: Of ``gym.make``, for an address or a name: ``render_mode``, ``api_key``, and others of
            `openenv_gym.RemoteEnv`.

    Raises:
        ConfigurationError: The environment is not a `JointEnv`; and what `openenv_gym.RemoteEnv` raises.

    Example:
        >>> env = parallel_env("http://localhost:8000")
        >>> observations, infos = env.reset(seed=1)
        >>> env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    """
    if isinstance(env, str):
        is_name = "openenv/" in env and "://" not in env
        env = gym.make(env, **keywords) if is_name else gym.make("openenv/remote", base_url=env, **keywords)
    elif keywords:
        raise ConfigurationError(f"{env} has been made already: keywords are for an address or a name")
    return RemoteParallelEnv(env)


class RemoteParallelEnv(ParallelEnv[str, Any, Any]):
    """A `JointEnv`, taken apart into its agents again; `parallel_env` makes it.

    Attributes:
        env: The joint environment.
        agents: The names of those who are there.
        possible_agents: The names of all.

    Raises:
        ConfigurationError: The spaces are not dicts by agent.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        observations, actions = env.observation_space, env.action_space
        if not (
            isinstance(observations, spaces.Dict)
            and isinstance(actions, spaces.Dict)
            and observations.keys() == actions.keys()
        ):
            raise ConfigurationError(
                f"{env} has one agent: its spaces are {excerpt(observations)} and {excerpt(actions)}.",
                advice="Serve a parallel environment with `openenv serve --gym PettingZoo-v0`.",
            )
        self.env = env
        self.metadata: dict[str, Any] = dict(env.metadata)
        self.render_mode: str | None = env.render_mode
        self.observation_spaces: dict[str, spaces.Space[Any]] = dict(observations.spaces)
        self.action_spaces: dict[str, spaces.Space[Any]] = dict(actions.spaces)
        self.possible_agents: list[str] = list(actions.spaces)
        self.agents: list[str] = []
        self._absent: ByAgent = actions.sample()

    def observation_space(self, agent: str) -> gym.Space[Any]:
        """The space of an agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gym.Space[Any]:
        """The space of an agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ByAgent, dict[str, dict[str, Any]]]:
        """Begin an episode.

        Returns:
            The observations and the infos by agent.

        Raises:
            Exception: What `openenv_gym.RemoteEnv.reset` raises.
        """
        observations, info = self.env.reset(seed=seed, options=options)
        self.agents = list(info["agents"])
        return {agent: observations[agent] for agent in self.agents}, info["infos"]

    def step(
        self, actions: ByAgent
    ) -> tuple[ByAgent, dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Let each agent that is there act.

        Args:
            actions: An action for each of `agents`.

        Returns:
            The observations, rewards, terminations, truncations and infos by agent.

        Raises:
            ResetNeededError: No agent is there.
            KeyError: An agent has no action.
            Exception: What `openenv_gym.RemoteEnv.step` raises.
        """
        if not self.agents:
            raise ResetNeededError("No agent is there: the episode has ended, or has not begun.")
        present = {agent: actions[agent] for agent in self.agents}
        observations, _, _, _, info = self.env.step({**self._absent, **present})
        self.agents = list(info["agents"])
        rewards = info["rewards"]
        return (
            {agent: observations[agent] for agent in rewards},
            rewards,
            info["terminations"],
            info["truncations"],
            info["infos"],
        )

    def render(self) -> Any:
        """Return what the environment renders in its render mode."""
        return self.env.render()

    def close(self) -> None:
        """End the session."""
        self.env.close()
