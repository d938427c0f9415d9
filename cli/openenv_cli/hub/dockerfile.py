"""Changes to a Dockerfile: the image it starts from, and the web interface."""

from __future__ import annotations

import re

from openenv_gym.errors import ConfigurationError

# A public image for those who cannot see the local one.
PUBLIC_BASE = "python:3.12-slim"
_LOCAL_BASE = re.compile(r"openenv-base(:[\w.-]+)?")
_FROM = re.compile(
    r"^(?P<before>[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*)(?P<image>\S+)"
    r"(?P<after>(?:[ \t]+AS[ \t]+(?P<stage>\S+))?[ \t]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_ARGUMENT = re.compile(r"^[ \t]*ARG[ \t]+(\w+)=[\"']?([^\"'\s]+)[\"']?", re.IGNORECASE | re.MULTILINE)
_REFERENCE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")


def with_base(text: str, image: str) -> str:
    """The Dockerfile with another image to start from.

    It is that of the last stage; other stages that start from the same one follow, and those that start from
    an image of their own stay.

    Raises:
        ConfigurationError: It has no FROM.
    """
    stages = list(_FROM.finditer(text))
    if not stages:
        raise ConfigurationError("The Dockerfile has no FROM, so --base-image has nothing to replace")
    by_name = {match["stage"].lower(): match["image"] for match in stages if match["stage"]}
    old = stages[-1]["image"]
    while old.lower() in by_name:
        old = by_name.pop(old.lower())
    return _replaced(text, {old}, image)


def without_local_base(text: str) -> tuple[str, bool]:
    """The Dockerfile with `PUBLIC_BASE` for ``openenv-base``, and whether it was there."""
    first_stage = _FROM.search(text)
    defaults = dict(_ARGUMENT.findall(text[: first_stage.start()])) if first_stage else {}
    local = {
        match["image"]
        for match in _FROM.finditer(text)
        if _LOCAL_BASE.fullmatch(_resolved(match["image"], defaults))
    }
    return _replaced(text, local, PUBLIC_BASE), bool(local)


def with_interface(text: str, is_on: bool) -> str:
    """The Dockerfile with the web interface on or off. The last ENV of an image counts, so it comes last."""
    return f"{text.rstrip()}\n\nENV ENABLE_WEB_INTERFACE={str(is_on).lower()}\n"


def _replaced(text: str, old: set[str], new: str) -> str:
    def renewed(match: re.Match[str]) -> str:
        return f"{match['before']}{new}{match['after']}" if match["image"] in old else match[0]

    return _FROM.sub(renewed, text)


def _resolved(image: str, defaults: dict[str, str]) -> str:
    """The image with the defaults of the arguments in it."""
    return _REFERENCE.sub(lambda match: defaults.get(match[1] or match[3], match[2] or ""), image)
