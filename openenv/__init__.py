"""The import paths of the published package, for those who have openenv-gym alone: re-exports only."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openenv import cli, core
    from openenv_gym.auto import AutoAction, AutoEnv
    from openenv_gym.generic_client import GenericAction, GenericEnvClient
    from openenv_gym.sync_client import SyncEnvClient

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

_HOMES = {
    "AutoAction": "auto",
    "AutoEnv": "auto",
    "GenericAction": "generic_client",
    "GenericEnvClient": "generic_client",
    "SyncEnvClient": "sync_client",
}


def __getattr__(name: str) -> Any:
    """Import what is first used."""
    if name in {"cli", "core"}:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"openenv_gym.{_HOMES[name]}"), name)
