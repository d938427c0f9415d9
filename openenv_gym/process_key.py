"""The keys of this process, from its environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from openenv_gym.errors import ConfigurationError
from openenv_gym.wire import bearer

_kept: dict[str, str] = {}


def secret(variable: str) -> str | None:
    """Return the value of one of `bearer.SECRETS`, which may be kept in memory only."""
    return os.environ.get(variable, _kept.get(variable))


def process_key() -> str | None:
    """Return the key that clients send: the first of `OPENENV_API_KEY`, or of `OPENENV_API_KEY_FILE`.

    Raises:
        ConfigurationError: The file cannot be used.
    """
    text = secret(bearer.VARIABLE)
    if text is not None:
        return next(iter(bearer.keys_in(text)), "")
    path = secret(bearer.FILE_VARIABLE)
    return None if path is None else read_key_file(path)[0]


def read_key_file(path: str | Path) -> list[str]:
    """Read the keys in a file, one a line.

    Raises:
        ConfigurationError: It cannot be read, or has none or something else. The message contains no key.
    """
    try:
        keys = bearer.keys_in(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{bearer.FILE_VARIABLE}: {path} cannot be read ({error}).") from None
    if not keys or not all(map(bearer.is_key, keys)):
        raise ConfigurationError(f"{bearer.FILE_VARIABLE}: {path} is not a file of keys. {bearer.A_KEY}.")
    return keys


def keep_secrets(secrets: Mapping[str, str]) -> None:
    """Keep secrets in memory only: processes that start from now on do not inherit them.

    A server does so before it makes an environment, whose own processes must not have the keys.

    Args:
        secrets: The values of `bearer.SECRETS`; one that is missing is forgotten.
    """
    _kept.clear()
    _kept.update(secrets)
    for name in [name for name in os.environ if name.upper() in bearer.SECRETS]:
        del os.environ[name]
