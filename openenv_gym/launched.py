"""What ``gym.make`` and ``gym.make_vec`` make: remote environments whose server may come with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openenv_gym.env import RemoteEnv
from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.keywords import refuse_unknown
from openenv_gym.providers.launching import Launch, Options, provider_of
from openenv_gym.sources import Source
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.vector import RemoteVectorEnv
from openenv_gym.vector.server_pool import Addresses


class LaunchedEnv(RemoteEnv):
    """A `RemoteEnv` that names its server in any way.

    What is started for it asks for the key that it shows, and is stopped when it is closed. A copy and a
    pickle use the server of the original, and do not stop it.

    Args:
        base_url: The server's address; or one of the five that follow.
        path: An environment's folder, served from a process of its own.
        gym: The id of a Gymnasium environment, served from a process of its own.
        app: The import path of an application, ``module:attribute``, served from a process of its own.
        image: A container image.
        space: A Space of the Hugging Face Hub, ``owner/name``.
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
        path: str | Path | None = None,
        gym: str | None = None,
        app: str | None = None,
        image: str | None = None,
        space: str | None = None,
        provider_options: Options | None = None,
        **keywords: Any,
    ) -> None:
        refuse_unknown(keywords, RemoteEnv)
        given = {"path": path, "gym": gym, "app": app, "image": image, "space": space}
        self._launch: Launch | None = _launch(base_url, given, 1, provider_options, keywords)
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
        path: An environment's folder, served from a process of its own.
        gym: The id of a Gymnasium environment, served from a process of its own.
        app: The import path of an application, ``module:attribute``, served from a process of its own.
        image: A container image.
        space: A Space of the Hugging Face Hub, ``owner/name``.
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
        path: str | Path | None = None,
        gym: str | None = None,
        app: str | None = None,
        image: str | None = None,
        space: str | None = None,
        replicas: int = 1,
        provider: str | None = None,
        provider_options: Options | None = None,
        **keywords: Any,
    ) -> None:
        refuse_unknown(keywords, RemoteVectorEnv)
        given = {"path": path, "gym": gym, "app": app, "image": image, "space": space}
        self._launch: Launch | None = None
        if base_url is not None and not isinstance(base_url, str):
            started = (*given.values(), provider, provider_options)
            if replicas != 1 or any(value is not None for value in started):
                raise ConfigurationError(
                    "The servers of several base URLs run already; nothing goes with them"
                )
            super().__init__(base_url, num_envs, **keywords)
            return
        self._launch = launch = _launch(
            base_url, given, num_envs, provider_options, keywords, replicas=replicas, provider=provider
        )
        try:
            # What runs already stays where it is.
            addresses = launch.addresses if base_url is None else base_url
            super().__init__(addresses, num_envs, **_with_headers(keywords, launch))
        except BaseException:
            launch.stop()
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


def _launch(
    base_url: str | None,
    given: Mapping[str, str | Path | None],
    sessions: int,
    options: Options | None,
    keywords: Mapping[str, Any],
    *,
    replicas: int = 1,
    provider: str | None = None,
) -> Launch:
    is_given = any(value is not None for value in given.values())
    if base_url is None and not is_given:
        raise ConfigurationError(
            'openenv/remote needs the server: gym.make("openenv/remote", base_url="http://localhost:8000"), '
            'or the folder of an environment to serve: gym.make("openenv/remote", path="./my_env"), '
            "or one of gym=, app=, image= and space="
        )
    if base_url is not None and not is_given:
        source = Source("base_url", base_url)  # what it may be is the endpoint's to say
    else:
        source = Source.of({"base_url": base_url, **given}, "The environment")
    key = key_to_ask_for(keywords.get("api_key"), keywords.get("headers"))
    return Launch(
        provider_of(source, sessions, replicas=replicas, provider=provider, options=options, api_key=key)
    )


def _with_headers(keywords: dict[str, Any], launch: Launch) -> dict[str, Any]:
    """The keywords, and among them the headers that the server needs."""
    if not launch.headers:
        return keywords
    return {**keywords, "headers": {**launch.headers, **(keywords.get("headers") or {})}}
