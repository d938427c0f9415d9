"""The JSON Schemas of an environment's models, under the names that payloads have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from openenv_gym.json_schema import ModelJsonSchema
from openenv_gym.schema_keywords import ACTION_ONLY_ON_THE_WIRE, OBSERVATION_ONLY_ON_THE_WIRE

# Marks what has no JSON Schema, for as long as the schema is made; the value is the type's name.
_UNTYPED = "x-openenv-untyped"

log = logging.getLogger("openenv_server")


def action_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of an action model."""
    schema = _schema(model, "validation", "no action with one fits the model")
    return _with_plain_names(schema, model, ACTION_ONLY_ON_THE_WIRE)


def observation_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of an observation model."""
    schema = _schema(model, "serialization", "it is observed as JSON text")
    return _with_plain_names(schema, model, OBSERVATION_ONLY_ON_THE_WIRE)


def state_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a state model."""
    return _schema(model, "serialization", "it is sent as any JSON value")


class _Generator(ModelJsonSchema):
    """Marks the types that have no JSON Schema, where Pydantic raises without a word on the field."""

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        kind: Any = schema.get("cls")
        return {_UNTYPED: getattr(kind, "__qualname__", None) or schema["type"]}


def _schema(
    model: type[BaseModel], mode: Literal["validation", "serialization"], consequence: str
) -> dict[str, Any]:
    schema = model.model_json_schema(mode=mode, schema_generator=_Generator)
    untyped = list(_take_untyped(schema, ""))
    for definition, part in schema.get("$defs", {}).items():
        untyped.extend(_take_untyped(part, definition))
    for path, kind in untyped:
        log.warning(
            "%s: the field %s is of the type %s, which has no JSON Schema, so %s. Annotate an array with "
            "openenv_gym.Array(dtype, shape), declare bytes as pydantic.Base64Bytes, and use a Pydantic "
            "model or plain types for anything else.",
            model.__name__,
            path or "itself",
            kind,
            consequence,
        )
    return schema


def _take_untyped(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    """Remove the marks from a schema, in place; yields the path and the type of each."""
    if isinstance(schema, list):
        for part in schema:
            yield from _take_untyped(part, path)
    elif isinstance(schema, dict):
        if _UNTYPED in schema:
            yield path, schema.pop(_UNTYPED)
        for name, part in schema.get("properties", {}).items():
            yield from _take_untyped(part, f"{path}.{name}" if path else name)
        for keyword in ("items", "additionalProperties"):
            yield from _take_untyped(schema.get(keyword), f"{path}[]")
        for keyword in ("prefixItems", "anyOf", "oneOf", "allOf"):
            yield from _take_untyped(schema.get(keyword), path)


def _with_plain_names(
    schema: dict[str, Any], model: type[BaseModel], names: frozenset[str]
) -> dict[str, Any]:
    """Give the fields of every action or observation their plain names, which the protocol uses."""
    properties = schema.get("properties", {})
    for name in names & model.model_fields.keys() - properties.keys():
        field = model.model_fields[name]
        for alias in (field.serialization_alias, field.alias, field.validation_alias):
            if isinstance(alias, str) and alias in properties:
                properties[name] = properties.pop(alias)
                schema["required"] = [
                    name if other == alias else other for other in schema.get("required", [])
                ]
                break
    return schema
