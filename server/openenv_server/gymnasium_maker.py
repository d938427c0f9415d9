"""Make Gymnasium environments from their ids, with wrappers, and find the packages that register the ids."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import gymnasium as gym
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from openenv_gym.errors import ConfigurationError

# Packages whose import registers ids: a pattern of the ids, the module, and the distribution.
_PACKAGES = (
    (r"ALE/.+|.+(NoFrameskip|Deterministic)-v\d", "ale_py", "ale-py"),
    (r"(MiniGrid|BabyAI)-.+", "minigrid", "minigrid"),
    ("PettingZoo-v0", "openenv_gym.integrations.pettingzoo", "pettingzoo"),
    (r"MiniWorld-.+", "miniworld", "miniworld"),
    (
        r"(Fetch(Reach|Push|Slide|PickAndPlace)|Hand(Reach|Manipulate)|AdroitHand|FrankaKitchen|(Ant|Point)Maze_).*",
        "gymnasium_robotics",
        "gymnasium-robotics",
    ),
    (
        r"(highway|merge|roundabout|intersection|racetrack|parking|two-way|u-turn|lane-keeping|exit)-.*v\d",
        "highway_env",
        "highway-env",
    ),
    (r"Panda(Reach|Push|Slide|PickAndPlace|Stack|Flip).*", "panda_gym", "panda-gym"),
    (r"MiniHack-.+", "minihack", "minihack"),
    (r"NetHack.+", "nle", "nle"),
    (r"Meta-World/.+", "metaworld", "metaworld"),
    (r"(dm_control|bsuite)/.+|.+CompatibilityEnv-v\d|GymV\d+Environment-v\d", "shimmy", "shimmy"),
    (r"FlappyBird-.+", "flappy_bird_gymnasium", "flappy-bird-gymnasium"),
    (r".+BulletEnv-v\d", "pybullet_envs_gymnasium", "pybullet-envs-gymnasium"),
    (r"Vizdoom.+", "vizdoom", "vizdoom"),
)
_GIVE_KEYWORDS = (
    "Keywords of the wrapper follow it, as in --wrap-kwarg frame_skip=4; those of gym.make are given as in "
    "--gym-kwarg frameskip=1."
)
_NAME_THE_MODULE = "If importing a module registers the id, name that too, as in MODULE:{}"


@dataclass(frozen=True, eq=False)
class GymnasiumMaker:
    """Makes a Gymnasium environment whenever it is called.

    Args:
        env_id: The id; if importing a package registers it, the package is imported.
        keywords: The keywords of ``gym.make``.
        wrappers: The import path (``module:class``) and the keywords of each wrapper, the innermost first.

    Raises:
        ConfigurationError: The package is not installed, or the environment or a wrapper cannot be made.

    Example:
        >>> make_env = GymnasiumMaker("CartPole-v1", {}, [("gymnasium.wrappers:RescaleObservation", …)])
        >>> factory, models = gymnasium_factory(make_env)
    """

    env_id: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    wrappers: Sequence[tuple[str, Mapping[str, Any]]] = ()

    def __call__(self) -> gym.Env[Any, Any]:
        """Make it."""
        try:
            # The checker is meant for authors, and would slow down every step.
            env = gym.make(qualified_id(self.env_id), disable_env_checker=True, **self.keywords)
        except (gym.error.Error, TypeError, ValueError, ImportError) as error:
            if isinstance(error, ConfigurationError):
                raise
            advice = "" if _is_registered(self.env_id) else _NAME_THE_MODULE
            raise ConfigurationError(
                f"Gymnasium cannot make {self.env_id}: {str(error).rstrip('.')}.",
                advice=advice.format(self.env_id),
            ) from error
        return cast(gym.Env[Any, Any], self._wrapped(_without_order_check(env)))

    def vector(self, num_envs: int) -> VectorEnv[Any, Any, Any]:
        """Make the vector environment that its package registers; the wrappers are those of such ones."""
        try:
            envs = gym.make_vec(
                qualified_id(self.env_id),
                num_envs,
                vectorization_mode="vector_entry_point",
                **self.keywords,
            )
        except (gym.error.Error, TypeError, ValueError, ImportError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"Gymnasium cannot make a vector environment of {self.env_id}: {str(error).rstrip('.')}.",
                advice="Serve it without --vectorized, which steps one environment after another.",
            ) from error
        return cast(VectorEnv[Any, Any, Any], self._wrapped(envs))

    def _wrapped(self, env: Any) -> Any:
        for path, keywords in self.wrappers:
            wrapper = import_wrapper(path)
            try:
                env = wrapper(env, **keywords)
            except Exception as error:
                env.close()
                is_about_values = isinstance(error, TypeError | ValueError | AssertionError)
                raise ConfigurationError(
                    f"{path} cannot wrap {self.env_id}: {type(error).__name__}: {str(error).rstrip('.')}.",
                    advice=_GIVE_KEYWORDS if is_about_values else "",
                ) from error
        return env


def _without_order_check(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return what ``gym.make`` made without `OrderEnforcing`, because the server itself keeps the order."""
    if isinstance(env, OrderEnforcing):
        return env.env
    if isinstance(env, TimeLimit) and isinstance(env.env, OrderEnforcing):
        env.env = env.env.env
    return env


def qualified_id(env_id: str) -> str:
    """Return an id that ``gym.make`` finds, with the module that registers it: ``ale_py:ALE/Pong-v5``.

    Raises:
        ConfigurationError: It belongs to a known package that is not installed.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # ids and wrappers may be in a module of the current folder
    if ":" in env_id or _is_registered(env_id):
        return env_id
    for pattern, module, distribution in _PACKAGES:
        if re.fullmatch(pattern, env_id):
            if find_spec(module) is None:
                raise ConfigurationError(
                    f"{env_id} is an environment of the package {distribution}, which is not installed.",
                    advice=f"Run: pip install {distribution}",
                )
            return f"{module}:{env_id}"
    namespace, slash, _ = env_id.partition("/")
    modules = [module for _, module, _ in _PACKAGES]
    if slash and namespace.isidentifier():
        modules.insert(0, namespace)  # many packages use their own name
    for module in modules:
        if find_spec(module) is not None:
            import_module(module)
            if _is_registered(env_id):
                return f"{module}:{env_id}"
    return env_id


def _is_registered(env_id: str) -> bool:
    try:
        gym.spec(env_id)
    except gym.error.Error:
        return False
    return True


def import_wrapper(path: str) -> Any:
    """Import a wrapper.

    Raises:
        ConfigurationError: It cannot be imported, or the path is malformed.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ConfigurationError(
            f"{path!r} is not the import path of a wrapper.",
            advice="Use module:class, as in gymnasium.wrappers:AtariPreprocessing.",
        )
    try:
        found: Any = import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigurationError(f"The wrapper {path} cannot be imported: {error}") from error
    return found
