"""Names in Gymnasium's registry: ``openenv/remote`` for any server, ``openenv/NAME`` for a known one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs import registration as gymnasium_registration

from openenv_gym.errors import ConfigurationError, UnknownKeywordError, UnknownNameError
from openenv_gym.manifest import canonical_name
from openenv_gym.naming.known import known_servers
from openenv_gym.providers.sources import SOURCES, Source

NAMESPACE = "openenv"
_ANY_SERVER = f"{NAMESPACE}/remote"
_ENTRY_POINT = "openenv_gym.env:RemoteEnv"
_VECTOR_ENTRY_POINT = "openenv_gym.vector:RemoteVectorEnv"

# The names that were found on this machine, as opposed to those passed to `register`.
_found: set[str] = set()
# The names of this machine are read often, but each problem with them is reported once.
_reported: set[str] = set()


def register(name: str, *, nondeterministic: bool = True, **source: str | Path | None) -> None:
    """Give an environment a name for ``gym.make("openenv/NAME")``, in this process.

    Other processes, also spawned ones and Ray's, do not know it: there, use ``openenv register``, a variable
    ``OPENENV_NAME_URL``, or ``openenv_gym:openenv/remote`` with a source.

    ``my-env`` and ``my_env`` are the same name. Registering a name again replaces it. A server that has to be
    started is started for each environment that is made.

    Args:
        name: The name.
        nondeterministic: False if the server is known to honour seeds.
        **source: Exactly one of ``base_url`` (the server's address), ``path`` (an environment's folder),
            ``gym`` (a Gymnasium id), ``app`` (an application, ``module:attribute``), ``image`` (a container
            image) and ``space`` (a Space on the Hugging Face Hub, ``owner/name``).

    Raises:
        ConfigurationError: The name is malformed, is ``remote``, or clashes with another version of itself;
            or not exactly one source was given.
        UnknownKeywordError: A keyword is no source.

    Example:
        >>> openenv_gym.register("my-env", base_url="http://localhost:8000")
        >>> env = gym.make("openenv/my-env")
    """
    for keyword in source:
        if keyword not in SOURCES:
            raise UnknownKeywordError(
                f"register() got an unexpected keyword argument {keyword!r}. "
                f"Name one of {', '.join(SOURCES)}."
            )
    canonical = _register(name, Source.of(source, f"register({name!r})").absolute(), nondeterministic)
    _found.discard(canonical)


def register_known() -> None:
    """Register every name that this machine knows, and forget those that it no longer knows.

    Names passed to `register` stay. A name that cannot be registered is a warning, not an error.
    """
    _register_id(_ANY_SERVER, {}, nondeterministic=True)
    problems: list[str] = []
    servers = known_servers(problems)
    for name in _found:
        for spelling in _spellings(name):
            gym.registry.pop(f"{NAMESPACE}/{spelling}", None)
    _found.clear()
    registered = set(names())
    for server in servers:
        if server.name in registered:
            continue
        try:
            _found.add(_register(server.name, server.source))
        except ConfigurationError as error:
            problems.append(f"{server.known_from}: {error}")
    for problem in problems:
        if problem not in _reported:
            _reported.add(problem)
            warnings.warn(problem, stacklevel=2)


def names() -> list[str]:
    """The names for ``gym.make("openenv/NAME")``, each spelled with hyphens."""
    prefix = f"{NAMESPACE}/"
    ids = [spec_id.removeprefix(prefix) for spec_id in gym.registry if spec_id.startswith(prefix)]
    return sorted({name.replace("_", "-") for name in ids})


def follow_lookups() -> None:
    """Read this machine's names again whenever Gymnasium looks up an id in our namespace.

    So a server that starts after the import is found, at its present address, and an unknown name raises
    `UnknownNameError`. Gymnasium has no hook for that: its registry is a dict. Two functions are wrapped, for
    ids in our namespace only: ``spec``, and the private `_find_spec`, which ``make`` and ``make_vec`` call. A
    Gymnasium without `_find_spec` would still make the names that were known at the last ``spec`` or import.

    In a worker process, a lookup of ``openenv_gym:openenv/NAME`` begins before this module is imported. It
    ends in the private `_check_version_exists`, which is wrapped to explain an unknown name too.
    """
    find_spec = getattr(gymnasium_registration, "_find_spec", None)
    if find_spec is not None:
        gymnasium_registration._find_spec = _refreshing(find_spec)  # type: ignore[assignment]
    check = getattr(gymnasium_registration, "_check_version_exists", None)
    if check is not None:
        gymnasium_registration._check_version_exists = _explaining(check)
    spec = _refreshing(gym.spec)
    for module in (gym, gym.envs, gymnasium_registration):
        module.spec = spec  # type: ignore[attr-defined]


def _refreshing(look_up: Callable[[str], Any]) -> Callable[[str], Any]:
    @wraps(look_up)
    def look_up_fresh(env_id: str) -> Any:
        module, _, name = env_id.rpartition(":")
        if not name.startswith(f"{NAMESPACE}/"):
            return look_up(env_id)
        if module:  # "module:openenv/NAME": the module may register the name
            importlib.import_module(module)
        if name != _ANY_SERVER or name not in gym.registry:
            register_known()
        if name not in gym.registry:
            raise _unknown(name)
        return look_up(name)

    return look_up_fresh


def _explaining(check: Callable[..., None]) -> Callable[..., None]:
    @wraps(check)
    def check_or_explain(ns: str | None, name: str, version: int | None) -> None:
        env_id = gymnasium_registration.get_env_id(ns, name, version)
        if ns == NAMESPACE and env_id not in gym.registry:
            raise _unknown(env_id)
        check(ns, name, version)

    return check_or_explain


def _unknown(env_id: str) -> UnknownNameError:
    name = env_id.removeprefix(f"{NAMESPACE}/")
    known = ", ".join(f"{NAMESPACE}/{known}" for known in names())
    near = get_close_matches(name.replace("_", "-"), names(), n=1)
    meant = f" Did you mean {NAMESPACE}/{near[0]}?" if near else ""
    variable = "".join(c if c.isalnum() else "_" for c in name).upper()
    return UnknownNameError(
        f"Unknown environment {env_id}.{meant} Known names: {known}.",
        advice=f'To add it: openenv_gym.register("{name}", base_url="http://…"), '
        f"`openenv register {name} --url http://…`, OPENENV_{variable}_URL, or `openenv serve` on this "
        'machine. Without a name: gym.make("openenv/remote", base_url="http://…"). In a worker process, '
        f'write "openenv_gym:{env_id}"; it does not know the names of openenv_gym.register in others.',
    )


def _register(name: str, source: Source, nondeterministic: bool = True) -> str:
    canonical = canonical_name(name)
    if canonical == "remote":
        raise ConfigurationError('The name "remote" stands for any server. Choose another name.')
    for spelling in _spellings(canonical):
        _register_id(f"{NAMESPACE}/{spelling}", source.keywords, nondeterministic)
    return canonical


def _spellings(canonical: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((canonical, canonical.replace("-", "_"))))


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
