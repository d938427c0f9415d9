"""JSON Schema as Pydantic writes it, simplified for the rules.

Nothing is ever fetched: a ``$ref`` points into the same document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openenv_gym.errors import SchemaError

Schema = Mapping[str, Any]
_KINDS = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
}


@dataclass(frozen=True)
class Node:
    """A schema at its place in a document.

    Attributes:
        schema: The schema, with references resolved and an ``allOf`` of one merged.
        document: The whole document, which references point into.
        path: The place in the element: ``board.cells[]``.
        seen: The references that led here.
    """

    schema: Schema
    document: Schema = field(repr=False)
    path: str = ""
    seen: frozenset[str] = frozenset()

    @property
    def is_recursive(self) -> bool:
        """Whether this is a reference to one of its own ancestors."""
        return self.schema.get("$ref") in self.seen

    @property
    def where(self) -> str:
        """The path, for an error message."""
        return self.path or "the schema"

    def replace(self, schema: Schema) -> Node:
        """Return a node at the same place with another schema."""
        return Node(schema, self.document, self.path, self.seen)

    def child(self, schema: Any, step: str) -> Node:
        """Return the node of a schema inside this one; ``step`` is the name of a field, ``[]`` or ``|0``."""
        joint = "." if self.path and step[0] not in "[|" else ""
        return resolve(schema, self.document, f"{self.path}{joint}{step}", self.seen)

    def properties(self) -> Iterator[tuple[str, Node]]:
        """Yield the names and nodes of an object's properties, in the schema's order."""
        for name, schema in self.schema.get("properties", {}).items():
            yield name, self.child(schema, name)


def union_of_models(one: Schema, other: Schema) -> dict[str, Any]:
    """Return the schema of objects that are of one model or of another.

    A field of one of them alone may be missing, and a field that differs is of either kind.
    """
    definitions = {**one.get("$defs", {})}
    renamed = {}
    for name, definition in other.get("$defs", {}).items():
        if definitions.setdefault(name, definition) != definition:
            renamed[f"#/$defs/{name}"] = f"#/$defs/{name}|other"
            definitions[f"{name}|other"] = definition
    for new in renamed.values():
        name = new.removeprefix("#/$defs/")
        definitions[name] = _with_references(definitions[name], renamed)
    first, second = one.get("properties", {}), _with_references(other.get("properties", {}), renamed)
    properties = {
        name: part if name not in first or part == first[name] else {"anyOf": [first[name], part]}
        for name, part in {**first, **second}.items()
    }
    required = [name for name in one.get("required", ()) if name in other.get("required", ())]
    return {**one, "$defs": definitions, "properties": properties, "required": required}


def _with_references(schema: Any, renamed: Mapping[str, str]) -> Any:
    """Return a schema with other references."""
    if isinstance(schema, Mapping):
        return {
            key: renamed.get(part, part)
            if key == "$ref" and isinstance(part, str)
            else _with_references(part, renamed)
            for key, part in schema.items()
        }
    return [_with_references(part, renamed) for part in schema] if isinstance(schema, list) else schema


def kind_of(payload: Any) -> str:
    """Return the JSON type of a payload; an array that is not a list yet is one too."""
    return _KINDS.get(type(payload), "array")


def kinds(node: Node) -> frozenset[str]:
    """Return the JSON types that a schema allows; none if it does not limit them."""
    if node.is_recursive:
        node = resolve(node.schema, node.document, node.path)
    schema = node.schema
    if "const" in schema:
        return frozenset({kind_of(schema["const"])})
    if "enum" in schema:
        return frozenset(map(kind_of, schema["enum"]))
    kind = schema.get("type")
    if kind is not None:
        return frozenset(kind if isinstance(kind, list) else [kind])
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    allowed = [kinds(node.child(branch, "|")) for branch in branches]
    return frozenset().union(*allowed) if all(allowed) else frozenset()


def steps(path: str) -> list[str]:
    """Split a path: ``board.cells[]|0`` is ``board``, ``cells``, ``[]`` and ``|0``."""
    return re.findall(r"\[\d*\]|\|\d*|[^.\[|]+", path)


def resolve(schema: Any, document: Schema, path: str = "", seen: frozenset[str] = frozenset()) -> Node:
    """Resolve references and merge each ``allOf`` of one.

    A recursive reference is kept as it is; see `Node.is_recursive`.

    Raises:
        SchemaError: A reference points to nothing, or out of the document.
    """
    if schema is True:
        schema = {}
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{path or 'the schema'}: a schema is an object, not {str(schema)[:80]}")
    while True:
        reference = schema.get("$ref")
        if reference is not None:
            if reference in seen:
                return Node(schema, document, path, seen)
            seen = seen | {reference}
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**_look_up(reference, document, path), **rest}
            continue
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            schema = {**parts[0], **rest}
            continue
        return Node(schema, document, path, seen)


def _look_up(reference: Any, document: Schema, path: str) -> Schema:
    where = path or "the schema"
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise SchemaError(
            f"{where}: the reference {reference!r} leads out of the document; it is not fetched"
        )
    found: Any = document
    for step in reference.removeprefix("#").strip("/").split("/"):
        if not step:
            continue
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            raise SchemaError(f"{where}: the reference {reference!r} leads nowhere")
        found = found[key]
    if not isinstance(found, Mapping):
        raise SchemaError(f"{where}: the reference {reference!r} does not lead to a schema")
    return found
