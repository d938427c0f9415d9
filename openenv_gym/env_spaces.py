"""The spaces of a server's environment, and the codecs between their elements and payloads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from openenv_gym.errors import RenderModeError, excerpt
from openenv_gym.rendering import RENDER_MODES, renderers
from openenv_gym.schema_keywords import SERVER_RENDERS_KEYWORD
from openenv_gym.spaces import Codec, SchemaFinding, compile_action, compile_observation
from openenv_gym.spaces.models import Override
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Schemas, first_observation


class EnvSpaces(NamedTuple):
    """The spaces of a server's environment.

    Attributes:
        schemas: The JSON Schemas of actions and of observations, as the server publishes them.
        action: The codec of actions.
        observation: The codec of observations.
        report: The result for each part of the schemas, under "action" and "observation".
        renderers: The functions that render an observation, by render mode.
        server_renders: The render mode of the server's own images; None if it renders none.
    """

    schemas: Schemas
    action: Codec
    observation: Codec
    report: dict[str, list[SchemaFinding]]
    renderers: Mapping[str, Callable[[Any], Any]]
    server_renders: str | None

    @property
    def render_modes(self) -> list[str]:
        """Supported render modes."""
        return [mode for mode in RENDER_MODES if mode in self.renderers or mode == self.server_renders]


def read_env_spaces(
    endpoint: Endpoint,
    schemas: Schemas,
    *,
    reset_timeout_s: float,
    unwrap: bool,
    omit_defaults: bool,
    infer_shapes: bool,
    action_space: Override,
    observation_space: Override,
    render_mode: str | None,
) -> EnvSpaces:
    """Compile a server's schemas. `RemoteEnv` documents the other arguments.

    Raises:
        RenderModeError: The observation cannot be rendered as ``render_mode``.
        SchemaError: A schema cannot become a space.
        EndpointError: With ``infer_shapes``, as in `first_observation`.
    """
    action_schema, observation_schema = schemas
    example = first_observation(endpoint, timeout_s=reset_timeout_s) if infer_shapes else None
    action, action_report = compile_action(
        action_schema, unwrap=unwrap, omit_defaults=omit_defaults, space=action_space
    )
    observation, observation_report = compile_observation(
        observation_schema, unwrap=unwrap, space=observation_space, example=example
    )
    spaces = EnvSpaces(
        schemas,
        action,
        observation,
        {"action": action_report, "observation": observation_report},
        renderers(observation.space, observation_report),
        observation_schema.get(SERVER_RENDERS_KEYWORD),
    )
    if render_mode is not None and render_mode not in spaces.render_modes:
        raise RenderModeError(
            f"{endpoint} cannot be rendered as {render_mode!r}: the server does not do it, and the "
            f"observation {excerpt(observation.space)} has {list(spaces.renderers) or 'no render mode'}.",
            advice="Omit render_mode, or make the server's environment with one.",
            endpoint=str(endpoint),
        )
    return spaces
