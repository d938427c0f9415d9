"""Questions made from a field's JSON Schema: what to type, and how to parse it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openenv_gym.schema_keywords import SPACE_KEYWORD
from openenv_gym.spaces.schema import Node

_YES_AND_NO = {
    **dict.fromkeys(("yes", "y", "true", "1"), True),
    **dict.fromkeys(("no", "n", "false", "0"), False),
}
_MAX_HINT_LENGTH = 60
# The value of a field that is not sent, so that the server uses its default.
OMITTED = object()


class InvalidAnswerError(ValueError):
    """The text cannot be the field's value. The message says what can."""


@dataclass(frozen=True)
class Question:
    """The question for one field.

    Attributes:
        label: The field's path.
        hint: The accepted answers, in a few words.
        parse: Converts an answer to a value, or raises `InvalidAnswerError`.
        default: The value for an empty answer, in a tuple; None if an answer is required.
        help: The text for the answer ``?``.
        fields: The node of an object whose fields can be asked for one by one.
    """

    label: str
    hint: str
    parse: Callable[[str], Any]
    default: tuple[Any] | None = None
    help: str = ""
    fields: Node | None = None

    @property
    def prompt(self) -> str:
        """The text before the cursor."""
        shown = ""
        if self.default is not None:
            (value,) = self.default
            shown = " [omitted]" if value is OMITTED else f" [{_shortly(value)}]"
        return f"{self.label} ({self.hint}){shown}: "


def question_of(node: Node, label: str, *, is_required: bool = True) -> Question:
    """Make the question for a field.

    Args:
        node: The field's schema.
        label: The field's path.
        is_required: Whether it must be sent.
    """
    node = _declared(node)
    choices = _without_null(node)
    if choices is not None:
        inner = question_of(choices, label)
        default: tuple[Any] = (node.schema.get("default"),)
        return Question(label, inner.hint, inner.parse, default, _help(node, inner.hint), inner.fields)
    hint, parse = _kind(node.schema)
    has_fields = node.schema.get("type") == "object" and bool(node.schema.get("properties"))
    default_given: tuple[Any] | None = None
    if "default" in node.schema:
        default_given = (node.schema["default"],)
    elif not is_required:
        default_given = (OMITTED,)
    return Question(label, hint, parse, default_given, _help(node, hint), node if has_fields else None)


def _kind(schema: Mapping[str, Any]) -> tuple[str, Callable[[str], Any]]:
    """The hint for a schema, and the parser of its answers."""
    if "const" in schema:
        return _shortly(schema["const"]), lambda _: schema["const"]
    if "enum" in schema:
        return _choice(schema["enum"])
    match schema.get("type"):
        case "boolean":
            return "yes or no", _boolean
        case "integer" | "number" as kind:
            return _number_kind(schema, is_whole=kind == "integer")
        case "string":
            return _length("text", schema.get("minLength"), schema.get("maxLength")), _text
        case "array":
            return _array_kind(schema)
        case "object":
            return "JSON object", _json_of(dict, 'a JSON object, such as {"key": 1}')
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        kinds = dict.fromkeys(_name(part) for part in alternatives)
        takes_text = any(part.get("type") == "string" for part in alternatives)
        return f"JSON: {' or '.join(kinds)}", _json_or_text if takes_text else _json
    return "JSON", _json_or_text


def _choice(values: list[Any]) -> tuple[str, Callable[[str], Any]]:
    by_text = {str(value) if isinstance(value, str) else json.dumps(value): value for value in values}
    listed = ", ".join(by_text)

    def parse(text: str) -> Any:
        for found in (text, text.strip('"')):
            if found in by_text:
                return by_text[found]
        matches = [value for name, value in by_text.items() if text and name.lower().startswith(text.lower())]
        if len(matches) == 1:
            return matches[0]
        raise InvalidAnswerError(f"Type one of: {listed}")

    return (listed if len(listed) <= _MAX_HINT_LENGTH else f"one of {len(by_text)}"), parse


def _boolean(text: str) -> bool:
    try:
        return _YES_AND_NO[text.lower()]
    except KeyError:
        raise InvalidAnswerError("Type yes or no") from None


def _number_kind(schema: Mapping[str, Any], *, is_whole: bool) -> tuple[str, Callable[[str], Any]]:
    noun = "whole number" if is_whole else "number"
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    step = schema.get("multipleOf")
    limits = [
        f"{low:g} to {high:g}" if low is not None and high is not None else "",
        f"from {low:g}" if low is not None and high is None else "",
        f"to {high:g}" if high is not None and low is None else "",
        f"above {above:g}" if above is not None else "",
        f"below {below:g}" if below is not None else "",
        f"a multiple of {step:g}" if step is not None else "",
    ]
    hint = " ".join([noun, *filter(None, limits)]) if any(limits) else noun

    def parse(text: str) -> Any:
        try:
            value = int(text) if is_whole else float(text)
        except ValueError:
            raise InvalidAnswerError(f"Type a {hint}") from None
        if not math.isfinite(value) or (
            (low is not None and value < low)
            or (high is not None and value > high)
            or (above is not None and value <= above)
            or (below is not None and value >= below)
        ):
            raise InvalidAnswerError(f"Type a {hint}")
        return value

    return hint, parse


def _text(text: str) -> str:
    """The text itself. In quotes it is read as JSON, for a text that starts with a colon, for example."""
    if text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return str(value)
    return text


def _array_kind(schema: Mapping[str, Any]) -> tuple[str, Callable[[str], Any]]:
    items = schema.get("items", {})
    if isinstance(items, Mapping) and items.get("type") in ("integer", "number"):
        hint = _length("numbers", schema.get("minItems"), schema.get("maxItems"))
        return f"{hint}, separated by spaces", _numbers(is_whole=items["type"] == "integer")
    shape, inner = [], schema
    while inner.get("type") == "array" and isinstance(inner.get("items"), Mapping):
        least, most = inner.get("minItems"), inner.get("maxItems")
        shape.append(str(most) if most is not None and least == most else "any")
        inner = inner["items"]
    words = f"JSON list of {_name(inner)}s"
    if len(shape) > 1:
        words = f"JSON lists of {_name(inner)}s, of shape ({', '.join(shape)})"
    return words, _json_of(list, "a JSON list, such as [1, 2]")


def _numbers(*, is_whole: bool) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if text.startswith("["):
            return _json_of(list, "a JSON list, such as [1, 2]")(text)
        try:
            return [int(part) if is_whole else float(part) for part in text.replace(",", " ").split()]
        except ValueError:
            noun = "whole numbers" if is_whole else "numbers"
            raise InvalidAnswerError(f"Type {noun} separated by spaces") from None

    return parse


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidAnswerError(f"That is not JSON: {error}") from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json_of(kind: type, description: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = _json(text)
        if not isinstance(value, kind):
            raise InvalidAnswerError(f"Type {description}")
        return value

    return parse


def _without_null(node: Node) -> Node | None:
    """The other alternative of a schema that allows null; None if it has not exactly two."""
    parts = node.schema.get("anyOf") or node.schema.get("oneOf") or []
    others = [part for part in parts if part.get("type") != "null"]
    if len(others) != 1 or len(parts) != 2:
        return None
    described = {key: node.schema[key] for key in ("description",) if key in node.schema}
    return node.child({**others[0], **described}, "|0")


def _declared(node: Node) -> Node:
    """Replace a schema that has only an exact Gymnasium space by its nearest JSON Schema."""
    declared = node.schema.get(SPACE_KEYWORD)
    if declared is None or "type" in node.schema:
        return node
    return node.replace({**{k: v for k, v in node.schema.items() if k != SPACE_KEYWORD}, **_plain(declared)})


def _plain(space: Mapping[str, Any]) -> dict[str, Any]:
    match space["type"]:
        case "Discrete":
            return {"type": "integer", "minimum": space["start"], "maximum": space["start"] + space["n"] - 1}
        case "Text":
            return {"type": "string", "minLength": space["min_length"], "maxLength": space["max_length"]}
        case "Dict":
            parts = {name: _plain(part) for name, part in space["spaces"]}
            return {"type": "object", "properties": parts, "required": list(parts)}
        case "Box" | "MultiDiscrete" | "MultiBinary" as kind:
            is_whole = kind != "Box" or "int" in space["dtype"]
            schema: dict[str, Any] = {"type": "integer" if is_whole else "number"}
            if kind == "Box":
                schema |= dict(_limits(space))
            shape = space.get("shape") or ([len(space["nvec"])] if kind == "MultiDiscrete" else [])
            for length in reversed(shape):
                schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
            return schema
    return {}


def _limits(space: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for keyword, bound in (("minimum", space["low"]), ("maximum", space["high"])):
        if isinstance(bound, int | float) and math.isfinite(bound):
            yield keyword, bound


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("title") or schema.get("type") or "value")


def _length(noun: str, least: int | None, most: int | None) -> str:
    if least is not None and least == most:
        return f"{least} {noun}" if noun.endswith("s") else f"{noun} of {least} characters"
    limits = [f"at least {least}" if least else "", f"at most {most}" if most is not None else ""]
    return ", ".join([noun, *filter(None, limits)])


def _help(node: Node, hint: str) -> str:
    """The full description of a field in its schema."""
    parts = [str(node.schema.get("description") or ""), f"Type: {hint}."]
    if "enum" in node.schema:
        parts.append(f"One of: {', '.join(map(_shortly, node.schema['enum']))}.")
    if pattern := node.schema.get("pattern"):
        parts.append(f"Pattern: {pattern}")
    if examples := node.schema.get("examples"):
        parts.append(f"For example: {', '.join(map(_shortly, examples))}.")
    return "\n".join(filter(None, parts))


def _shortly(value: Any) -> str:
    shown = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _MAX_HINT_LENGTH else f"{shown[:_MAX_HINT_LENGTH]}…"
