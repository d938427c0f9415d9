"""JSON Schema as Pydantic writes it, made plain enough for the rules to look at.

Nothing is ever fetched: a ``$ref`` leads into the same document or nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openenv_gym.errors import SchemaError

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A schema at its place in a document.

    Attributes:
        schema: The schema, with references followed and an ``allOf`` of one merged in.
        document: The whole document, which references lead into.
        path: Where in the element this is: ``board.cells[]``.
        seen: The references that were followed on the way here.
    """

    schema: Schema
    document: Schema = field(repr=False)
    path: str = ""
    seen: frozenset[str] = frozenset()

    @property
    def is_recursive(self) -> bool:
        """Whether this is a reference that leads back to a place on the way here."""
        return self.schema.get("$ref") in self.seen

    @property
    def where(self) -> str:
        """The path, for a message."""
        return self.path or "the schema"

    def replace(self, schema: Schema) -> Node:
        """The same place with another schema."""
        return Node(schema, self.document, self.path, self.seen)

    def child(self, schema: Any, step: str) -> Node:
        """The node of a schema inside this one; ``step`` is a field's name, ``[]`` or ``|0``."""
        joint = "." if self.path and step[0] not in "[|" else ""
        return resolve(schema, self.document, f"{self.path}{joint}{step}", self.seen)

    def properties(self) -> Iterator[tuple[str, Node]]:
        """The nodes of an object's properties, in the schema's order."""
        for name, schema in self.schema.get("properties", {}).items():
            yield name, self.child(schema, name)


def steps(path: str) -> list[str]:
    """A path's steps: ``board.cells[]|0`` is ``board``, ``cells``, ``[]`` and ``|0``."""
    return re.findall(r"\[\d*\]|\|\d*|[^.\[|]+", path)


def resolve(schema: Any, document: Schema, path: str = "", seen: frozenset[str] = frozenset()) -> Node:
    """Follows references and merges each ``allOf`` of one, until a schema proper is there.

    A reference that leads back to where it came from is left as it is; see `Node.is_recursive`.

    Raises:
        SchemaError: A reference leads nowhere, or out of the document.
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
