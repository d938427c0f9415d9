"""What a Dockerfile starts from, and which arguments it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping

_INSTRUCTION = re.compile(r"^\s*(ARG|FROM)\s+(.*)$", re.IGNORECASE)
_ARGUMENT = re.compile(r"(\w+)(?:=(\"[^\"]*\"|'[^']*'|\S*))?")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-+]([^}]*))?\})")


def declared_arguments(dockerfile: str) -> set[str]:
    """The names of a Dockerfile's build arguments.

    Args:
        dockerfile: Its text.
    """
    return {name for kind, rest in _instructions(dockerfile) if kind == "ARG" for name in _arguments(rest)}


def images_to_start_from(dockerfile: str, build_args: Mapping[str, str]) -> set[str]:
    """The images that a Dockerfile's stages start from, without the stages themselves.

    Args:
        dockerfile: Its text.
        build_args: The build's arguments, which go before the Dockerfile's own values.
    """
    values: dict[str, str] = {}
    images: set[str] = set()
    stages: set[str] = set()
    for kind, rest in _instructions(dockerfile):
        # Only arguments before the first FROM count for a FROM.
        if kind == "ARG" and not stages and not images:
            for name, default in _arguments(rest).items():
                values[name] = build_args.get(name, _fill_in(default, values))
        elif kind == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            image = _fill_in(words[0], values) if words else ""
            if image.lower() not in stages:
                images.add(image)
            if len(words) == 3 and words[1].lower() == "as":
                stages.add(words[2].lower())
    return images


def _instructions(dockerfile: str) -> list[tuple[str, str]]:
    without_comments = re.sub(r"^\s*#.*\n?", "", dockerfile, flags=re.MULTILINE)
    lines = re.sub(r"\\[ \t]*\n", " ", without_comments).splitlines()
    return [(match[1].upper(), match[2]) for line in lines if (match := _INSTRUCTION.match(line))]


def _arguments(text: str) -> dict[str, str]:
    """``A=1 B`` as names and values."""
    return {match[1]: (match[2] or "").strip("\"'") for match in _ARGUMENT.finditer(text)}


def _fill_in(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2]) or match[3] or "", text)
