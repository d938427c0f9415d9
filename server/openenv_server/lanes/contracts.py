"""How the environments of a server are driven, and how their actions and observations become columns.

There are two kinds. An author's environment has Pydantic models. One that was made from a Gymnasium
environment has spaces, and goes without models here: its columns are checked and made for all slots at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from openenv_gym.errors import SpaceError
from openenv_gym.spaces import codec_from_space
from openenv_gym.spaces.codecs import DictCodec, FieldCodec
from openenv_gym.spaces.columns import column_of, payloads
from openenv_gym.wire.arrays import Attachments
from openenv_gym.wire.v1 import end_of_episode
from openenv_server.calls import Calls, in_words, plain_errors
from openenv_server.gymnasium_environment import (
    GymnasiumEnvironment,
    SpaceField,
    plain_info,
    space_field,
)
from openenv_server.serialization import observation_parts, plain
from openenv_server.sessions import Session


class Refusal(NamedTuple):
    """Why an action is not taken."""

    message: str
    details: dict[str, Any]


# What an environment made of an action: observation, reward, terminated, truncated, info.
Taken = tuple[Any, Any, bool, bool, dict[str, Any]]


_PLAIN_REWARDS = frozenset({float, int, bool, type(None)})


class Driver(Protocol):
    """One environment, as its slot drives it.

    Attributes:
        may_move: Whether any thread may call it, as long as they take turns.
    """

    may_move: bool

    def reset(self, data: dict[str, Any]) -> Taken:
        """Starts an episode."""

    def step(self, action: Any) -> Taken:
        """Takes one action."""

    def render(self) -> Any:
        """A picture of the environment; None where it has none."""


class Contract(Protocol):
    """What a lane knows of the environments that it serves."""

    def driver(self, session: Session, loop: asyncio.AbstractEventLoop, *, payloads: bool) -> Driver:
        """The driver of a session's environment.

        Args:
            session: The session.
            loop: The server's event loop.
            payloads: Give version 1's rewards and flags: a reward may be None, and a reset has them too.
        """

    def actions(self, column: Any, count: int) -> list[Any]:
        """The actions of a column; a `Refusal` where there is none to take.

        Raises:
            SpaceError: It is no column over so many slots.
        """

    def observations(self, observations: Sequence[Any], attachments: Attachments) -> Any:
        """The column of what drivers observed; what is large is attached.

        Raises:
            SpaceError: They do not fit together.
        """

    def payloads(self, observations: Sequence[Any]) -> list[Any]:
        """One JSON payload for each observation, as version 1 sends them; arrays may stay arrays."""

    def info(self, info: dict[str, Any]) -> dict[str, Any]:
        """What a driver's info is on the wire."""


class ModelDriver:
    """An author's environment. It stays on the thread that made it, as its author may count on."""

    may_move = False

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, payloads: bool) -> None:
        self._environment = session.environment
        self._payloads = payloads
        self._calls: Calls = session.calls
        self._loop = loop
        self._reset = getattr(self._environment, self._calls.reset_name)
        self._step = getattr(self._environment, self._calls.step_name)

    def reset(self, data: dict[str, Any]) -> Taken:
        arguments, seed_ignored = self._calls.reset_arguments(data)
        result = self._reset(**arguments)
        observation, reward, terminated, truncated, info = _taken(
            self._awaited(result) if self._calls.reset_is_async else result
        )
        if seed_ignored:
            info = {**info, "seed_ignored": True}
        if self._payloads:
            return observation, reward, terminated, truncated, info
        return observation, 0.0, False, False, info

    def step(self, action: Any) -> Taken:
        result = self._step(action)
        taken = _taken(self._awaited(result) if self._calls.step_is_async else result)
        if self._payloads:
            return taken
        observation, reward, terminated, truncated, info = taken
        return observation, float(reward or 0.0), terminated, truncated, info

    def render(self) -> None:
        return None

    def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Waits for what runs on the event loop, among those of the other sessions."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class ModelContract:
    """Environments with Pydantic models: each action is validated, each observation dumped."""

    def __init__(self, action_model: type[BaseModel]) -> None:
        self._action_model = action_model

    def driver(self, session: Session, loop: asyncio.AbstractEventLoop, *, payloads: bool) -> Driver:
        return ModelDriver(session, loop, payloads)

    def actions(self, column: Any, count: int) -> list[Any]:
        return [self._action(payload) for payload in payloads(column, count)]

    def observations(self, observations: Sequence[Any], attachments: Attachments) -> Any:
        return list(observations)

    def payloads(self, observations: Sequence[Any]) -> list[Any]:
        return list(observations)

    def info(self, info: dict[str, Any]) -> dict[str, Any]:
        return info

    def _action(self, payload: Any) -> Any:
        try:
            return self._action_model.model_validate(payload)
        except ValidationError as error:
            return Refusal(f"The action is refused: {in_words(error)}", {"errors": plain_errors(error)})


class GymnasiumDriver:
    """A Gymnasium environment, without models in between."""

    may_move = True

    def __init__(self, environment: GymnasiumEnvironment, payloads: bool) -> None:
        self._environment = environment
        self._payloads = payloads
        self.step = self._step_for_payloads if payloads else environment.take

    def reset(self, data: dict[str, Any]) -> Taken:
        observation, info = self._environment.begin(**data)
        return observation, None if self._payloads else 0.0, False, False, info

    def _step_for_payloads(self, action: Any) -> Taken:
        observation, reward, terminated, truncated, info = self._environment.take(action)
        return observation, float(reward), terminated, truncated, info

    def render(self) -> Any:
        return self._environment.render()


class GymnasiumContract:
    """Gymnasium environments: columns of arrays, checked against the space at once."""

    def __init__(self, action_field: SpaceField, observation_field: SpaceField) -> None:
        self._actions = column_of(FieldCodec(DictCodec({"action": codec_from_space(action_field.space)})))
        self._encode = observation_field.codec.encode
        self._observations = column_of(
            FieldCodec(DictCodec({"observation": codec_from_space(observation_field.space)}))
        )

    def driver(self, session: Session, loop: asyncio.AbstractEventLoop, *, payloads: bool) -> Driver:
        return GymnasiumDriver(session.environment, payloads)

    def actions(self, column: Any, count: int) -> list[Any]:
        try:
            return self._actions.elements(column, count)
        except SpaceError:
            # One by one, to find those that are refused.
            return [self._action(payload) for payload in payloads(column, count)]

    def observations(self, observations: Sequence[Any], attachments: Attachments) -> Any:
        return self._observations.from_elements(observations, attachments)

    def payloads(self, observations: Sequence[Any]) -> list[Any]:
        return [{"observation": self._encode(observation)} for observation in observations]

    def info(self, info: dict[str, Any]) -> dict[str, Any]:
        return plain_info(info, keep_arrays=True)

    def _action(self, payload: Any) -> Any:
        try:
            return self._actions.elements([payload], 1)[0]
        except SpaceError as error:
            return Refusal(f"The action is refused: {error}", {})


def contract_of(
    kind: type | None, action_model: type[BaseModel], observation_model: type[BaseModel]
) -> Contract:
    """The contract of a server's environments.

    Args:
        kind: Their class, where it is known before one is made.
        action_model: The model of an action.
        observation_model: The model of an observation.
    """
    if kind is GymnasiumEnvironment:
        action, observation = (
            space_field(action_model, "action"),
            space_field(observation_model, "observation"),
        )
        if action is not None and observation is not None:
            return GymnasiumContract(action, observation)
    return ModelContract(action_model)


def _taken(observation: Any) -> Taken:
    payload, reward, done, truncated, metadata = observation_parts(observation)
    metadata = to_jsonable_python(metadata, fallback=plain) if metadata else {}
    terminated, truncated = end_of_episode(done, truncated, metadata)
    if type(reward) not in _PLAIN_REWARDS:
        reward = to_jsonable_python(reward, fallback=plain)
    return payload, reward, terminated, truncated, metadata
