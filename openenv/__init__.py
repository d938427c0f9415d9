"""The import paths of the published package, for those who have openenv-gym alone: re-exports only."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openenv import cli, core
    from openenv_gym.auto import AutoAction, AutoEnv
    from openenv_gym.client import GenericAction, GenericEnvClient, SyncEnvClient

__all__ = [
    "AutoAction",
    "AutoEnv",
    "GenericAction",
    "GenericEnvClient",
    "SyncEnvClient",
    "cli",
    "core",
]

__version__ = version("openenv-gym")


def __getattr__(name: str) -> Any:
    """Import what is first used."""
    if name in {"cli", "core"}:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "auto" if name.startswith("Auto") else "client"
    return getattr(import_module(f"openenv_gym.{home}"), name)
