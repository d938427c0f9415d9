"""Compiles a JSON Schema into a codec, by a table of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gymnasium import spaces

from openenv_gym.errors import SchemaError, excerpt
from openenv_gym.schema_keywords import RENDER_KEYWORD
from openenv_gym.spaces import codecs
from openenv_gym.spaces.codecs import Codec
from openenv_gym.spaces.declared import codec_from_space
from openenv_gym.spaces.limits import MOST_LEVELS, too_deep
from openenv_gym.spaces.schema import Node, Schema

# What a space costs, in units of `Document.spend`.
_WORK = 4

# Constraints that a space cannot express. The server checks them.
_ONLY_THE_SERVER_CHECKS = (
    "pattern",
    "multipleOf",
    "not",
    "if",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "uniqueItems",
    "contains",
    "contentEncoding",
    "allOf",
    "dependencies",
)


class Rule(NamedTuple):
    """An entry of the table in `rules`.

    Attributes:
        name: Its name in the report.
        apply: Returns the codec of a node, or None if the rule does not apply.
    """

    name: str
    apply: Callable[[Compiler, Node], Codec | None]


@dataclass(frozen=True)
class SchemaFinding:
    """The result for one part of a schema.

    Attributes:
        path: The path of the part: ``board.cells[]``; "" for the whole.
        rule: The name of the rule that made its space.
        space: The space.
        inexact: Why the space is larger than the schema; "" if it is not.
        renders: The render mode that the server marks it with, or "".
        labels: The JSON values that the indices of its `Discrete` stand for; empty if they are numbers.
    """

    path: str
    rule: str
    space: spaces.Space[Any]
    inexact: str = ""
    renders: str = ""
    labels: tuple[Any, ...] = ()


@dataclass
class Compiler:
    """Applies the rules to one schema.

    Attributes:
        rules: The rules; the first that applies is used.
        sends_all: Whether every field is always sent, as in an action. An observation may lack those that are
            not required.
        omit_defaults: Omit the fields that are not required.
        overrides: The user's own spaces, by path.
        shapes: The shapes of arrays without a length in the schema, by path.
        report: The result for each part, in the order of the schema.
    """

    rules: Sequence[Rule]
    sends_all: bool = False
    omit_defaults: bool = False
    overrides: Mapping[str, spaces.Space[Any]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    report: list[SchemaFinding] = field(default_factory=list)
    _depth: int = 0
    _samples: int = 0

    def compile(self, node: Node) -> Codec:
        """Return the codec of a node, by the first rule that applies.

        Raises:
            SchemaError: The schema is too large, or an override does not fit it.
        """
        node.document.spend(_WORK, node.path)
        if self._depth >= MOST_LEVELS:
            raise too_deep(node.path)
        place = len(self.report)
        self._depth += 1
        try:
            rule, codec = next(
                (rule, codec) for rule in self.rules if (codec := rule.apply(self, node)) is not None
            )
        finally:
            self._depth -= 1
        self.report.insert(place, self._finding(node, rule, codec))
        override = self.overrides.get(node.path) if node.path else None
        return codec if override is None else self.override(node.where, codec, override)

    @staticmethod
    def _finding(node: Node, rule: Rule, codec: Codec) -> SchemaFinding:
        renders = str(node.schema.get(RENDER_KEYWORD, ""))
        return SchemaFinding(node.path, rule.name, codec.space, _inexact(node.schema), renders, codec.labels)

    def sample_payload(self, node: Node) -> Any:
        """Return a sampled payload of a node that has no parts: the same in each process."""
        codec = Compiler(self.rules).compile(node)
        node.document.spend_on_sample(codec.space, node.path)
        codec.space.seed(self._samples)
        self._samples += 1
        return codec.encode(codec.space.sample())

    def fields(self, node: Node, left_out: Callable[[str, Node], bool] | None = None) -> codecs.DictCodec:
        """Return the codec of an object's properties, except those that are left out."""
        required = frozenset(node.schema.get("required", ()))
        parts: dict[str, Codec] = {}
        defaults: dict[str, Any] = {}
        for name, child in node.properties():
            if left_out is not None and left_out(name, child):
                continue
            if self.omit_defaults and name not in required:
                continue
            parts[name] = self.compile(child)
            if "default" in child.schema:
                defaults[name] = child.schema["default"]
            elif name not in required:
                # An optional list or dict has a default factory, which a schema does not show; most often
                # that of an empty one.
                empty = _empty(child)
                if empty is not None:
                    defaults[name] = empty
                elif not self.sends_all:
                    parts[name] = codecs.OptionalCodec(parts[name])
        return codecs.DictCodec(parts, defaults=defaults)

    def override(self, where: str, codec: Codec, space: spaces.Space[Any]) -> Codec:
        """Return the codec of the user's own space, after a check that its payloads fit the schema.

        Raises:
            SchemaError: They do not fit.
        """
        chosen = codec_from_space(space)
        for _ in range(10):
            payload = chosen.encode(space.sample())
            try:
                fits = codec.space.contains(codec.decode(payload))
            except ValueError:
                fits = False
            if not fits:
                raise SchemaError(
                    f"{where}: {excerpt(space)} does not fit the schema, which makes {excerpt(codec.space)}; "
                    f"{excerpt(payload)} is not in it"
                )
        return chosen


def _inexact(schema: Schema) -> str:
    """Return what a schema requires and its space does not; "" if nothing."""
    unchecked = [key for key in _ONLY_THE_SERVER_CHECKS if key in schema]
    if schema.get("type") == "string" and "format" in schema:
        unchecked.append("format")
    notes = [f"only the server checks {', '.join(unchecked)}"] if unchecked else []
    if schema.get("properties") and schema.get("additionalProperties"):
        notes.append("additional properties are not in the space")
    return "; ".join(notes)


def _empty(node: Node) -> Any:
    """Return the empty list or dict, if the schema allows one, else None."""
    schema = node.schema
    if schema.get("type") == "array" and "prefixItems" not in schema and not schema.get("minItems"):
        return []
    return {} if schema.get("type") == "object" and not schema.get("properties") else None
