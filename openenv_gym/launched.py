"""What ``gym.make`` and ``gym.make_vec`` make: remote environments whose server may come with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openenv_gym.env import RemoteEnv
from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.launching import Launch, Options, provider_of
from openenv_gym.sources import Source
from openenv_gym.vector import RemoteVectorEnv


class LaunchedEnv(RemoteEnv):
    """A `RemoteEnv` that names its server in any way.

    What is started for it is stopped when it is closed. A copy and a pickle use the server of the original,
    and do not stop it.

    Args:
        base_url: The server's address; or one of the three that follow.
        path: An environment's folder, served from a process of its own.
        image: A container image.
        space: A Space of the Hugging Face Hub, ``owner/name``.
        provider_options: Further keywords of what starts the server: of `ProcessProvider` for a folder, of
            `DockerProvider` for an image (``{"memory": "2g"}``), of `HubProvider` for a Space.
        **keywords: Those of `RemoteEnv`.

    Raises:
        ConfigurationError: None of the four, or several; and what `RemoteEnv` raises.

    Example:
        >>> env = gym.make("openenv/remote", path="./my_env")
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        path: str | Path | None = None,
        image: str | None = None,
        space: str | None = None,
        provider_options: Options | None = None,
        **keywords: Any,
    ) -> None:
        self._launch: Launch | None = _launch(base_url, path, image, space, 1, provider_options)
        try:
            super().__init__(self._launch.base_url, **_with_headers(keywords, self._launch))
        except BaseException:
            self._launch.stop()
            raise

    def close(self) -> None:
        super().close()
        if self._launch is not None:
            self._launch.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_launch": None}


class LaunchedVectorEnv(RemoteVectorEnv):
    """A `RemoteVectorEnv` that names its server in any way, as `LaunchedEnv` does; one server for all slots.

    Args:
        base_url: The server's address; or one of the three that follow ``num_envs``.
        num_envs: The number of slots.
        path: An environment's folder, served from a process of its own.
        image: A container image.
        space: A Space of the Hugging Face Hub, ``owner/name``.
        provider_options: As in `LaunchedEnv`.
        **keywords: Those of `RemoteVectorEnv`.

    Raises:
        ConfigurationError: None of the four, or several; and what `RemoteVectorEnv` raises.
    """

    def __init__(
        self,
        base_url: str | None = None,
        num_envs: int = 1,
        *,
        path: str | Path | None = None,
        image: str | None = None,
        space: str | None = None,
        provider_options: Options | None = None,
        **keywords: Any,
    ) -> None:
        self._launch: Launch | None = _launch(base_url, path, image, space, num_envs, provider_options)
        try:
            super().__init__(self._launch.base_url, num_envs, **_with_headers(keywords, self._launch))
        except BaseException:
            self._launch.stop()
            raise

    def close_extras(self, **kwargs: Any) -> None:
        super().close_extras(**kwargs)
        if self._launch is not None:
            self._launch.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_launch": None}


def _launch(
    base_url: str | None,
    path: str | Path | None,
    image: str | None,
    space: str | None,
    sessions: int,
    options: Options | None,
) -> Launch:
    given = {"base_url": base_url, "path": path, "image": image, "space": space}
    if not any(value is not None for value in given.values()):
        raise ConfigurationError(
            'openenv/remote needs the server: gym.make("openenv/remote", base_url="http://localhost:8000"), '
            'or the folder of an environment to serve: gym.make("openenv/remote", path="./my_env")'
        )
    if base_url is not None and path is None and image is None and space is None:
        source = Source("base_url", base_url)  # what it may be is the endpoint's to say
    else:
        source = Source.of(given, "The environment")
    return Launch(provider_of(source, sessions, options=options))


def _with_headers(keywords: dict[str, Any], launch: Launch) -> dict[str, Any]:
    """The keywords, and among them the headers that the server needs."""
    if not launch.headers:
        return keywords
    return {**keywords, "headers": {**launch.headers, **(keywords.get("headers") or {})}}
