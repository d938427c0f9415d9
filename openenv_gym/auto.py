"""`AutoEnv` and `AutoAction`: the client and the action class of an installed environment, by its name.

An environment is installed if a distribution named ``openenv-NAME`` is; its classes are in ``NAME.client``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module, invalidate_caches, resources
from importlib.metadata import PackageNotFoundError, distribution, distributions
from typing import Any

from openenv_gym.client import EnvClient
from openenv_gym.errors import ConfigurationError, EndpointUnreachableError
from openenv_gym.generic_client import GenericAction, GenericEnvClient
from openenv_gym.manifest import MANIFEST
from openenv_gym.providers.hub_spaces import space_id, trusts_remote_code
from openenv_gym.providers.managed import did_you_mean
from openenv_gym.providers.server_command import find_uv
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_health
from openenv_gym.transport.routes import is_on_this_machine

_NOT_ENVIRONMENTS = {"openenv-core", "openenv-gym"}
_LINE = re.compile(r"^(\w+):[ \t]*[\"']?([^\"'#\n]+?)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
_HEALTH_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class _Installed:
    """An installed environment."""

    env_key: str
    name: str
    package: str
    version: str
    description: str
    env_class: str
    action_class: str
    observation_class: str
    module: str
    default_image: str
    spec_version: int | None

    def load(self, class_name: str) -> type[Any]:
        """Import a class of the environment; capital letters in its name do not matter.

        Raises:
            ImportError: The module cannot be imported, or has no such class.
        """
        module = import_module(self.module)
        names = {name.lower(): name for name in dir(module)}
        if class_name.lower() not in names:
            raise ImportError(f"{self.module} of the package {self.package} has no class {class_name}")
        found: type[Any] = getattr(module, names[class_name.lower()])
        return found


class AutoEnv:
    """Makes the client of an environment that is known by name.

    Example:
        >>> client = AutoEnv.from_env("echo", base_url="http://localhost:8000")
        >>> client = AutoEnv.from_env("my-org/my-env", skip_install=True)  # a Space, with plain dicts
    """

    def __init__(self) -> None:
        raise TypeError("AutoEnv is not instantiated; call AutoEnv.from_env(name)")

    @classmethod
    def from_env(
        cls,
        name: str,
        base_url: str | None = None,
        docker_image: str | None = None,
        container_provider: Any = None,
        wait_timeout: float = 30.0,
        env_vars: Mapping[str, str] | None = None,
        trust_remote_code: bool = False,
        skip_install: bool = False,
        **kwargs: Any,
    ) -> EnvClient[Any, Any, Any]:
        """Make a client of an environment, with the environment's own classes.

        Args:
            name: The environment (``echo``, ``echo-env`` and ``echo_env`` are the same), or a Space
                (``my-org/my-env``, or the URL of its page), whose package is installed if it is missing.
            base_url: A running server. If nothing answers there and it is this machine, a container is
                started.
            docker_image: The image to start. Default: ``NAME-env:latest``; for a Space, its own server.
            container_provider: What starts the container, if it is not Docker.
            wait_timeout: The time for a container to become ready, in seconds.
            env_vars: Variables for the container.
            trust_remote_code: Allow to install a Space's package, which runs its code on this machine. The
                variable ``OPENENV_TRUST_REMOTE_CODE=1`` allows it too.
            skip_install: Install and import nothing: make a `GenericEnvClient`, with plain dicts.
            **kwargs: Further keywords of the client.

        Raises:
            ConfigurationError: The environment is not installed, or may not be.
            ImportError: Its package cannot be imported.
            EndpointUnreachableError: Nothing answers at ``base_url``.
            OpenEnvError: The server cannot be started.
        """
        client: type[EnvClient[Any, Any, Any]] = GenericEnvClient
        image = docker_image
        if not skip_install:
            found = _find(_installed_from_hub(name, trust_remote_code) if _is_space(name) else name)
            client = found.load(found.env_class)
            if image is None and not _is_space(name):
                image = found.default_image
        if base_url is not None:
            endpoint = Endpoint.parse(base_url)
            try:
                get_health(endpoint, timeout_s=_HEALTH_TIMEOUT_S)
            except EndpointUnreachableError:
                if skip_install or image is None or not is_on_this_machine(endpoint.base_url):
                    raise
            else:
                return client(base_url=base_url, **kwargs)
        if image is not None:
            provider = {} if container_provider is None else {"provider": container_provider}
            options = {
                **provider,
                "ready_timeout_s": wait_timeout,
                "env_vars": dict(env_vars or {}),
                **kwargs,
            }
            return client.from_docker_image(image, **options).sync().async_client
        if _is_space(name):
            return client.from_hub(space_id(name), **kwargs).sync().async_client
        raise ConfigurationError(
            f"With skip_install=True, {name!r} is only a name.", advice="Pass base_url= or docker_image= too."
        )

    from_hub = from_env

    @classmethod
    def get_env_class(cls, name: str) -> type[EnvClient[Any, Any, Any]]:
        """Return the class of an environment's client.

        Raises:
            ConfigurationError: The environment is not installed.
            ImportError: Its package cannot be imported.
        """
        found = _find(name)
        return found.load(found.env_class)

    @classmethod
    def get_env_info(cls, name: str) -> dict[str, Any]:
        """Return what is known of an environment: its package, version, module, classes and image.

        Raises:
            ConfigurationError: The environment is not installed.
        """
        return asdict(_find(name))

    @classmethod
    def list_environments(cls) -> None:
        """Print the installed environments."""
        for found in _all().values():
            print(f"{found.env_key}: {found.description} ({found.package} {found.version})")


class AutoAction:
    """Finds the action class of an environment that is known by name.

    Example:
        >>> EchoAction = AutoAction.from_env("echo")
        >>> action = EchoAction(message="hello")
    """

    def __init__(self) -> None:
        raise TypeError("AutoAction is not instantiated; call AutoAction.from_env(name)")

    @classmethod
    def from_env(cls, name: str, skip_install: bool = False) -> type[Any]:
        """Return the class of an environment's actions.

        Args:
            name: As in `AutoEnv.from_env`.
            skip_install: Install and import nothing: return `GenericAction`.

        Raises:
            ConfigurationError: The environment is not installed, or may not be.
            ImportError: Its package cannot be imported.
        """
        if skip_install:
            return GenericAction
        found = _find(_installed_from_hub(name, False) if _is_space(name) else name)
        return found.load(found.action_class)

    @classmethod
    def from_hub(cls, env_name: str, skip_install: bool = False) -> type[Any]:
        """Return the class of an environment's actions, as `from_env` does."""
        return cls.from_env(env_name, skip_install)

    @classmethod
    def get_action_info(cls, name: str) -> dict[str, Any]:
        """Return the names of an environment's classes, and where they are.

        Raises:
            ConfigurationError: The environment is not installed.
        """
        found = asdict(_find(name))
        kept = ("env_key", "package", "action_class", "observation_class", "module")
        return {"env_name": found["name"], **{part: found[part] for part in kept}}

    @classmethod
    def list_actions(cls) -> None:
        """Print the action classes of the installed environments."""
        for found in _all().values():
            print(f"{found.env_key}: {found.action_class} ({found.package})")


def _is_space(name: str) -> bool:
    return "/" in name


def _key(name: str) -> str:
    return name.lower().replace("-", "_").removesuffix("_env")


def _find(name: str) -> _Installed:
    known = _all()
    if _key(name) not in known:
        listed = ", ".join(known) or "none"
        raise ConfigurationError(
            f"The environment {name!r} is not installed; these are: {listed}."
            + did_you_mean(_key(name), known, "{!r}"),
            advice=f"Install it, as in `pip install openenv-{_key(name)}-env`, or name a Space, OWNER/NAME.",
        )
    return known[_key(name)]


def _all() -> dict[str, _Installed]:
    invalidate_caches()
    found = {}
    for each in distributions():
        package = each.metadata["Name"] or ""
        if re.match("openenv[-_]", package) and package.replace("_", "-").lower() not in _NOT_ENVIRONMENTS:
            environment = _describe(package, each.version)
            found[environment.env_key] = environment
    return dict(sorted(found.items()))


def _describe(package: str, version: str) -> _Installed:
    module = re.sub("[-.]", "_", package[len("openenv-") :])
    manifest = _manifest(module)
    key = _key(manifest.get("name", module))
    prefix = "".join(word.capitalize() for word in key.split("_"))
    return _Installed(
        env_key=key,
        name=f"{key}_env",
        package=package,
        version=version,
        description=manifest.get("description", f"{key}_env environment"),
        env_class=f"{prefix}Env",
        action_class=manifest.get("action", f"{prefix}Action"),
        observation_class=manifest.get("observation", f"{prefix}Observation"),
        module=f"{module}.client",
        default_image=f"{key.replace('_', '-')}-env:latest",
        spec_version=int(manifest["spec_version"]) if manifest.get("spec_version", "").isdigit() else None,
    )


def _manifest(module: str) -> dict[str, str]:
    """The plain lines of a package's ``openenv.yaml``; no YAML parser may be installed."""
    try:
        return dict(_LINE.findall((resources.files(module) / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ModuleNotFoundError, TypeError):
        return {}


def _installed_from_hub(name: str, is_trusted: bool) -> str:
    """Install a Space's package, if it is missing; return the environment's name."""
    repo_id = space_id(name)
    key = _key(repo_id.split("/")[1])
    for package in (f"openenv-{key}-env", f"openenv-{key}"):
        try:
            distribution(package)
        except PackageNotFoundError:
            continue
        return key
    url = f"git+{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/spaces/{repo_id}"
    if not (is_trusted or trusts_remote_code()):
        raise ConfigurationError(
            f"The package of the Space {repo_id} is not installed, and installing it runs its code on this "
            "machine, as you.",
            advice="Look at its files on the Hub, and pass trust_remote_code=True if you trust it, or set "
            "OPENENV_TRUST_REMOTE_CODE=1. skip_install=True needs no package.",
        )
    before = set(_all())
    uv = find_uv()
    pip = [uv, "pip", "install", "-p", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    done = subprocess.run([*pip, url], capture_output=True, text=True)
    if done.returncode:
        raise ConfigurationError(
            f"{url} cannot be installed.",
            advice="Install it by hand to see more, or pass skip_install=True, which needs no package.",
            log=(done.stderr or done.stdout)[-1000:],
        )
    added = set(_all()) - before
    return added.pop() if len(added) == 1 else key
