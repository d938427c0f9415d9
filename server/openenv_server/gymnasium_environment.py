"""Any local Gymnasium environment as an OpenEnv environment, with its exact spaces in the schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import gymnasium as gym
import numpy as np
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from openenv_gym.errors import SpaceError
from openenv_gym.schema_keywords import SERVER_RENDERS_KEYWORD
from openenv_gym.spaces import codec_from_space, schema_from_space
from openenv_gym.types import Action, EnvironmentMetadata, Observation, State
from openenv_gym.wire.arrays import is_array_of_numbers
from openenv_server.environment import Environment
from openenv_server.worker import StepLock

MakeEnv = Callable[[], gym.Env[Any, Any]]

# Most Gymnasium environments are not thread-safe: neither of Gymnasium's vector environments ever runs two in
# one process at the same time. This lock is held around every call into one.
PROCESS_LOCK = StepLock()


class SpaceField:
    """Makes a model's field hold an element of a Gymnasium space.

    JSON payloads are decoded and checked against the space; elements are encoded on the way out.
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
                "space", "{value} is not in {space}", {"value": str(payload)[:200], "space": str(self.space)}
            )
        return element


class GymnasiumModels(NamedTuple):
    """The action and the observation model that a Gymnasium environment's spaces make."""

    action: type[Action]
    observation: type[Observation]


def models_from_spaces(
    action_space: gym.Space[Any], observation_space: gym.Space[Any], render_mode: str | None = None
) -> GymnasiumModels:
    """Models of one field each, ``action`` and ``observation``, that hold elements of the spaces.

    Args:
        action_space: The space of the actions.
        observation_space: The space of the observations.
        render_mode: What the environment was made to render, which its trainers are told.
    """
    action_field: Any = Annotated[Any, SpaceField(action_space)]
    observation_field: Any = Annotated[Any, SpaceField(observation_space)]
    observation = create_model(
        "GymnasiumObservation", __base__=Observation, observation=(observation_field, ...)
    )
    if render_mode is not None:
        observation.model_config["json_schema_extra"] = {SERVER_RENDERS_KEYWORD: render_mode}
    return GymnasiumModels(
        create_model("GymnasiumAction", __base__=Action, action=(action_field, ...)), observation
    )


def space_field(model: type[BaseModel], name: str) -> SpaceField | None:
    """What makes a model's field hold elements of a space; None where nothing does."""
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

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, make_env: MakeEnv, models: GymnasiumModels | None = None) -> None:
        super().__init__()
        with PROCESS_LOCK.held_by(self):
            self._env = make_env()
        runs_in_parallel = getattr(self._env.unwrapped, "SUPPORTS_CONCURRENT_SESSIONS", False)
        self.step_lock = None if runs_in_parallel else PROCESS_LOCK
        self._models = models or models_from_spaces(
            self._env.action_space, self._env.observation_space, self._env.render_mode
        )
        self._episode_id: str | None = None
        self._has_begun = False
        self._step_count = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Observation:
        """Resets the environment; further keywords are Gymnasium's ``options``."""
        observation, info = self.begin(seed, episode_id, **options)
        return self._models.observation.model_construct(
            observation=observation, done=False, reward=None, truncated=None, metadata=plain_info(info)
        )

    def step(self, action: Any, timeout_s: float | None = None, **kwargs: Any) -> Observation:
        """Steps the environment."""
        observation, reward, terminated, truncated, info = self.take(action.action)
        metadata = plain_info(info)
        if terminated and truncated:
            # Version 1 has `done` and `truncated` only, which cannot say both.
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
        """`reset` without models: what Gymnasium's own returns."""
        self._episode_id, self._has_begun, self._step_count = episode_id, True, 0
        return self._env.reset(seed=seed, options=options or None)

    def take(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """`step` without models: an element of the action space in, what Gymnasium's own returns out."""
        self._step_count += 1
        return self._env.step(action)

    def render(self) -> Any:
        """What the environment's own ``render`` gives; None where it was made without a render mode."""
        return self._env.render()

    @property
    def state(self) -> State:
        """The episode's name and its steps. An episode without a name gets one when it is first asked for."""
        if self._has_begun and self._episode_id is None:
            self._episode_id = str(uuid4())
        return State(episode_id=self._episode_id, step_count=self._step_count)

    def get_metadata(self) -> EnvironmentMetadata:
        """The environment's id and what its docstring says in a sentence."""
        spec = self._env.spec
        name = spec.id if spec else type(self._env.unwrapped).__name__
        return EnvironmentMetadata(name=name, description=f"Gymnasium's {name}, served by OpenEnv")

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


def gymnasium_factory(make_env: MakeEnv) -> tuple[Callable[[], GymnasiumEnvironment], GymnasiumModels]:
    """What `create_app` needs to serve a Gymnasium environment: a factory, and the models of its spaces.

    Example:
        >>> factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
        >>> app = create_app(factory, models.action, models.observation)
    """
    with PROCESS_LOCK.held_by(make_env):
        probe = make_env()
        models = models_from_spaces(probe.action_space, probe.observation_space, probe.render_mode)
        probe.close()

    def make() -> GymnasiumEnvironment:
        return GymnasiumEnvironment(make_env, models)

    return make, models


def plain_info(info: dict[str, Any], *, keep_arrays: bool = False) -> dict[str, Any]:
    """An ``info`` as JSON values. What JSON cannot hold is replaced by its ``repr``.

    Args:
        info: The info.
        keep_arrays: Whether NumPy's arrays and numbers stay what they are, instead of lists and Python's own.
    """
    return {str(key): _plain(value, keep_arrays) for key, value in info.items()}


def _plain(value: Any, keep_arrays: bool) -> Any:
    match value:
        case np.generic() | np.ndarray():
            return value if keep_arrays and is_array_of_numbers(value) else value.tolist()
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
