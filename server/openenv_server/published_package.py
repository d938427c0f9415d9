"""Serve applications that are written against the published `openenv` package with this server.

Where that package is installed, ``openenv`` is its name: the application's environment, its models and
`create_app` are from there. Only one class is replaced, `HTTPEnvServer`, which makes all routes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType

from openenv_gym.errors import ConfigurationError
from openenv_server.app import EnvironmentServer

_MODULE = "openenv.core.env_server.http_server"


def use_this_server() -> None:
    """Make the published `create_app` use this server, if something imports it from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def check_published_package() -> None:
    """Raise a `ConfigurationError` if the published package is not installed."""
    try:
        distribution("openenv")
    except PackageNotFoundError as error:
        raise ConfigurationError(
            "The published package is not installed here, so its server cannot be used.",
            advice="Run: pip install openenv",
        ) from error


class _Finder(MetaPathFinder):
    """Finds the published module of the server."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == _MODULE else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Loads that module, and replaces its server."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        vars(module)["HTTPEnvServer"] = EnvironmentServer
