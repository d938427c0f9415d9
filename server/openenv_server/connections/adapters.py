"""How the environments of a server are called, and how their actions and observations become columns.

There are two kinds. An author's environment has Pydantic models. A Gymnasium environment has spaces and
bypasses the models: its columns are checked and built for all slots at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from math import isfinite
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ValidationError

from openenv_gym.errors import SpaceError, excerpt
from openenv_gym.spaces import codec_from_space
from openenv_gym.spaces.codecs import DictCodec, FieldCodec
from openenv_gym.spaces.columns import column_of, payloads
from openenv_gym.wire.v1 import end_of_episode
from openenv_gym.wire.v2 import Attachments
from openenv_server.blocking import watched
from openenv_server.errors import refused_action
from openenv_server.gymnasium_environment import GymnasiumEnvironment, SpaceField, plain_info, space_field
from openenv_server.serialization import json_value, observation_parts, validate_action
from openenv_server.sessions.running import in_task_of
from openenv_server.sessions.session import Session


class Transition(NamedTuple):
    """What a driver returns. A Gymnasium environment's own plain tuple has the same parts."""

    observation: Any
    reward: Any
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class Driver(Protocol):
    """Calls one environment for its slot.

    Attributes:
        any_thread: Whether any thread may call it, one at a time.
    """

    any_thread: bool

    def reset(self, data: dict[str, Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Start an episode; returns the parts of a `Transition`."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action; returns the parts of a `Transition`."""

    def render(self) -> Any:
        """A picture of the environment; None if it cannot render."""


class Adapter(Protocol):
    """Connects one kind of environment to the protocol."""

    def driver(self, session: Session, loop: asyncio.AbstractEventLoop, *, payloads: bool) -> Driver:
        """The driver of a session's environment.

        Args:
            session: The session.
            loop: The server's event loop.
            payloads: Give version 1's rewards and flags: a reward may be None, and a reset has them too.
        """

    def actions(self, column: Any, count: int) -> list[Any]:
        """Split a column of actions; an `ErrorReply` stands for an action that is refused.

        Raises:
            SpaceError: It is not a column over so many slots.
        """

    def observations(self, observations: Sequence[Any], attachments: Attachments) -> Any:
        """Build the column of observations. Large arrays are attached.

        Raises:
            SpaceError: They do not fit together.
        """

    def payloads(self, observations: Sequence[Any]) -> list[Any]:
        """One JSON payload for each observation, as version 1 sends them; arrays may stay arrays."""

    def info(self, info: dict[str, Any]) -> dict[str, Any]:
        """An info as it is sent."""


class ModelDriver:
    """Calls an author's environment, on the thread that made it, as authors may expect."""

    any_thread = False

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, payloads: bool) -> None:
        self._calls = session.calls
        self._session = session
        self._payloads = payloads
        self._loop = loop
        self._reset, self._step = session.reset_method, session.step_method

    def reset(self, data: dict[str, Any]) -> Transition:
        arguments, report = self._calls.reset_arguments(data)
        result = self._reset(**arguments)
        first = self._transition(
            self._wait_for(result, self._calls.reset_name) if self._calls.reset_is_async else result
        )
        info = {**first.info, **report}
        if self._payloads:
            return first._replace(info=info)
        return Transition(first.observation, 0.0, False, False, info)

    def step(self, action: Any) -> Transition:
        result = self._step(action)
        taken = self._transition(
            self._wait_for(result, self._calls.step_name) if self._calls.step_is_async else result
        )
        return taken if self._payloads else taken._replace(reward=float(taken.reward or 0.0))

    def render(self) -> None:
        return None

    def _transition(self, observation: Any) -> Transition:
        parts = observation_parts(observation, as_json=self._payloads)
        reward, metadata = parts.reward, parts.metadata
        if metadata:
            metadata = json_value(metadata, "metadata", keep_infinities=not self._payloads)
        if self._payloads:
            if type(reward) is float and not isfinite(reward):
                reward = None
            elif type(reward) not in _PLAIN_REWARDS:
                reward = json_value(reward, "reward")
        terminated, truncated = end_of_episode(parts.done, parts.truncated, metadata)
        return Transition(parts.fields, reward, terminated, truncated, metadata)

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any], method: str) -> Any:
        """Run a method's coroutine on the event loop."""
        watching = in_task_of(self._session, watched(coroutine, self._calls.kind, method))
        self._session.pending = pending = asyncio.run_coroutine_threadsafe(watching, self._loop)
        return pending.result()


class ModelAdapter:
    """Environments with Pydantic models: every action is validated, every observation dumped."""

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
            return validate_action(payload, self._action_model)
        except ValidationError as error:
            return refused_action(error)


class GymnasiumDriver:
    """Calls a Gymnasium environment, without models in between."""

    any_thread = True

    def __init__(self, environment: GymnasiumEnvironment, payloads: bool) -> None:
        self._environment = environment
        self._first_reward = None if payloads else 0.0
        self.step = self._step_for_payloads if payloads else environment.take

    def reset(self, data: dict[str, Any]) -> Transition:
        observation, info = self._environment.begin(**data)
        return Transition(observation, self._first_reward, False, False, info)

    def _step_for_payloads(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._environment.take(action)
        return observation, float(reward), terminated, truncated, info

    def render(self) -> Any:
        return self._environment.render()


class GymnasiumAdapter:
    """Gymnasium environments: columns of arrays, checked against the space all at once."""

    def __init__(
        self, action_model: type[BaseModel], action_field: SpaceField, observation_field: SpaceField
    ) -> None:
        self._action_model: Any = action_model
        self._action_space = action_field.space
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

    def action_batch(self, column: Any, count: int) -> Any:
        """A column of actions as a vector environment takes it.

        Raises:
            SpaceError: It is not a column over so many slots, or an action is not in the space.
        """
        batch = self._actions.read_batch(column, count)
        if not self._actions.contains_fast(batch, count):
            for place, action in enumerate(self._actions.split(batch, count)):
                if not self._action_space.contains(action):
                    raise SpaceError(
                        f"the action {excerpt(action)} at place {place} is not in {self._action_space}"
                    )
        return batch

    def observation_batch(self, observations: Any, count: int, attachments: Attachments) -> Any:
        """The column of what a vector environment returns.

        Raises:
            SpaceError: It is no batch of the space over so many slots.
        """
        return self._observations.from_batch(observations, count, attachments)

    def payloads(self, observations: Sequence[Any]) -> list[Any]:
        return [
            {"observation": json_value(self._encode(observation), "observation")}
            for observation in observations
        ]

    def info(self, info: dict[str, Any]) -> dict[str, Any]:
        return plain_info(info, keep_arrays=True)

    def _action(self, payload: Any) -> Any:
        try:
            return self._actions.elements([payload], 1)[0]
        except SpaceError:
            pass  # the model also takes metadata, and explains what is wrong
        try:
            return validate_action(payload, self._action_model).action
        except ValidationError as error:
            return refused_action(error)


def adapter_for(
    kind: type | None, action_model: type[BaseModel], observation_model: type[BaseModel]
) -> Adapter:
    """The adapter for a server's environments.

    Args:
        kind: Their class, if it is known before one is made.
        action_model: The model of an action.
        observation_model: The model of an observation.
    """
    if kind is GymnasiumEnvironment:
        action = space_field(action_model, "action")
        observation = space_field(observation_model, "observation")
        if action is not None and observation is not None:
            return GymnasiumAdapter(action_model, action, observation)
    return ModelAdapter(action_model)


_PLAIN_REWARDS = frozenset({float, int, bool, type(None)})
