"""The spaces of a server's environment, and the codecs between their elements and payloads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Literal, NamedTuple

from gymnasium.envs.registration import EnvSpec

from openenv_gym.errors import ActionOutsideSpaceError, ConfigurationError, RenderModeError, excerpt
from openenv_gym.rendering import RENDER_FPS, RENDER_MODES, renderers
from openenv_gym.schema_keywords import (
    OBSERVATION_ONLY_ON_THE_WIRE,
    SERVED_ENV_KEYWORD,
    SERVER_RENDERS_KEYWORD,
)
from openenv_gym.spaces import Codec, SchemaFinding, compile_action, compile_observation
from openenv_gym.spaces.misfits import CoercingCodec, fit
from openenv_gym.spaces.models import Override
from openenv_gym.spaces.tools import Tool, tools_of
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import Schemas, first_observation

OnMisfit = Literal["raise", "coerce"]


class ServedEnv(NamedTuple):
    """What a server says of its Gymnasium environment, beside its spaces. Other servers say nothing.

    Attributes:
        metadata: Its metadata.
        spec: The fields of its spec in `schema_keywords.SPEC_FIELDS`; None stands for unknown.
    """

    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @classmethod
    def of(cls, observation_schema: Mapping[str, Any]) -> ServedEnv:
        """Read an observation's schema. Values that Gymnasium does not take count as unknown."""
        served = observation_schema.get(SERVED_ENV_KEYWORD)
        served = served if isinstance(served, dict) else {}
        metadata = served.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        if not _is_positive(metadata.get("render_fps", RENDER_FPS)):
            metadata = {**metadata, "render_fps": RENDER_FPS}
        steps, threshold = served.get("max_episode_steps"), served.get("reward_threshold")
        is_random = served.get("nondeterministic")
        return cls(
            metadata,
            {
                "max_episode_steps": steps if type(steps) is int and _is_positive(steps) else None,
                "reward_threshold": threshold if type(threshold) in (int, float) else None,
                "nondeterministic": is_random if isinstance(is_random, bool) else None,
            },
        )

    def complete(self, spec: EnvSpec | None) -> EnvSpec | None:
        """Return the spec that an environment was made from, with what the server says of episodes."""
        if spec is None:
            return None
        spec = copy(spec)
        for name, value in self.spec.items():
            if value is not None and (name == "nondeterministic" or getattr(spec, name) is None):
                setattr(spec, name, value)
        return spec


class EnvSpaces(NamedTuple):
    """The spaces of a server's environment.

    Attributes:
        schemas: The JSON Schemas of actions and of observations, as the server publishes them.
        action: The codec of actions.
        observation: The codec of observations.
        report: The result for each part of the schemas, under "action" and "observation".
        renderers: The functions that render an observation, by render mode.
        server_renders: The render mode of the server's own images; None if it renders none.
        served: What the server says of its Gymnasium environment.
    """

    schemas: Schemas
    action: Codec
    observation: Codec
    report: dict[str, list[SchemaFinding]]
    renderers: Mapping[str, Callable[[Any], Any]]
    server_renders: str | None
    served: ServedEnv

    @property
    def render_modes(self) -> list[str]:
        """Supported render modes."""
        modes = [mode for mode in RENDER_MODES if mode in self.renderers or mode == self.server_renders]
        if self.server_renders is not None and self.server_renders not in RENDER_MODES:
            modes.append(self.server_renders)  # "depth_array", say
        return modes

    @property
    def metadata(self) -> dict[str, Any]:
        """The environment's metadata, with the render modes that are supported from here."""
        return {"render_fps": RENDER_FPS, **self.served.metadata, "render_modes": self.render_modes}

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that actions call; none if actions are no calls."""
        return tools_of(self.action)

    def action_from_json(self, payload: str | Mapping[str, Any]) -> Any:
        """Return the action that a JSON object stands for; see `RemoteEnv.action_from_json`."""
        if isinstance(payload, str):
            try:
                payload = json.loads(payload)
            except ValueError as error:
                raise ActionOutsideSpaceError(
                    f"The action {excerpt(payload)} is not JSON: {error}"
                ) from error
        action, misfits = fit(self.action, dict(payload) if isinstance(payload, Mapping) else payload)
        if misfits:
            raise ActionOutsideSpaceError(f"The action {excerpt(payload)} does not fit: {'; '.join(misfits)}")
        return action

    def observation_to_json(self, observation: Any) -> Any:
        """Return the JSON values of an observation; see `RemoteEnv.observation_to_json`."""
        return self.observation.encode(observation)

    @property
    def take_misfits(self) -> Callable[[], list[list[str]]] | None:
        """Returns the misfits of each observation since its last call, in order; None if misfits raise."""
        return self.observation.take_misfits if isinstance(self.observation, CoercingCodec) else None


def _is_positive(number: Any) -> bool:
    return type(number) in (int, float) and number > 0 and number != math.inf


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
    on_misfit: OnMisfit = "raise",
) -> EnvSpaces:
    """Compile a server's schemas. `RemoteEnv` documents the other arguments.

    Raises:
        ConfigurationError: ``on_misfit`` is neither "raise" nor "coerce".
        RenderModeError: The observation cannot be rendered as ``render_mode``.
        SchemaError: A schema cannot become a space.
        EndpointError: With ``infer_shapes``, as in `first_observation`.
    """
    if on_misfit not in ("raise", "coerce"):
        raise ConfigurationError(f'on_misfit must be "raise" or "coerce", got {on_misfit!r}')
    action_schema, observation_schema = schemas
    example = first_observation(endpoint, timeout_s=reset_timeout_s) if infer_shapes else None
    action, action_report = compile_action(
        action_schema, unwrap=unwrap, omit_defaults=omit_defaults, space=action_space
    )
    observation, observation_report = compile_observation(
        observation_schema, unwrap=unwrap, space=observation_space, example=example
    )
    if on_misfit == "coerce":
        beside = set(observation_schema.get("properties", ())) | OBSERVATION_ONLY_ON_THE_WIRE
        observation = CoercingCodec(observation, beside, str(endpoint))
    rendered = observation_schema.get(SERVER_RENDERS_KEYWORD)
    spaces = EnvSpaces(
        schemas,
        action,
        observation,
        {"action": action_report, "observation": observation_report},
        renderers(observation.space, observation_report),
        rendered if isinstance(rendered, str) else None,
        ServedEnv.of(observation_schema),
    )
    if render_mode is not None and render_mode not in spaces.render_modes:
        raise RenderModeError(
            f"{endpoint} cannot be rendered as {render_mode!r}: the server does not do it, and the "
            f"observation {excerpt(observation.space)} has {list(spaces.renderers) or 'no render mode'}.",
            advice="Omit render_mode, or make the server's environment with one.",
            endpoint=str(endpoint),
        )
    return spaces
