"""The options of ``openenv serve`` and ``openenv init`` for a Gymnasium environment."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openenv_gym.errors import ConfigurationError

if TYPE_CHECKING:
    from openenv_server.gymnasium_maker import GymnasiumMaker

_EXAMPLE = "For example: --wrap gymnasium.wrappers:AtariPreprocessing --wrap-kwarg frame_skip=4"

GymKwargs = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A keyword argument of the environment."),
]
# One option with two names, because the order of both together counts.
Wraps = Annotated[
    list[str] | None,
    typer.Option(
        "--wrap",
        "--wrap-kwarg",
        metavar="MODULE:CLASS | KEY=VALUE",
        help="--wrap adds a wrapper around those before it; --wrap-kwarg, a keyword argument of the wrapper "
        "before it.",
    ),
]


def gymnasium_maker(gym: str, gym_kwargs: list[str] | None, wraps: list[str] | None) -> GymnasiumMaker:
    """Return what makes the environment of these options.

    Raises:
        ConfigurationError: An option is malformed, or a keyword has no wrapper before it.
    """
    from openenv_server.gymnasium_maker import GymnasiumMaker

    wrappers: list[tuple[str, dict[str, Any]]] = []
    for word in wraps or []:
        if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", word):
            wrappers.append((word, {}))
        elif not re.match(r"[^\W\d]\w*=", word):
            raise ConfigurationError(
                f"--wrap {word}: not of the form MODULE:CLASS or KEY=VALUE.", advice=_EXAMPLE
            )
        elif not wrappers:
            raise ConfigurationError(f"--wrap-kwarg {word} has no --wrap before it.", advice=_EXAMPLE)
        else:
            name, value = _keyword("--wrap-kwarg", word)
            wrappers[-1][1][name] = value
    return GymnasiumMaker(gym, keywords_of(gym_kwargs), wrappers)


def keywords_of(gym_kwargs: list[str] | None) -> dict[str, Any]:
    """Return the values of ``--gym-kwarg`` by name.

    Raises:
        ConfigurationError: One is malformed.
    """
    return dict(_keyword("--gym-kwarg", pair) for pair in gym_kwargs or [])


def _keyword(option: str, pair: str) -> tuple[str, Any]:
    """Parse ``is_slippery=false``. The value is read as JSON, or else kept as a string."""
    name, equals, text = pair.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigurationError(
            f"{option} {pair} is not of the form KEY=VALUE.", advice="For example: is_slippery=false"
        )
    try:
        return name, json.loads(text)
    except ValueError:
        lowered = text.lower()
        return name, {"true": True, "false": False, "none": None}.get(lowered, text)
