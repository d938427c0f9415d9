"""The fields of a form. Pure.

A field describes one part of a payload: which values it has, its label and its description. The payload
stays a JSON value; a form shows it by a tree of fields, and writes to it by paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from openenv_gym.spaces.codecs import label_key

# JavaScript has no larger integers.
EXACT = 2**53 - 1
# A part that is not in the payload.
MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()


@dataclass(frozen=True)
class Field:
    """A part of a payload that any JSON value may be.

    Attributes:
        label: Its name, for people.
        description: What it is; "" if the schema does not say.
    """

    label: str
    description: str


@dataclass(frozen=True)
class Json(Field):
    """Any JSON value, edited as text. ``start`` is the value of a new form."""

    start: Any = None


@dataclass(frozen=True)
class Text(Field):
    """A string.

    Attributes:
        is_long: Whether it has several lines.
        is_code: Whether it is code.
        hint: An example, or its format.
        longest: The most characters; None for any number.
    """

    is_long: bool = False
    is_code: bool = False
    hint: str = ""
    longest: int | None = None


@dataclass(frozen=True)
class Number(Field):
    """A number between two bounds; None stands for no bound."""

    is_integer: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Boolean(Field):
    """True or false."""


@dataclass(frozen=True)
class Choice(Field):
    """One of several JSON values, each with a name for people."""

    values: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()

    def index(self, payload: Any) -> int | None:
        """Return the place of a value among the choices; None if it is none of them."""
        return next((place for place, value in enumerate(self.values) if same(value, payload)), None)


@dataclass(frozen=True)
class Constant(Field):
    """Always the same value, so a form does not show it."""

    value: Any = None


class Part(NamedTuple):
    """A part of a group: its name in the payload, and what it is if the form is new."""

    name: str
    field: Field
    default: Any = MISSING


@dataclass(frozen=True)
class Group(Field):
    """An object with parts."""

    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Optional(Field):
    """A field that may be switched off.

    Attributes:
        inner: The field.
        off: The value if it is off: None, or `MISSING`.
    """

    inner: Field = field(default_factory=lambda: Json("", ""))
    off: Any = MISSING

    def is_on(self, payload: Any) -> bool:
        """Return whether a payload has a value of the inner field."""
        return payload is not MISSING and not (payload is None and self.off is None)


class Variant(NamedTuple):
    """One of the fields of a union; ``tags`` are its names in the ``loc`` of an error."""

    name: str
    field: Field
    tags: frozenset[str]


@dataclass(frozen=True)
class Union(Field):
    """One of several fields."""

    variants: tuple[Variant, ...] = ()

    def index(self, payload: Any) -> int | None:
        """Return the place of the variant that a payload is of; None if it is of none."""
        for fitting in (fits, is_near):
            for place, variant in enumerate(self.variants):
                if fitting(variant.field, payload):
                    return place
        return None


@dataclass(frozen=True)
class Rows(Field):
    """A list whose items are all of one kind, with bounds of its length."""

    item: Field = field(default_factory=lambda: Json("", ""))
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Places(Field):
    """A list with one field for each place."""

    items: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Recursion(Field):
    """A field that is like one of those around it."""

    expand: Callable[[], Field] = field(default=lambda: Json("", ""))

    @cached_property
    def target(self) -> Field:
        """The field itself."""
        return self.expand()


def initial(part: Field) -> Any:
    """Return the payload of a field in a new form."""
    match part:
        case Constant():
            return part.value
        case Json():
            return part.start
        case Text():
            return ""
        case Number():
            value = min(max(0, part.low or 0), 0 if part.high is None else part.high)
            value = max(value, part.low) if part.low is not None else value
            return int(value) if part.is_integer else value
        case Boolean():
            return False
        case Choice():
            return part.values[0]
        case Optional():
            return part.off
        case Union():
            return initial(part.variants[0].field)
        case Rows():
            return [initial(part.item) for _ in range(part.least)]
        case Places():
            return [initial(item) for item in part.items]
        case Group():
            values = {
                inner.name: initial(inner.field) if inner.default is MISSING else inner.default
                for inner in part.parts
            }
            return {name: value for name, value in values.items() if value is not MISSING}
        case Recursion():
            return initial(part.target)
    raise AssertionError(f"unreachable: {part}")


def fits(part: Field, payload: Any) -> bool:
    """Return whether a payload is of a field in all its parts."""
    match part:
        case Recursion():
            return fits(part.target, payload)
        case Optional():
            return not part.is_on(payload) or fits(part.inner, payload)
        case Union():
            return any(fits(variant.field, payload) for variant in part.variants)
        case Group():
            return (
                is_near(part, payload)
                and all(
                    fits(inner.field, payload.get(inner.name, MISSING))
                    if inner.name in payload
                    else isinstance(inner.field, Optional) or inner.default is not MISSING
                    for inner in part.parts
                )
                and payload.keys() <= {inner.name for inner in part.parts}
            )
        case Rows():
            return is_near(part, payload) and all(fits(part.item, item) for item in payload)
        case Places():
            return is_near(part, payload) and all(map(fits, part.items, payload))
    return is_near(part, payload)


def is_near(part: Field, payload: Any) -> bool:
    """Return whether a form can show a payload by a field, which may differ in its parts."""
    match part:
        case Recursion():
            return is_near(part.target, payload)
        case Json() | Optional():
            return True
        case Constant():
            return same(part.value, payload)
        case Text():
            return isinstance(payload, str)
        case Number():
            is_number = isinstance(payload, int | float) and not isinstance(payload, bool)
            return is_number and math.isfinite(payload) and (not part.is_integer or payload == int(payload))
        case Boolean():
            return isinstance(payload, bool)
        case Choice():
            return part.index(payload) is not None
        case Union():
            return part.index(payload) is not None
        case Rows():
            return isinstance(payload, list)
        case Places():
            return isinstance(payload, list) and len(payload) == len(part.items)
        case Group():
            return isinstance(payload, dict) and all(
                same(inner.field.value, payload.get(inner.name, MISSING))
                for inner in part.parts
                if isinstance(inner.field, Constant) and (inner.name in payload or inner.default is MISSING)
            )
    return False


def is_exact(payload: Any) -> bool:
    """Return whether a browser keeps all integers of a payload as they are: it has none above `EXACT`."""
    match payload:
        case bool():
            return True
        case int():
            return abs(payload) <= EXACT
        case list():
            return all(map(is_exact, payload))
        case dict():
            return all(map(is_exact, payload.values()))
    return True


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal: 1 and true are not."""
    if one is MISSING or other is MISSING:
        return one is other
    return bool(label_key(one) == label_key(other))
