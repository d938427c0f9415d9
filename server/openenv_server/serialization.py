"""Observations and states as JSON."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

from openenv_gym.arrays import Array
from openenv_gym.schema_keywords import BESIDE_MARK
from openenv_server.errors import WrongResultError

ModelT = TypeVar("ModelT", bound=BaseModel)


def observation_json(observation: Any, extra_metadata: dict[str, Any] | None = None) -> str:
    """The ``data`` of an observation message, as JSON text. NaN and infinity become null.

    Args:
        observation: A Pydantic model with ``done`` and ``reward``.
        extra_metadata: Added to the observation's own metadata.

    Raises:
        WrongResultError: The environment returned something else.
    """
    beside = _beside(_model_of(observation))
    fields = observation.model_dump_json(exclude=set(beside), fallback=plain)
    reward = _json(getattr(observation, "reward", None))
    done = "true" if getattr(observation, "done", False) else "false"
    parts = [f'"observation":{fields},"reward":{reward},"done":{done}']
    if "truncated" in beside and (truncated := getattr(observation, "truncated", None)) is not None:
        parts.append(f'"truncated":{"true" if truncated else "false"}')
    metadata = getattr(observation, "metadata", None) or {}
    if extra_metadata:
        metadata = {**metadata, **extra_metadata}
    if metadata:
        parts.append(f'"metadata":{_json(metadata)}')
    return "{" + ",".join(parts) + "}"


class ObservationParts(NamedTuple):
    """An observation's own fields, as JSON values and arrays, and those that every observation has."""

    fields: dict[str, Any]
    reward: Any
    done: bool
    truncated: bool | None
    metadata: dict[str, Any]


def observation_parts(observation: Any, *, as_json: bool = False) -> ObservationParts:
    """Take an observation apart.

    Args:
        observation: A Pydantic model with ``done`` and ``reward``.
        as_json: Give the fields exactly as JSON has them: NaN and infinity become None.

    Raises:
        WrongResultError: The environment returned something else.
    """
    kind = _model_of(observation)
    if as_json:
        fields = msgspec.json.decode(observation.model_dump_json(exclude=_apart(kind), fallback=plain))
    else:
        fields = observation.model_dump(mode="json", exclude=_apart(kind), fallback=plain)
    for name, key in _array_fields(kind).items():
        fields[key] = getattr(observation, name)
    truncated = getattr(observation, "truncated", None) if "truncated" in _beside(kind) else None
    return ObservationParts(
        fields,
        getattr(observation, "reward", None),
        bool(getattr(observation, "done", False)),
        truncated,
        getattr(observation, "metadata", None) or {},
    )


def serialize_observation(observation: Any) -> dict[str, Any]:
    """An observation as the JSON values that a client receives: its fields, reward, done and the rest."""
    data: dict[str, Any] = json.loads(observation_json(observation))
    return data


def deserialize_action(action_data: dict[str, Any], action_cls: type[ModelT]) -> ModelT:
    """Validate a payload as an action.

    Raises:
        pydantic.ValidationError: The payload does not fit the action model.
    """
    return action_cls.model_validate(action_data)


def state_json(state: Any) -> str:
    """The ``data`` of a state message, as JSON text."""
    if isinstance(state, BaseModel):
        return state.model_dump_json(fallback=plain)
    if isinstance(state, dict):
        return _json(state)
    raise WrongResultError(
        f"The environment's state is {type(state).__name__}, not an instance of a state model"
    )


def plain(value: Any) -> Any:
    """Convert NumPy's numbers and arrays to Python's own.

    Raises:
        TypeError: It is something else, which JSON lacks.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def json_value(value: Any) -> Any:
    """A value as JSON has it: NumPy's values become Python's, NaN and infinity become None."""
    return msgspec.json.decode(to_json(value, fallback=plain, inf_nan_mode="null"))


def _json(value: Any) -> str:
    return to_json(value, fallback=plain, inf_nan_mode="null").decode()


def _model_of(observation: Any) -> type[BaseModel]:
    if not isinstance(observation, BaseModel):
        raise WrongResultError(
            f"The environment returned {type(observation).__name__}, not an observation; "
            "reset and step return an instance of the observation model"
        )
    return type(observation)


@cache
def _array_fields(model: type[BaseModel]) -> dict[str, str]:
    """The fields declared as arrays of one dtype and shape, each with its key on the wire."""
    by_alias = model.model_config.get("serialize_by_alias", False)
    return {
        name: (by_alias and field.serialization_alias) or name
        for name, field in model.model_fields.items()
        if any(isinstance(mark, Array) for mark in field.metadata)
    }


@cache
def _apart(model: type[BaseModel]) -> set[str]:
    """The fields that are not among an observation's JSON fields."""
    return {*_beside(model), "metadata", *_array_fields(model)}


@cache
def _beside(model: type[BaseModel]) -> frozenset[str]:
    """The fields of an observation model that are sent beside the observation."""
    marked = {
        name
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(BESIDE_MARK)
    }
    return frozenset({"done", "reward"} | marked)
