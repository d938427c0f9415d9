"""Actions from JSON, observations and states as JSON.

Aliases: a payload has the names that the schema has.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    PydanticCustomError,
    core_schema,
    to_json,
    to_jsonable_python,
)

from openenv_gym.arrays import Array
from openenv_gym.schema_keywords import BESIDE_MARK
from openenv_gym.tool_types import CallToolAction, ListToolsAction
from openenv_server.errors import WrongResultError

_TOOL_ACTIONS: dict[str, Any] = {"list_tools": ListToolsAction, "call_tool": CallToolAction}
_PUBLISHED = "openenv.core.env_server.mcp_types"

# What Pydantic raises for a value that JSON lacks.
_CANNOT = (TypeError, ValueError)

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
    fields = _model_json(observation, "observation", exclude=set(beside))
    reward = _json(getattr(observation, "reward", None), "reward")
    done = "true" if getattr(observation, "done", False) else "false"
    parts = [f'"observation":{fields},"reward":{reward},"done":{done}']
    if "truncated" in beside and (truncated := getattr(observation, "truncated", None)) is not None:
        parts.append(f'"truncated":{"true" if truncated else "false"}')
    metadata = getattr(observation, "metadata", None) or {}
    if extra_metadata:
        metadata = {**metadata, **extra_metadata}
    if metadata:
        parts.append(f'"metadata":{_json(metadata, "metadata")}')
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
    apart = _apart(kind)
    if as_json:
        fields = msgspec.json.decode(_model_json(observation, "observation", exclude=apart))
    else:
        try:
            fields = observation.model_dump(mode="json", by_alias=True, exclude=apart, fallback=plain)
        except _CANNOT as error:
            raise _unsendable(observation, "observation", apart, error) from error
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
    action: ModelT = validate_action(action_data, action_cls)
    return action


def deserialize_action_with_preprocessing(action_data: dict[str, Any], action_cls: type[ModelT]) -> ModelT:
    """Validate what a person typed into a form as an action.

    JSON text in the fields ``arguments`` and ``tokens`` is parsed, and a text in ``action_id`` becomes an
    integer. Tokens that the model does not take as a list become a tensor, if PyTorch is imported.

    Raises:
        pydantic.ValidationError: The payload does not fit the action model.
    """
    fields = dict(action_data)
    for name in ("arguments", "tokens"):
        if isinstance(fields.get(name), str):
            with suppress(ValueError):
                fields[name] = json.loads(fields[name])
    if isinstance(fields.get("action_id"), str):
        with suppress(ValueError):
            fields["action_id"] = int(fields["action_id"])
    torch = sys.modules.get("torch")  # imported by an environment that has tensors
    try:
        return deserialize_action(fields, action_cls)
    except ValidationError:
        if torch is None or not isinstance(fields.get("tokens"), list):
            raise
    fields["tokens"] = torch.tensor(fields["tokens"], dtype=torch.long)
    return action_cls.model_validate(fields)


def validate_action(payload: Any, model: type[BaseModel]) -> Any:
    """Validate a payload as an action, as JSON: a strict model takes an enum's value or a list for a tuple.

    Fields may have their aliases, as in the schema, or their own names. What lists or calls tools is
    validated as that, whatever the action model is, unless that has a field ``type`` for something else.

    Args:
        payload: JSON values; version 2 of the protocol may have arrays in it.
        model: The action model.

    Raises:
        pydantic.ValidationError: The payload does not fit the model.
    """
    model = _model_for(payload, model)
    if isinstance(payload, dict) and any(type(part) is np.ndarray for part in payload.values()):
        try:
            return model.model_validate(payload, by_alias=True, by_name=True)
        except ValidationError:
            pass  # strict, perhaps; as JSON, an array is nested lists
    try:
        try:
            text = to_json(payload, fallback=plain, inf_nan_mode="constants")
        except _CANNOT:
            return model.model_validate(payload, by_alias=True, by_name=True)
        return model.model_validate_json(text, by_alias=True, by_name=True)
    except ValidationError:
        raise
    except Exception as error:  # a validator of the author's raises something else than ValueError
        kind = PydanticCustomError(
            "validator_failed", "{reason}", {"reason": f"{type(error).__name__}: {error}"}
        )
        failed = InitErrorDetails(type=kind, loc=(), input=payload)
        raise ValidationError.from_exception_data(model.__name__, [failed]) from error


def _model_for(payload: Any, model: type[BaseModel]) -> type[BaseModel]:
    kind = payload.get("type") if isinstance(payload, dict) else None
    if kind not in ("list_tools", "call_tool"):
        return model
    actions = tool_actions(model)
    tools: type[BaseModel] = actions[kind]
    if issubclass(model, tools):
        return model
    has_other_types = "type" in model.model_fields and not issubclass(model, tuple(actions.values()))
    return model if has_other_types else tools


@cache
def tool_actions(model: type[BaseModel]) -> dict[str, Any]:
    """The models of actions that list and call tools, from the package that an action model is from."""
    published = sys.modules.get(_PUBLISHED)
    if published is None or not any(base.__module__.startswith("openenv.") for base in model.__mro__):
        return _TOOL_ACTIONS
    return {"list_tools": published.ListToolsAction, "call_tool": published.CallToolAction}


class AsJson:
    """Annotates a field whose value is validated as an action, as `validate_action` does.

    Args:
        model: The action model.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            partial(validate_action, model=self._model), json_schema_input_schema=core_schema.any_schema()
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return handler(self._model.__pydantic_core_schema__)


def state_json(state: Any) -> str:
    """The ``data`` of a state message, as JSON text."""
    if isinstance(state, BaseModel):
        return _model_json(state, "state")
    if state is None or isinstance(state, dict):
        return _json(state or {}, "state")
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


def json_value(value: Any, path: str, *, keep_infinities: bool = False) -> Any:
    """A value as JSON has it: NumPy's values become Python's, NaN and infinity become None.

    Args:
        value: The value.
        path: Its name in errors.
        keep_infinities: Keep NaN and infinity, which version 2 of the protocol can send.

    Raises:
        WrongResultError: It contains something that JSON lacks.
    """
    if not keep_infinities:
        return msgspec.json.decode(_json(value, path))
    try:
        return to_jsonable_python(value, fallback=plain)
    except _CANNOT as error:
        raise _unsendable(value, path, None, error) from error


def _json(value: Any, path: str) -> str:
    try:
        return to_json(value, fallback=plain, inf_nan_mode="null").decode()
    except _CANNOT as error:
        raise _unsendable(value, path, None, error) from error


def _model_json(model: BaseModel, path: str, exclude: set[str] | None = None) -> str:
    try:
        if type(model).model_dump is not BaseModel.model_dump:  # the author's own, which may leave fields out
            fields = model.model_dump(mode="json", by_alias=True, exclude=exclude, fallback=plain)
            return to_json(fields, inf_nan_mode="null").decode()
        return model.model_dump_json(by_alias=True, exclude=exclude, fallback=plain)
    except _CANNOT as error:
        raise _unsendable(model, path, exclude, error) from error


def check_sendable(value: Any, path: str) -> None:
    """Raise a `WrongResultError` that names the part of a value that cannot be sent, if there is one."""
    found = _first_unsendable(value, path)
    if found is not None:
        raise WrongResultError(found)


def _unsendable(value: Any, path: str, exclude: set[str] | None, cause: Exception) -> WrongResultError:
    return WrongResultError(_first_unsendable(value, path, exclude) or f"The {path} cannot be sent: {cause}")


def _first_unsendable(value: Any, path: str, exclude: Collection[str] | None = None) -> str | None:
    """Say which part of a value JSON lacks, and what to do; None if there is no such part."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            if name in (exclude or ()):
                continue
            try:
                value.model_dump_json(include={name}, fallback=plain)
            except _CANNOT:
                where = f"{path}.{name}"
                return _first_unsendable(getattr(value, name), where) or _remedy(getattr(value, name), where)
        value = value.model_extra or {}
    if isinstance(value, dict):
        parts: Iterable[tuple[Any, Any]] = [(f".{key}", part) for key, part in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"[{place}]", part) for place, part in enumerate(value)]
    else:
        try:
            to_json(value, fallback=plain)
        except _CANNOT:
            return _remedy(value, path)
        return None
    return next((found for key, part in parts if (found := _first_unsendable(part, path + key))), None)


def _remedy(value: Any, path: str) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return (
            f"{path} is bytes that are not text in UTF-8; declare the field as pydantic.Base64Bytes, or set "
            'ser_json_bytes="base64" in the model\'s config'
        )
    if isinstance(value, str):
        return (
            f"{path} is text with a lone surrogate, which no encoding has; decode its source with "
            'errors="replace"'
        )
    return (
        f"{path} is of the type {type(value).__qualname__}, which JSON lacks; use a Pydantic model or plain "
        "types, and annotate an array with openenv_gym.Array"
    )


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
    return {
        name: field.serialization_alias or name
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
    if "metadata" in model.model_fields and model.model_fields["metadata"].serialization_alias:
        marked.add("metadata")  # which keeps its plain name there
    return frozenset({"done", "reward"} | marked)
