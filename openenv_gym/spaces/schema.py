"""JSON Schema as Pydantic writes it, simplified for the rules.

Nothing is ever fetched: a ``$ref`` points into the same document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openenv_gym.errors import SchemaError, excerpt
from openenv_gym.schema_keywords import SPACE_KEYWORD
from openenv_gym.spaces.keywords import check_keywords
from openenv_gym.spaces.limits import (
    MOST_LEVELS,
    MOST_PARTS,
    Document,
    check_size,
    shown_path,
    too_deep,
    too_many_parts,
)

Schema = Mapping[str, Any]
# What costs one unit of work (`Document.spend`).
_CHARACTERS_OF_A_UNIT = 2**7
_KEYS_OF_A_UNIT = 2**6
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
        schema: The schema, with references resolved and an ``allOf`` of one merged. Its keywords have values
            that JSON Schema allows.
        document: The whole document, which references point into.
        path: The place in the element: ``board.cells[]``.
        seen: The references that led here.
    """

    schema: Schema
    document: Document = field(repr=False)
    path: str = ""
    seen: frozenset[str] = frozenset()

    @property
    def is_recursive(self) -> bool:
        """Whether this is a reference to one of its own ancestors."""
        return self.schema.get("$ref") in self.seen

    @property
    def where(self) -> str:
        """The path, for an error message."""
        return shown_path(self.path)

    @property
    def alternatives(self) -> list[Any]:
        """The schemas in ``anyOf`` and ``oneOf``."""
        return [*self.schema.get("anyOf", ()), *self.schema.get("oneOf", ())]

    @property
    def fixed_length(self) -> int | None:
        """The number of items, of an array that has the same number and the same kind of items always."""
        schema = self.schema
        if schema.get("type") != "array" or "prefixItems" in schema or schema.get("uniqueItems"):
            return None
        length = schema.get("minItems", 0)
        return length if length == schema.get("maxItems") and length > 0 else None

    def expanded(self) -> Node:
        """Return the node of the schema that a recursive reference points to."""
        return resolve(self.schema, self.document, self.path)

    def replace(self, schema: Schema) -> Node:
        """Return a node at the same place with another schema."""
        check_keywords(schema, self.path)
        return Node(schema, self.document, self.path, self.seen)

    def child(self, schema: Any, step: str) -> Node:
        """Return the node of a schema inside this one; ``step`` is the name of a field, ``[]`` or ``|0``."""
        joint = "" if not self.path or step.startswith(("[", "|")) else "."
        return resolve(schema, self.document, f"{self.path}{joint}{step}", self.seen)

    def properties(self) -> Iterator[tuple[str, Node]]:
        """Yield the names and nodes of an object's properties, in the schema's order."""
        for name, schema in self.schema.get("properties", {}).items():
            yield name, self.child(schema, name)


def union_of_models(one: Schema, other: Schema) -> dict[str, Any]:
    """Return the schema of objects that are of one model or of another.

    A field of one of them alone may be missing, and a field that differs is of either kind.

    Raises:
        SchemaError: One of them is no schema, or too large.
    """
    for schema in (one, other):
        check_size(schema)
        check_keywords(schema)
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
    return _kinds(node, frozenset()) or frozenset()


def _kinds(node: Node, above: frozenset[str]) -> frozenset[str] | None:
    """Return the types as `kinds` does; None for a reference to a union that it is an alternative of."""
    if node.is_recursive:
        reference = node.schema["$ref"]
        if reference in above:
            return None
        above |= {reference}
        node = node.expanded()
    schema = node.schema
    if "const" in schema:
        return frozenset({kind_of(schema["const"])})
    if "enum" in schema:
        return frozenset(map(kind_of, schema["enum"]))
    kind = schema.get("type")
    if kind is not None:
        return frozenset([kind] if isinstance(kind, str) else kind)
    branches = (_kinds(node.child(branch, "|"), above) for branch in node.alternatives)
    allowed = [found for found in branches if found is not None]
    return frozenset().union(*allowed) if all(allowed) else frozenset()


def steps(path: str) -> list[str]:
    """Split a path: ``board.cells[]|0`` is ``board``, ``cells``, ``[]`` and ``|0``."""
    return re.findall(r"\[\d*\]|\|\d*|[^.\[|]+", path)


def open_schema(schema: Any, path: str = "", within: Document | None = None) -> Node:
    """Return the node of a whole schema, if it is small enough to compile.

    Args:
        schema: The schema.
        path: Its place in the element.
        within: The document that it is a part of, although its references point into itself.

    Raises:
        SchemaError: It is no schema, or it is too large or too deep, with all references expanded.
    """
    if not isinstance(schema, Mapping):
        raise _no_schema(schema, path)
    root = resolve(schema, Document(schema, within), path)
    if root.document.may_be_large:
        check_parts(root)
    return root


def check_parts(root: Node) -> None:
    """Count the parts of a schema before any space is made: a small one may expand to millions.

    Raises:
        SchemaError: They are too many, or too deep.
    """
    count = 0
    pending = [(root, 1, 1)]
    while pending:
        node, times, level = pending.pop()
        count += times
        if count > MOST_PARTS:
            raise too_many_parts(root.path)
        if level > MOST_LEVELS:
            raise too_deep(root.path)
        pending += [(child, times * repeated, level + 1) for child, repeated in _children(node)]


def _children(node: Node) -> Iterator[tuple[Node, int]]:
    """Yield the schemas inside a schema that get spaces, and how many spaces each of them gets."""
    schema = node.schema
    if _has_own_space(schema):
        return
    yield from ((child, 1) for _, child in node.properties())
    yield from ((node.child(part, "[]"), 1) for part in schema.get("prefixItems", ()))
    yield from ((node.child(part, "|"), 1) for part in node.alternatives)
    if "items" in schema and schema.get("type") == "array":
        times = node.fixed_length or 1
        yield node.child(schema["items"], "[]"), 1 if _is_numeric(node) else times


def _is_numeric(node: Node) -> bool:
    """Return whether nested arrays of fixed lengths hold numbers, so that they have one space."""
    while node.fixed_length is not None:
        node = node.child(node.schema.get("items", {}), "[]")
    return node.schema.get("type") in ("boolean", "integer", "number") and not _has_own_space(node.schema)


def _has_own_space(schema: Schema) -> bool:
    return "const" in schema or "enum" in schema or SPACE_KEYWORD in schema


def resolve(schema: Any, document: Document, path: str = "", seen: frozenset[str] = frozenset()) -> Node:
    """Resolve references and merge each ``allOf`` of one.

    A recursive reference is kept as it is; see `Node.is_recursive`.

    Raises:
        SchemaError: A keyword's value is wrong, a reference points to nothing or out of the document, or the
            document has cost too much work already.
    """
    if schema is True:
        schema = {}
    if type(schema) is not dict and not isinstance(schema, Mapping):
        raise _no_schema(schema, path)
    document.spend(1 + len(path) // _CHARACTERS_OF_A_UNIT, path)
    while True:
        reference = schema.get("$ref")
        if reference is not None:
            if not isinstance(reference, str) or not reference.startswith("#"):
                raise SchemaError(
                    f"{shown_path(path)}: the reference {excerpt(reference)} leads out of the document; "
                    "it is not fetched"
                )
            if reference in seen:
                break
            document.spend((len(seen) + len(schema)) // _KEYS_OF_A_UNIT, path)
            seen = seen | {reference}
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**_look_up(reference, document, path), **rest}
            continue
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
            document.spend(len(schema) // _KEYS_OF_A_UNIT, path)
            rest = {key: value for key, value in schema.items() if key != "allOf"}
            schema = {**parts[0], **rest}
            continue
        break
    check_keywords(schema, path)
    return Node(schema, document, path, seen)


def _look_up(reference: str, document: Document, path: str) -> Schema:
    document.spend(len(reference) // _CHARACTERS_OF_A_UNIT, path)
    found: Any = document.schema
    for step in reference.removeprefix("#").strip("/").split("/"):
        if not step:
            continue
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            raise SchemaError(f"{shown_path(path)}: the reference {excerpt(reference)} leads nowhere")
        found = found[key]
    if not isinstance(found, Mapping):
        raise SchemaError(f"{shown_path(path)}: the reference {excerpt(reference)} does not lead to a schema")
    return found


def _no_schema(schema: object, path: str) -> SchemaError:
    return SchemaError(f"{shown_path(path)}: a schema is an object, not {excerpt(schema)}")
