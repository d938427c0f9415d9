"""The keywords that go into ``provider_options=``, and what is said of one that there is not."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.provider import Provider
from openenv_gym.sources import KINDS, Kind

# Keywords of gym.make and gym.make_vec, which stand beside it.
_BESIDE = {*KINDS, "replicas", "api_key"}


def refuse_unknown_options(options: Mapping[str, Any], kind: Kind, provider: str | None) -> None:
    """Refuses options that what starts the servers does not have.

    Args:
        options: The options.
        kind: Where the servers come from.
        provider: "ray", or None.

    Raises:
        ConfigurationError: There is no such option; the message has those that there are.
    """
    known = _known(options, kind, provider)
    for name in options:
        if name in known:
            continue
        if name in _BESIDE:
            hint = f"{name}= stands beside it, not in it."
        else:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "there is no such one."
        what = f'{kind}= with provider="ray"' if provider else f"{kind}="
        raise ConfigurationError(
            f"provider_options= has {name!r}: {hint} The options of {what} are {', '.join(known)}."
        )


def _known(options: Mapping[str, Any], kind: Kind, provider: str | None) -> list[str]:
    from openenv_gym.providers.docker import DockerProvider
    from openenv_gym.providers.hub import HubProvider
    from openenv_gym.providers.process import ProcessProvider

    if provider is not None:
        from openenv_gym.providers.ray import RayProvider

        return _keywords(RayProvider)
    if kind == "image":
        return _keywords(DockerProvider)
    if kind != "space":
        return _keywords(ProcessProvider)
    known = _keywords(HubProvider)
    if options.get("mode") != "local":
        known += _keywords(DockerProvider)
    if options.get("mode") != "docker":
        known += _keywords(ProcessProvider)
    return list(dict.fromkeys(known))


def _keywords(provider: type[Provider]) -> list[str]:
    return [
        name
        for name, parameter in signature(provider).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in _BESIDE
    ]
