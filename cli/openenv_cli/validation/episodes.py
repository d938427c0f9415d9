"""Episodes of sampled actions: their observations against schema and space, and against each other."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from gymnasium import spaces

from openenv_cli.validation.server import Server
from openenv_gym.errors import ActionRefusedError, OpenEnvError, SpaceError
from openenv_gym.generic_client import GenericEnvClient
from openenv_gym.session.recovery import retry
from openenv_gym.spaces import compile_action, compile_observation
from openenv_gym.transport.http import get_schemas

SEED = 42
STEPS = 20
# Observations may leave their bounds late in an episode. These limits apply to all episodes together.
MAX_STEPS = 1000
MAX_TIME_S = 2.0
# How many actions are sampled for a step, if the model refuses them.
_TRIES = 10
_MAX_SHOWN = 80
# For fields that a sample leaves empty.
_VALUES: tuple[Any, ...] = ({"key": "value"}, "text", [{"key": "value"}], ["text"], [1], 1, True)
# For these keywords the value is the whole object, and the message names the field.
_NAMED_IN_THE_MESSAGE = ("required", "additionalProperties", "unevaluatedProperties", "dependentRequired")


class Moment(NamedTuple):
    """The result of a reset or a step. A reset has no reward and ends nothing.

    The observation is the payload, in which a choice is its label, not an index.
    """

    observation: dict[str, Any]
    reward: float | None = None
    done: bool = False
    truncated: bool | None = False


class Episode(NamedTuple):
    """The beginning of an episode.

    Attributes:
        moments: The results of the reset and of each step.
        seed_is_ignored: Whether the server reports that it ignores the seed.
        state: The state at its end.
    """

    moments: list[Moment]
    seed_is_ignored: bool
    state: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default, never changed


class Player:
    """Plays sampled actions in its own session and checks each observation.

    Args:
        server: The server.

    Attributes:
        steps: The number of steps taken.
        episodes: The number of episodes started.
        refused: The number of sampled actions that the action model refused.
        refusal: The last refusal.
        where: The last request, in words.

    Raises:
        OpenEnvError: As `get_schemas`, or the schemas cannot become spaces.
    """

    def __init__(self, server: Server) -> None:
        action, observation = get_schemas(server.endpoint, timeout_s=server.timeout_s)
        self._action = compile_action(action).codec
        self._filler = Filler(action)
        self._checker = ObservationChecker(observation)
        self._capacity_timeout_s = server.capacity_timeout_s
        self._client: GenericEnvClient = server.client()
        self.steps: int = 0
        self.episodes: int = 0
        self.refused: int = 0
        self.where: str = ""
        self.refusal: str = ""
        self._seed_is_ignored = False

    def close(self) -> None:
        """Close the session."""
        self._client.close()

    def reset(self, seed: int) -> Moment:
        """Start an episode, and seed the sampled actions too. Raises what a client's reset does."""
        self._action.space.seed(seed)
        self.where = f"the reset with seed {seed}"
        result = retry(lambda: self._client.reset(seed=seed), self._capacity_timeout_s)
        self._seed_is_ignored = bool(result.metadata.get("seed_ignored"))
        self.episodes += 1
        return Moment(_without_metadata(result.observation))

    def step(self, number: int) -> Moment:
        """Take a sampled action that is accepted, as this step of the episode. Raises what a step does.

        In every other step, fields that are empty get a value.
        """
        for tries_left in reversed(range(_TRIES)):
            action = sampled = self._action.encode(self._action.space.sample())
            if number % 2 and tries_left == _TRIES - 1:
                action = self._filler.fill(sampled)
            self.where = f"episode {self.episodes}, step {number}, after the action {shortened(action)}"
            try:
                result = self._client.step(action)
                break
            except ActionRefusedError as error:
                if action == sampled:
                    self.refusal = str(error)
                    self.refused += 1
                if not tries_left:
                    raise
        self.steps += 1
        return Moment(_without_metadata(result.observation), result.reward, result.done, result.truncated)

    def problem(self, moment: Moment) -> str:
        """What is wrong with an observation, and where; empty if nothing is."""
        problem = self._checker.problem(moment.observation)
        return f"{self.where}: {problem}" if problem else ""

    def play(self, seed: int = SEED) -> Episode:
        """Play up to `STEPS` steps of an episode. It ends where no sampled action is accepted."""
        return [*self.playing(seed)][-1]

    def playing(self, seed: int) -> Iterator[Episode]:
        """`play`, one request at a time: gives the episode so far after each, and at last with its state."""
        moments = [self.reset(seed)]
        while len(moments) <= STEPS and not moments[-1].done:
            yield Episode(moments, self._seed_is_ignored)
            try:
                moments.append(self.step(len(moments)))
            except ActionRefusedError:
                break
        state: dict[str, Any] = {}
        with suppress(OpenEnvError):  # which another check reports
            state = self._client.state()
        yield Episode(moments, self._seed_is_ignored, state)

    def play_long(self) -> str:
        """Play for `MAX_STEPS` or `MAX_TIME_S`, until an observation does not fit its schema or space.

        Each episode gets half of the remaining steps and time, so that there are several, and a long one.

        Returns:
            The problem; empty if there is none.
        """
        end = time.monotonic() + MAX_TIME_S
        while self.steps < MAX_STEPS and (start := time.monotonic()) < end:
            last_step = self.steps + (MAX_STEPS - self.steps + 1) // 2
            until = start + (end - start) / 2
            moment, number = self.reset(SEED + self.episodes), 0
            while not (problem := self.problem(moment)) and not moment.done:
                # Even after a slow reset, an episode has at least one step.
                if number and (self.steps >= last_step or time.monotonic() >= until):
                    break
                number += 1
                moment = self.step(number)
            if problem:
                return problem
        return ""


class Filler:
    """Gives a value to the empty fields of actions, as far as their schema allows it.

    Args:
        schema: The JSON Schema of the action.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        self._validator = Draft202012Validator(schema)
        self._fields: dict[str, dict[str, Any]] = schema.get("properties", {})

    def fill(self, action: dict[str, Any]) -> dict[str, Any]:
        """Return the action with a value in each field that is null or empty, if one fits."""
        for name, schema in self._fields.items():
            if name == "metadata" or action.get(name) not in (None, "", [], {}):
                continue
            for value in (*schema.get("examples", ()), *_VALUES):
                filled = {**action, name: value}
                if self._validator.is_valid(filled):
                    action = filled
                    break
        return action


class ObservationChecker:
    """Checks the payloads of observations against their schema and space.

    Args:
        schema: The JSON Schema of the observation.

    Raises:
        SchemaError: It cannot become a space.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        self._validator = Draft202012Validator(schema)
        # Not unwrapped, so that a single field keeps its name.
        self._codec = compile_observation(schema, unwrap=False).codec

    def problem(self, payload: dict[str, Any]) -> str:
        """Which field, value and bound are wrong; empty if none is."""
        return self._against_schema(payload) or self._against_space(payload)

    def _against_schema(self, payload: dict[str, Any]) -> str:
        from jsonschema.exceptions import best_match

        error = best_match(self._validator.iter_errors(payload))
        if error is None:
            return ""
        path = f"observation{error.json_path.removeprefix('$')}"
        if error.validator in _NAMED_IN_THE_MESSAGE:
            return f"{path}: {error.message}"
        return (
            f"{path} is {shortened(error.instance)}, but its schema has {error.validator}: "
            f"{shortened(error.validator_value)}"
        )

    def _against_space(self, payload: dict[str, Any]) -> str:
        try:
            element = self._codec.decode(payload)
        except SpaceError as error:
            return str(error)
        return _outside(self._codec.space, element, "observation")


def _without_metadata(observation: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in observation.items() if name != "metadata"}


def shortened(value: Any) -> str:
    """A value for a message, cut to a maximum length."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _outside(space: spaces.Space[Any], element: Any, path: str) -> str:
    if space.contains(element):
        return ""
    inner = (found for part in _parts(space, element, path) if (found := _outside(*part)))
    return next(inner, f"{path} is {shortened(element)}, which is not in its space {shortened(space)}")


def _parts(space: spaces.Space[Any], element: Any, path: str) -> Iterator[tuple[spaces.Space[Any], Any, str]]:
    if isinstance(space, spaces.Dict) and isinstance(element, dict):
        yield from ((space[key], element[key], f"{path}.{key}") for key in space if key in element)
    elif isinstance(space, spaces.Tuple) and isinstance(element, tuple):
        pairs = zip(space, element, strict=False)
        yield from ((part, value, f"{path}[{i}]") for i, (part, value) in enumerate(pairs))


def first_difference(one: Episode, other: Episode) -> str:
    """Where two episodes differ, in words; empty if they do not."""
    for number, (a, b) in enumerate(zip(one.moments, other.moments, strict=False)):
        if place := _differs(a._asdict(), b._asdict(), ""):
            return f"{f'step {number}' if number else 'the reset'}: {place}"
    if len(one.moments) != len(other.moments):
        return f"one ends after {len(one.moments) - 1} steps, the other after {len(other.moments) - 1}"
    return ""


def _differs(a: Any, b: Any, path: str) -> str:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        parts = ((a[key], b[key], f"{path}.{key}") for key in a)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        parts = ((x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
    elif _same(a, b):
        return ""
    else:
        return f"{path.lstrip('.')} is first {shortened(a)}, then {shortened(b)}"
    return next((place for part in parts if (place := _differs(*part))), "")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)
