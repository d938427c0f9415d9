"""The version of this package."""

from __future__ import annotations

from functools import cache


@cache
def own_version() -> str:
    """Return the installed version; "unknown" if the package was copied instead of installed."""
    from importlib.metadata import PackageNotFoundError, version  # takes long to import

    try:
        return version("openenv-gym")
    except PackageNotFoundError:
        return "unknown"
