"""Names for ``gym.make``: ``openenv/remote`` for any server, ``openenv/NAME`` for those that are known."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs import registration as gymnasium_registration

from openenv_gym.errors import ConfigurationError, UnknownNameError
from openenv_gym.known import canonical_name, known_servers
from openenv_gym.sources import Source

NAMESPACE = "openenv"
_ENTRY_POINT = "openenv_gym.launched:LaunchedEnv"
_VECTOR_ENTRY_POINT = "openenv_gym.launched:LaunchedVectorEnv"

# The names that were found on this machine, as opposed to those that `register` was told.
_found: set[str] = set()
# What has been warned of: what the machine knows is read often, and a problem is said once.
_warned_of: set[str] = set()


def register(
    name: str,
    *,
    base_url: str | None = None,
    path: str | Path | None = None,
    gym: str | None = None,
    app: str | None = None,
    image: str | None = None,
    space: str | None = None,
    nondeterministic: bool = True,
) -> None:
    """Makes ``gym.make("openenv/NAME")`` know an environment, in this process.

    ``my-env`` and ``my_env`` are one name. A name that is known already is known anew.

    Args:
        name: The name.
        base_url: The server's address; or one of the five that follow.
        path: An environment's folder, which each environment that is made serves from a process of its own.
        gym: The id of a Gymnasium environment, served in the same way.
        app: The import path of an application, ``module:attribute``, served in the same way.
        image: A container image.
        space: A Space of the Hugging Face Hub, ``owner/name``.
        nondeterministic: False where the server is known to honour seeds.

    Raises:
        ConfigurationError: The name cannot be one, or ``remote``, or clashes with another version of itself;
            or not exactly one of the six was given.
    """
    given = {"base_url": base_url, "path": path, "gym": gym, "app": app, "image": image, "space": space}
    canonical = _register(name, Source.of(given, f"register({name!r})").absolute(), nondeterministic)
    _found.discard(canonical)


def _register(name: str, source: Source, nondeterministic: bool = True) -> str:
    canonical = canonical_name(name)
    if canonical == "remote":
        raise ConfigurationError('The name "remote" stands for any server; choose another')
    for spelling in _spellings(canonical):
        _register_id(f"{NAMESPACE}/{spelling}", source.keywords, nondeterministic)
    return canonical


def _spellings(canonical: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((canonical, canonical.replace("-", "_"))))


def register_known() -> None:
    """Registers all names that this machine knows, and forgets those that it no longer knows.

    What `register` was told stays as it is. What cannot be registered is a warning, not an error.
    """
    _register_id(f"{NAMESPACE}/remote", {}, nondeterministic=True)
    problems: list[str] = []
    servers = known_servers(problems)
    for name in _found:
        for spelling in _spellings(name):
            gym.registry.pop(f"{NAMESPACE}/{spelling}", None)
    _found.clear()
    told = set(names())
    for server in servers:
        if server.name in told:
            continue
        try:
            _found.add(_register(server.name, server.source))
        except ConfigurationError as error:
            problems.append(f"{server.known_from}: {error}")
    for problem in problems:
        if problem not in _warned_of:
            _warned_of.add(problem)
            warnings.warn(problem, stacklevel=2)


def names() -> list[str]:
    """The names that ``gym.make("openenv/NAME")`` knows, each in its spelling with hyphens."""
    prefix = f"{NAMESPACE}/"
    return sorted(
        {
            spec_id.removeprefix(prefix).replace("_", "-")
            for spec_id in gym.registry
            if spec_id.startswith(prefix)
        }
    )


def explain_unknown_names() -> None:
    """Lets ``gym.make`` find servers that were started after the import, and say what to do about others.

    Gymnasium looks an id up in a dict and has no hook for one that is missing. So its look-up is wrapped
    here, for ids of our namespace only: what the machine knows is read anew, and a name that is nowhere
    raises `UnknownNameError` with the names that there are.
    """
    find_spec = getattr(gymnasium_registration, "_find_spec", None)
    if find_spec is None or getattr(find_spec, "knows_openenv", False):
        return

    def find_openenv_spec(env_id: str) -> Any:
        name = env_id.split(":")[-1]
        if name.startswith(f"{NAMESPACE}/"):
            register_known()
            if name not in gym.registry:
                raise _unknown(name)
        return find_spec(env_id)

    find_openenv_spec.knows_openenv = True  # type: ignore[attr-defined]
    gymnasium_registration._find_spec = find_openenv_spec


def _unknown(env_id: str) -> UnknownNameError:
    name = env_id.removeprefix(f"{NAMESPACE}/")
    known = ", ".join(f"{NAMESPACE}/{known}" for known in names())
    near = get_close_matches(name.replace("_", "-"), names(), n=1)
    meant = f" Did you mean {NAMESPACE}/{near[0]}?" if near else ""
    variable = "".join(c if c.isalnum() else "_" for c in name).upper()
    return UnknownNameError(
        f"There is no environment {env_id}.{meant} Known are: {known}. To add it: "
        f'openenv_gym.register("{name}", base_url="http://…"), `openenv register {name} --url http://…`, '
        f"OPENENV_{variable}_URL, or `openenv serve` on this machine. Without a name: "
        'gym.make("openenv/remote", base_url="http://…").'
    )


def _register_id(env_id: str, kwargs: dict[str, Any], nondeterministic: bool) -> None:
    gym.registry.pop(env_id, None)
    try:
        gym.register(
            env_id,
            _ENTRY_POINT,
            vector_entry_point=_VECTOR_ENTRY_POINT,
            nondeterministic=nondeterministic,
            kwargs=kwargs,
        )
    except gym.error.Error as error:
        raise ConfigurationError(f"{env_id} cannot be registered: {error}") from error
