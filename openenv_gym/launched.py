"""What ``gym.make`` and ``gym.make_vec`` make: remote environments whose server may come with them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from openenv_gym.env import RemoteEnv
from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.providers.managed import ManagedServers, ProviderChoice, check_keywords, start_servers
from openenv_gym.providers.sources import SOURCES, Source
from openenv_gym.vector import RemoteVectorEnv
from openenv_gym.vector.server_pool import Addresses


class LaunchedEnv(RemoteEnv):
    """A `RemoteEnv` that names its server in any way.

    What is started for it asks for the key that it shows, and is stopped when it is closed. A copy and a
    pickle use the server of the original, and do not stop it.

    Args:
        base_url: The server's address; or one of the five that follow.
        provider_options: Further keywords of what starts the server: of `ProcessProvider` for a folder, a
            Gymnasium id (``{"gym_kwargs": {"is_slippery": False}}``) and an application, of `DockerProvider`
            for an image (``{"memory": "2g"}``), of `HubProvider` for a Space.
        **keywords: Those of `RemoteEnv`.

    Raises:
        ConfigurationError: None of the six, or several, or a keyword that there is not; and what `RemoteEnv`
            raises.

    Example:
        >>> env = gym.make("openenv/remote", path="./my_env")
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        provider: ProviderChoice | None = None,
        provider_options: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        sources = {name: keywords.pop(name) for name in SOURCES if name in keywords}
        vector_only = ("replicas", *signature(RemoteVectorEnv).parameters)
        known = (*signature(RemoteEnv).parameters, "provider", "provider_options")
        check_keywords(keywords, known, vector_only=vector_only)
        self._launch = _start(
            base_url, sources, 1, keywords, provider=provider, provider_options=provider_options
        )
        if self._launch is None:
            super().__init__(base_url, **keywords)
            return
        try:
            super().__init__(self._launch.base_url, **_with_headers(keywords, self._launch))
        except BaseException:
            self._launch.stop()
            raise

    def close(self) -> None:
        try:
            super().close()
        finally:
            if self._launch is not None:
                self._launch.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_launch": None}

    def _explain(self, error: OpenEnvError) -> None:
        if self._launch is not None:
            self._launch.explain(error)


class LaunchedVectorEnv(RemoteVectorEnv):
    """A `RemoteVectorEnv` that names its servers in any way, as `LaunchedEnv` does.

    Args:
        base_url: The server's address, or several ones, as in `RemoteVectorEnv`; or one of the five that
            follow ``num_envs``.
        num_envs: The number of slots.
        replicas: How many servers are started, which share the slots.
        provider: "ray" starts them on the nodes of a Ray cluster; needs ``path``, ``gym`` or ``app``.
        provider_options: As in `LaunchedEnv`; with Ray those of `RayProvider`.
        **keywords: Those of `RemoteVectorEnv`.

    Raises:
        ConfigurationError: None of the six, or several, or a keyword that there is not; and what
            `RemoteVectorEnv` raises.

    Example:
        >>> envs = gym.make_vec("openenv/remote", 512, path="./my_env", replicas=8, provider="ray")
    """

    def __init__(
        self,
        base_url: Addresses | None = None,
        num_envs: int = 1,
        *,
        replicas: int = 1,
        provider: ProviderChoice | None = None,
        provider_options: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        sources = {name: keywords.pop(name) for name in SOURCES if name in keywords}
        known = (*signature(RemoteVectorEnv).parameters, "replicas", "provider", "provider_options")
        check_keywords(keywords, known)
        self._launch = _start(
            base_url,
            sources,
            num_envs,
            keywords,
            replicas=replicas,
            provider=provider,
            provider_options=provider_options,
        )
        if self._launch is None:
            super().__init__(base_url, num_envs, **keywords)
            return
        try:
            super().__init__(self._launch.addresses, num_envs, **_with_headers(keywords, self._launch))
        except BaseException:
            self._launch.stop()
            raise

    def close_extras(self, **kwargs: Any) -> None:
        try:
            super().close_extras(**kwargs)
        finally:
            if self._launch is not None:
                self._launch.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_launch": None}

    def _explain(self, error: OpenEnvError) -> None:
        if self._launch is not None:
            self._launch.explain(error)


def _start(
    base_url: Addresses | None,
    sources: Mapping[str, object],
    sessions: int,
    keywords: Mapping[str, Any],
    **options: Any,
) -> ManagedServers | None:
    """Start servers, unless they run already."""
    is_given = any(value is not None for value in sources.values())
    if base_url is None and not is_given:
        raise ConfigurationError(
            "openenv/remote needs the server.",
            advice='If it runs: gym.make("openenv/remote", base_url="http://localhost:8000"). To serve '
            'a folder: gym.make("openenv/remote", path="./my_env"). '
            f"Name one of {', '.join(f'{keyword}=' for keyword in SOURCES)}.",
        )
    if base_url is None:
        return start_servers(
            sessions=sessions,
            sources=sources,
            api_key=keywords.get("api_key"),
            headers=keywords.get("headers"),
            **options,
        )
    if is_given:
        Source.of({"base_url": base_url, **sources}, "The environment")
    if options.pop("replicas", 1) != 1 or any(value is not None for value in options.values()):
        raise ConfigurationError(
            f"{base_url} runs already, so replicas=, provider= and provider_options= have no use"
        )
    return None


def _with_headers(keywords: dict[str, Any], servers: ManagedServers) -> dict[str, Any]:
    """The keywords, with the headers that the server needs."""
    if not servers.headers:
        return keywords
    return {**keywords, "headers": {**servers.headers, **(keywords.get("headers") or {})}}
