"""What the schema side and the wire side of the contract share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A property that carries this mark in its JSON Schema stands beside the observation on the wire and is not
# one of its fields. (`done`, `reward` and `metadata` always do, in every server.) An author's own field of
# the name `truncated` carries no mark, and so stays in the observation.
BESIDE_MARK = "x-openenv-beside"

# The exact Gymnasium space of a value, declared in its JSON Schema by a server that knows it.
SPACE_KEYWORD = "x-gymnasium-space"

# Fields of an action model that are not a part of the action space.
ACTION_ONLY_ON_THE_WIRE = frozenset({"metadata"})

# Fields of an observation model that are not a part of the observation space.
OBSERVATION_ONLY_ON_THE_WIRE = frozenset({"done", "reward", "metadata"})

# A property that is to be rendered carries this in its JSON Schema, with the render mode as its value.
# Without it, an observation's one image is rendered as "rgb_array", and its texts as "ansi".
RENDER_KEYWORD = "x-openenv-render"

# An observation's schema carries this where the server itself renders (version 2 of the protocol), with the
# render mode as its value.
SERVER_RENDERS_KEYWORD = "x-openenv-server-renders"


def end_of_episode(done: bool, truncated: bool | None, metadata: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the episode was terminated and whether it was truncated, from what an environment says.

    It was truncated where it is done and says so: beside ``done``, or in the metadata as ``truncated`` or
    Gymnasium's ``TimeLimit.truncated``. It was terminated otherwise, and also where the metadata says
    ``terminated``.
    """
    if not done:
        return False, False
    if truncated is None:
        truncated = bool(metadata.get("truncated", metadata.get("TimeLimit.truncated", False)))
    return not truncated or metadata.get("terminated") is True, truncated
