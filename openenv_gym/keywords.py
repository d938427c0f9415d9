"""Keywords of ``gym.make`` and ``gym.make_vec``, and what is said of one that there is not."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature

from openenv_gym.env import RemoteEnv
from openenv_gym.errors import ConfigurationError
from openenv_gym.sources import KINDS
from openenv_gym.vector import RemoteVectorEnv

_OF_SERVERS = ("replicas", "provider")


def refuse_unknown(keywords: Iterable[str], environment: type[RemoteEnv] | type[RemoteVectorEnv]) -> None:
    """Refuses keywords that an environment does not have, before anything is started for it.

    Args:
        keywords: Those that were given beside the ones of its server.
        environment: What they are for.

    Raises:
        ConfigurationError: There is no such keyword; the message has the one that was meant, or the sources.
    """
    known = signature(environment).parameters
    for name in keywords:
        if name in known:
            continue
        if environment is RemoteEnv and name in (*_OF_SERVERS, *signature(RemoteVectorEnv).parameters):
            raise ConfigurationError(
                f"Only gym.make_vec has {name}=, as it is for many sessions at a time: "
                'gym.make_vec("openenv/remote", num_envs=64, path="./my_env", replicas=2)'
            )
        near = get_close_matches(name, [*known, *KINDS, *_OF_SERVERS, "provider_options"], n=1)
        meant = f" Did you mean {near[0]}=?" if near else ""
        sources = ", ".join(f"{kind}=" for kind in KINDS)
        raise ConfigurationError(
            f"There is no keyword {name}= of gym.make and gym.make_vec.{meant} What the server comes from is "
            f"one of {sources}"
        )
