"""Example values that a schema accepts, for schemas that no space can sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openenv_gym.spaces.schema import Node, Schema, resolve

_DEEPEST = 8

# By JSON Schema's ``format``, with Pydantic's additions.
_BY_FORMAT: dict[str, tuple[str, ...]] = {
    "date": ("2024-02-29", "1999-12-31"),
    "date-time": ("2024-02-29T12:30:00Z", "1999-12-31T23:59:59+01:00"),
    "time": ("12:30:00Z", "23:59:59"),
    "duration": ("P1DT2H", "PT30S"),
    "email": ("someone@example.com",),
    "idn-email": ("someone@example.com",),
    "hostname": ("example.com",),
    "ipv4": ("192.0.2.1",),
    "ipv6": ("2001:db8::1",),
    "ipvanyaddress": ("192.0.2.1", "2001:db8::1"),
    "uri": ("https://example.com/path?query=1",),
    "uuid": ("12345678-1234-4234-8234-123456789abc",),
    "json-string": ("{}", "[1]"),
}


def text_examples(schema: Schema) -> list[str]:
    """Return strings that fit a schema's ``format`` or ``pattern``; none if unknown or unneeded."""
    if "format" not in schema and "pattern" not in schema:
        return []
    given = [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else [])]
    strings = [text for text in given if isinstance(text, str)]
    return strings or list(_BY_FORMAT.get(str(schema.get("format")), ()))


def example(node: Node, sample: Callable[[Node], Any], depth: int = 0) -> Any:
    """Return a small JSON value that the schema accepts.

    Args:
        node: The schema; it may be recursive.
        sample: Samples a node without parts.
        depth: The depth inside another example.
    """
    if depth > _DEEPEST:
        return None
    if node.is_recursive:
        node = resolve(node.schema, node.document, node.path)
    schema = node.schema
    if "default" in schema:
        return schema["default"]
    branches = [node.child(branch, "|") for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
    if branches:
        # Null, if allowed, ends a recursion.
        simplest = min(branches, key=lambda branch: branch.schema.get("type") != "null")
        return example(simplest, sample, depth + 1)
    kind = schema.get("type")
    if kind == "object":
        required = schema.get("required", ())
        return {
            name: example(child, sample, depth + 1) for name, child in node.properties() if name in required
        }
    if kind == "array":
        places = schema.get("prefixItems")
        if places is None:
            places = [schema.get("items", {})] * schema.get("minItems", 0)
        return [example(node.child(place, "[]"), sample, depth + 1) for place in places]
    if kind in {"boolean", "integer", "number", "string"} or "enum" in schema or "const" in schema:
        return sample(node)
    return None
