"""``KEY=VALUE`` options: the variables and secrets of a Space."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from openenv_gym.errors import ConfigurationError

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """Reads options such as ``--secret API_KEY=abc``. ``API_KEY`` alone takes that variable's value.

    Args:
        option: The option's name, for messages.
        given: What it was given.

    Raises:
        ConfigurationError: A key that no variable can have, or one that is not set. No message has a value.
    """
    pairs = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not _KEY.fullmatch(key):
            shown = f"{key[:20]}…" if len(key) > 20 else key
            raise ConfigurationError(
                f"{option} {shown}: write it as KEY=VALUE; a key has letters, digits and '_', as in API_KEY"
            )
        if not equals:
            if key not in os.environ:
                raise ConfigurationError(
                    f"{option} {key}: the variable {key} is not set. Set it, or write {option} {key}=VALUE"
                )
            value = os.environ[key]
        pairs[key] = value
    return pairs


def read_variables_and_secrets(
    variables: Iterable[str], secrets: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Reads ``--env-var`` and ``--secret``, each as `read_pairs` does.

    Raises:
        ConfigurationError: As `read_pairs` does, and where one key is both.
    """
    public, private = read_pairs("--env-var", variables), read_pairs("--secret", secrets)
    both = sorted(public.keys() & private.keys())
    if both:
        raise ConfigurationError(
            f"{both[0]} is given as --env-var, which everybody can read, and as --secret: choose one"
        )
    return public, private
