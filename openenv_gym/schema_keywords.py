"""JSON Schema keywords and reserved field names that servers and clients agree on."""

from __future__ import annotations

# Marks a property that is sent beside the observation and is not one of its fields. (`done`, `reward` and
# `metadata` always are, on every server.) An author's own field named `truncated` has no mark, so it stays in
# the observation.
BESIDE_MARK = "x-openenv-beside"

# The exact Gymnasium space of a value, declared by a server that knows it.
SPACE_KEYWORD = "x-gymnasium-space"

# Marks a property to render; the value is the render mode. Without it, an observation's only image is
# rendered as "rgb_array", and its texts as "ansi".
RENDER_KEYWORD = "x-openenv-render"

# In an observation's schema: the server itself renders (version 2 of the protocol), in this render mode.
SERVER_RENDERS_KEYWORD = "x-openenv-server-renders"

# In an observation's schema: the metadata of the served Gymnasium environment, and what its spec says of
# episodes (`SPEC_FIELDS`).
SERVED_ENV_KEYWORD = "x-gymnasium-env"
SPEC_FIELDS = ("max_episode_steps", "reward_threshold", "nondeterministic")

# The tools that an action can call, in the schemas of actions and observations.
TOOLS_KEYWORD = "x-openenv-tools"

# Fields of an action model that are not part of the action space.
ACTION_ONLY_ON_THE_WIRE = frozenset({"metadata"})

# Fields of an observation model that are not part of the observation space.
OBSERVATION_ONLY_ON_THE_WIRE = frozenset({"done", "reward", "metadata"})
