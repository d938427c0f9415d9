"""The options for a Space's settings, which ``openenv push`` and ``openenv fork`` share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Annotated

import typer

from openenv_gym.errors import ConfigurationError

Private = Annotated[bool, typer.Option("--private", help="Make the Space private.")]
Hardware = Annotated[
    str | None, typer.Option("--hardware", "-H", help="The Space's hardware, such as t4-small.")
]
EnvVar = Annotated[
    list[str] | None,
    typer.Option(
        "--env-var",
        "--set-env",
        "-e",
        metavar="KEY=VALUE",
        help="An environment variable; visible to everyone.",
    ),
]
Secret = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        "--set-secret",
        "-s",
        metavar="KEY[=VALUE]",
        help="A secret. KEY alone takes the value from your environment.",
    ),
]

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_variables_and_secrets(
    variables: Iterable[str], secrets: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Parse ``--env-var`` and ``--secret``.

    Raises:
        ConfigurationError: An invalid or duplicate key, or a variable that is not set. No message contains
            a value.
    """
    public, private = _read_pairs("--env-var", variables), _read_pairs("--secret", secrets)
    both = sorted(public.keys() & private.keys())
    if both:
        raise ConfigurationError(
            f"{both[0]} is passed both as --env-var, which is public, and as --secret.", advice="Choose one."
        )
    return public, private


def _read_pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """Parse ``KEY=VALUE`` options; ``KEY`` alone takes the value of that environment variable."""
    pairs = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not _KEY.fullmatch(key):
            shown = f"{key[:20]}…" if len(key) > 20 else key
            raise ConfigurationError(
                f"{option} {shown}: the form is KEY=VALUE, with letters, digits and '_' in the key.",
                advice=f"For example: {option} API_KEY=abc",
            )
        if not equals:
            if key not in os.environ:
                raise ConfigurationError(
                    f"{option} {key}: the variable {key} is not set.",
                    advice=f"Set it, or write {option} {key}=VALUE",
                )
            value = os.environ[key]
        pairs[key] = value
    return pairs
