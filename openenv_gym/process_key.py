"""The key of this process, from the environment variable `OPENENV_API_KEY`."""

from __future__ import annotations

import os

from openenv_gym.wire import bearer

_kept: str | None = None


def process_key() -> str | None:
    """Return the key: the variable's value, or the one that `keep_key` keeps."""
    return os.environ.get(bearer.VARIABLE, _kept)


def keep_key(key: str | None) -> None:
    """Keep the key in memory only: processes that start from now on do not inherit it.

    A server does so before it makes an environment, whose own processes must not have the key.

    Args:
        key: The key; None for none.
    """
    global _kept
    _kept = key
    for name in [name for name in os.environ if name.upper() == bearer.VARIABLE]:
        del os.environ[name]
