"""Serve a Gymnasium environment as an OpenEnv environment, with its exact spaces in the schema."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, NamedTuple
from uuid import uuid4

import gymnasium as gym
import numpy as np
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from openenv_gym.errors import SpaceError, excerpt
from openenv_gym.schema_keywords import SERVED_ENV_KEYWORD, SERVER_RENDERS_KEYWORD, SPEC_FIELDS
from openenv_gym.spaces import codec_from_space, schema_from_space
from openenv_gym.types import Action, EnvironmentMetadata, Observation, State
from openenv_gym.wire.v2 import is_array_of_numbers
from openenv_server.environment import Environment
from openenv_server.serialization import plain
from openenv_server.step_lock import PROCESS_LOCK, StepLock

MakeEnv = Callable[[], gym.Env[Any, Any]]


class SpaceField:
    """Annotates a model's field as an element of a Gymnasium space.

    Validation decodes a JSON payload and checks it against the space; serialization encodes the element.
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        self.space = space
        self.codec = codec_from_space(space)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self.codec.encode),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return schema_from_space(self.space)

    def _validate(self, payload: Any) -> Any:
        try:
            element = self.codec.decode(payload)
        except SpaceError as error:
            raise PydanticCustomError("space", "{reason}", {"reason": str(error)}) from error
        if not self.space.contains(element):
            raise PydanticCustomError(
                "space",
                "{value} is not in {space}",
                {"value": excerpt(payload), "space": excerpt(self.space)},
            )
        return element


class GymnasiumModels(NamedTuple):
    """The action and the observation model of a Gymnasium environment."""

    action: type[Action]
    observation: type[Observation]


def models_from_env(env: gym.Env[Any, Any]) -> GymnasiumModels:
    """Make models with one field each, ``action`` and ``observation``, that hold elements of the spaces.

    The observation's schema also has the environment's metadata, render mode and spec, for trainers.
    """
    action_field: Any = Annotated[Any, SpaceField(env.action_space)]
    observation_field: Any = Annotated[Any, SpaceField(env.observation_space)]
    observation = create_model(
        "GymnasiumObservation", __base__=Observation, observation=(observation_field, ...)
    )
    observation.model_config["json_schema_extra"] = describe_env(env)
    return GymnasiumModels(
        create_model("GymnasiumAction", __base__=Action, action=(action_field, ...)), observation
    )


def describe_env(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """Return what an observation's schema says of its environment: the metadata, render mode and spec.

    Trainers then have them as ``env.metadata`` and ``env.spec``.

    Example:
        >>> class MyObservation(Observation):
        ...     model_config = ConfigDict(json_schema_extra=describe_env(env))
    """
    served = {"metadata": env.metadata, **{name: getattr(env.spec, name, None) for name in SPEC_FIELDS}}
    keywords: dict[str, Any] = {SERVED_ENV_KEYWORD: _json_parts(served)}
    if env.render_mode not in (None, "human"):
        keywords[SERVER_RENDERS_KEYWORD] = env.render_mode.removesuffix("_list")
    return keywords


def space_field(model: type[BaseModel], name: str) -> SpaceField | None:
    """The `SpaceField` of a model's field; None if it has none."""
    field = model.model_fields.get(name)
    marks = [] if field is None else [mark for mark in field.metadata if isinstance(mark, SpaceField)]
    return marks[0] if marks else None


class GymnasiumEnvironment(Environment[Any, Any, State]):
    """Serves a Gymnasium environment.

    The sessions of one process run their Gymnasium environments one after another, because most are not
    thread-safe; ``openenv serve --workers`` runs several processes. An environment whose class sets
    ``SUPPORTS_CONCURRENT_SESSIONS = True`` declares that its instances do not disturb each other; those run
    in parallel, each on its session's thread.

    Args:
        make_env: Makes the environment.
        models: The models of its spaces; derived from the environment if left out.

    Attributes:
        step_lock: The server holds it around every call; None if calls may run in parallel.
    """

    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = True

    def __init__(self, make_env: MakeEnv, models: GymnasiumModels | None = None) -> None:
        super().__init__()
        with PROCESS_LOCK.held_by(threading.current_thread()):
            self._env = make_env()
        runs_in_parallel = getattr(self._env.unwrapped, "SUPPORTS_CONCURRENT_SESSIONS", False)
        self.step_lock: StepLock | None = None if runs_in_parallel else PROCESS_LOCK
        self._models = models or models_from_env(self._env)
        self._episode_id: str | None = None
        self._has_begun = False
        self._step_count = 0
        self._last_frame: Any = None

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Observation:
        """Reset the environment; further keywords become Gymnasium's ``options``."""
        observation, info = self.begin(seed, episode_id, **options)
        return self._models.observation.model_construct(
            observation=observation, done=False, reward=None, truncated=None, metadata=plain_info(info)
        )

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.take(action.action)
        metadata = plain_info(info)
        if terminated and truncated:
            # Version 1 has only `done` and `truncated`, which cannot express both.
            metadata["terminated"] = True
        return self._models.observation.model_construct(
            observation=observation,
            done=bool(terminated or truncated),
            reward=float(reward),
            truncated=bool(truncated),
            metadata=metadata,
        )

    def begin(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> tuple[Any, dict[str, Any]]:
        """`reset` without models: returns what Gymnasium's reset returns."""
        self._episode_id, self._has_begun, self._step_count = episode_id, True, 0
        return self._env.reset(seed=seed, options=options or None)

    def take(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """`step` without models: takes an element of the action space, returns the parts of a step."""
        if not self._has_begun:
            raise gym.error.ResetNeeded("Cannot step the environment before its first reset")
        self._step_count += 1
        return self._env.step(action)

    def render(self) -> Any:
        """Render the environment; None if it was made without a render mode.

        Of a list of frames, as ``render_mode="rgb_array_list"`` returns it, this is the last.
        """
        if not self._has_begun:
            raise gym.error.ResetNeeded("Cannot render the environment before its first reset")
        rendered = self._env.render()
        if (self._env.render_mode or "").endswith("_list"):
            # The list is empty if nothing has happened since the last call.
            self._last_frame = rendered[-1] if rendered else self._last_frame
            return self._last_frame
        return rendered

    @property
    def state(self) -> State:
        """The episode's name and steps. An episode without a name gets one when this is first read."""
        if self._has_begun and self._episode_id is None:
            self._episode_id = str(uuid4())
        return State(episode_id=self._episode_id, step_count=self._step_count)

    def get_metadata(self) -> EnvironmentMetadata:
        """The environment's id and a description."""
        spec = self._env.spec
        name = spec.id if spec else type(self._env.unwrapped).__name__
        return EnvironmentMetadata(name=name, description=f"Gymnasium's {name}, served by OpenEnv")

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def gymnasium_factory(make_env: MakeEnv) -> tuple[Callable[[], GymnasiumEnvironment], GymnasiumModels]:
    """The arguments of `create_app` for a Gymnasium environment: a factory, and the models of its spaces.

    Example:
        >>> factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
        >>> app = create_app(factory, models.action, models.observation)
    """
    with PROCESS_LOCK.held_by(make_env):
        probe = make_env()
        models = models_from_env(probe)
        probe.close()

    def make() -> GymnasiumEnvironment:
        return GymnasiumEnvironment(make_env, models)

    return make, models


def _json_parts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that JSON can hold, at any depth."""
    parts = {
        str(key): _json_parts(value) if isinstance(value, Mapping) else value for key, value in values.items()
    }
    kept = {}
    for key, value in parts.items():
        with suppress(TypeError, ValueError):
            kept[key] = json.loads(json.dumps(value, allow_nan=False, default=plain))
    return kept


def plain_info(info: dict[str, Any], *, keep_arrays: bool = False) -> dict[str, Any]:
    """Convert an ``info`` to JSON values. Anything else is replaced by its ``repr``.

    Args:
        info: The info.
        keep_arrays: Keep NumPy's arrays and numbers instead of converting them to lists and Python's numbers.
    """
    return {str(key): _plain(value, keep_arrays) for key, value in info.items()}


def _plain_array(array: np.ndarray[Any, Any] | np.generic, keep_arrays: bool) -> Any:
    if array.dtype.char in "gG":  # of more than 64 bits
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.complex128)
    if keep_arrays and is_array_of_numbers(array):
        return array
    listed = array.tolist()
    return _plain(listed, keep_arrays) if array.dtype.kind in "OVc" else listed


def _plain(value: Any, keep_arrays: bool) -> Any:
    match value:
        case np.generic() | np.ndarray():
            return _plain_array(value, keep_arrays)
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return plain_info(value, keep_arrays=keep_arrays)
        case list() | tuple():
            return [_plain(part, keep_arrays) for part in value]
        case BaseModel():
            return value.model_dump(mode="json")
        case _:
            return repr(value)
