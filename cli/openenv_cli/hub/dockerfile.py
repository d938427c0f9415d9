"""Changes to a Dockerfile: the image it starts from, and the web interface."""

from __future__ import annotations

import re

from openenv_cli.docker.dockerfile import Stage, first_stages, read_dockerfile, read_stages
from openenv_gym.errors import ConfigurationError

_BASE_STAGE = "openenv-base"
_LOCAL_BASE = re.compile(r"openenv-base(:[\w.-]+)?")


def with_base(text: str, image: str) -> str:
    """The Dockerfile with another image to start from.

    It is that of the last stage; other stages that start from the same one follow, and those that start from
    an image of their own stay.

    Raises:
        ConfigurationError: It has no FROM.
    """
    stages = read_stages(read_dockerfile(text))
    if not stages:
        raise ConfigurationError("The Dockerfile has no FROM, so --base-image has nothing to replace")
    by_name = {stage.name: stage for stage in stages if stage.name}
    last = stages[-1]
    while last.image.lower() in by_name:
        last = by_name.pop(last.image.lower())
    return _starting_from(image, text, [stage for stage in stages if stage.written == last.written])


def with_base_inside(text: str, base: str) -> tuple[str, bool]:
    """The Dockerfile with ``openenv-base`` as a stage of its own, and whether it started from that.

    Args:
        text: The Dockerfile.
        base: The Dockerfile of ``openenv-base``, of one stage.
    """
    stages = read_stages(read_dockerfile(text))
    local = [stage for stage in first_stages(stages) if _LOCAL_BASE.fullmatch(stage.image)]
    if not local:
        return text, False
    (its_own,) = read_stages(read_dockerfile(base))
    base = _starting_from(f"{its_own.written} AS {_BASE_STAGE}", base, [its_own])
    lines = _starting_from(_BASE_STAGE, text, local).splitlines(keepends=True)
    # After the arguments that count for every FROM.
    first = stages[0].begin.line - 1
    return "".join([*lines[:first], f"{base.rstrip()}\n\n", *lines[first:]]), True


def with_interface(text: str, is_on: bool) -> str:
    """The Dockerfile with the web interface on or off. The last ENV of an image counts, so it comes last."""
    return f"{text.rstrip()}\n\nENV ENABLE_WEB_INTERFACE={str(is_on).lower()}\n"


def _starting_from(image: str, text: str, stages: list[Stage]) -> str:
    """The Dockerfile, where these of its stages start from another image; all lines stay where they are."""
    lines = text.splitlines(keepends=True)
    for stage in stages:
        written = re.compile(rf"(?<!\S){re.escape(stage.written)}(?!\S)")
        for number in range(stage.begin.line - 1, stage.begin.last_line):
            is_comment = lines[number].lstrip().startswith("#")
            changed = lines[number] if is_comment else written.sub(lambda _: image, lines[number], count=1)
            if changed != lines[number]:
                lines[number] = changed
                break
    return "".join(lines)
