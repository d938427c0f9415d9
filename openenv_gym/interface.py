"""What a trainer's side knows of a server's environment: its spaces, and how elements travel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from openenv_gym.contract import SERVER_RENDERS_KEYWORD
from openenv_gym.errors import ProtocolError, RenderModeError, SpaceError
from openenv_gym.rendering import RENDER_MODES, renderers
from openenv_gym.spaces import compile_action, compile_observation
from openenv_gym.spaces.codecs.base import Codec
from openenv_gym.spaces.models import Override
from openenv_gym.spaces.rules import Finding
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Schemas, first_observation
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.wire.v1 import StepAnswer


class Interface(NamedTuple):
    """What is known of a server's environment.

    Attributes:
        schemas: The JSON Schemas of actions and of observations, as the server has them.
        action: The codec of actions.
        observation: The codec of observations.
        report: What became of each part of the schemas.
        renderers: What renders an observation, by render mode.
        server_renders: The render mode of the server's own pictures; None where it makes none.
    """

    schemas: Schemas
    action: Codec
    observation: Codec
    report: dict[str, list[Finding]]
    renderers: Mapping[str, Callable[[Any], Any]]
    server_renders: str | None

    @property
    def render_modes(self) -> list[str]:
        """The render modes that there are."""
        return [mode for mode in RENDER_MODES if mode in self.renderers or mode == self.server_renders]


def read_interface(
    endpoint: Endpoint,
    schemas: Schemas,
    *,
    timeouts: Timeouts,
    unwrap: bool,
    omit_defaults: bool,
    infer_shapes: bool,
    action_space: Override,
    observation_space: Override,
    render_mode: str | None,
) -> Interface:
    """Compiles the schemas that a server has said; `RemoteEnv` says what each of the other arguments is.

    Raises:
        RenderModeError: The observation cannot be rendered as ``render_mode``.
        SchemaError: No spaces can be made from the schemas.
        EndpointError: Where the first observation is asked for too, what `first_observation` raises.
    """
    action_schema, observation_schema = schemas
    example = first_observation(endpoint, timeout_s=timeouts.reset_s) if infer_shapes else None
    action, action_report = compile_action(
        action_schema, unwrap=unwrap, omit_defaults=omit_defaults, space=action_space
    )
    observation, observation_report = compile_observation(
        observation_schema, unwrap=unwrap, space=observation_space, example=example
    )
    renders = renderers(observation.space, observation_report)
    interface = Interface(
        schemas,
        action,
        observation,
        {"action": action_report, "observation": observation_report},
        renders,
        observation_schema.get(SERVER_RENDERS_KEYWORD),
    )
    if render_mode is not None and render_mode not in interface.render_modes:
        raise RenderModeError(
            f"{endpoint} cannot be rendered as {render_mode!r}: it renders nothing so itself, and its "
            f"observation, {excerpt(observation.space)}, allows {list(renders) or 'no render mode'}. "
            "Leave render_mode out, or have the server make its environment with one"
        )
    return interface


def decode_observation(codec: Codec, answer: StepAnswer, endpoint: Endpoint, what: str) -> Any:
    """The observation of a server's answer, as an element of its space.

    Raises:
        ProtocolError: It does not fit the schema that the server itself publishes.
    """
    try:
        return codec.decode(answer.observation)
    except SpaceError as error:
        raise does_not_fit(endpoint, what, error) from error


def does_not_fit(endpoint: Endpoint, what: str, error: Exception) -> ProtocolError:
    """The error for an observation that is not one of the server's own schema."""
    return ProtocolError(f"{endpoint}, {what}: the observation does not fit the server's own schema: {error}")


def excerpt(value: Any) -> str:
    """A value as it is shown in an error message: 200 characters at most."""
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"
