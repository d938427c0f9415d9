"""Pydantic models of every kind, and JSON values that they take, for hypothesis."""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import enum
import fractions
import ipaddress
import itertools
import json
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar, Union

import pydantic
from annotated_types import Len
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, create_model
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from openenv_gym.types import Action

Values = st.SearchStrategy[Any]
ItemT = TypeVar("ItemT")


class Part(NamedTuple):
    """The annotation of a field, the JSON values that it takes, and what kinds of things are in it."""

    annotation: Any
    values: Values
    kinds: frozenset[str]


class Made(NamedTuple):
    """A model, the JSON objects that it takes, and what kinds of things are in it."""

    model: type[Action]
    values: Values
    kinds: frozenset[str]


class Choice(enum.Enum):
    LEFT = "left"
    RIGHT = "right"


class Aliased(enum.IntEnum):
    UP = 0
    NORTH = 0
    DOWN = 1


class Mixed(enum.Enum):
    NUMBER = 1
    TEXT = "1"
    NOTHING = None


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2
    RUN = 4


class Sparse(enum.Flag):
    LOW = 1
    HIGH = 8


class Typed(TypedDict):
    count: int
    note: NotRequired[str]


class Named(NamedTuple):
    x: int
    label: str = ""


@dataclasses.dataclass
class Data:
    size: float
    tags: list[str] = dataclasses.field(default_factory=list)


class Envelope(BaseModel, Generic[ItemT]):
    """A generic model."""

    item: ItemT
    more: list[ItemT] = []


_numbers = itertools.count()
_names = st.sampled_from(["alpha", "beta_two", "gamma", "delta_four_x", "omega"])
_int64 = (-(2**63), 2**63 - 2)  # `Box` of Gymnasium cannot sample an upper bound of 2**63 - 1.
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)
_dates = st.dates(datetime.date(1970, 1, 1), datetime.date(2200, 1, 1))
_times = st.times().map(str)
_naive = st.builds("{}T{}".format, _dates, _times)
_zoned = _naive.map(lambda text: f"{text}+02:00")
_words = st.text("abcxyz", min_size=1, max_size=8)
_floats_of_all_kinds = st.floats()


def _texts_of(kind: type, least: int, most: int) -> Values:
    return st.integers(least, most).map(lambda number: str(kind(number)))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Types that Pydantic documents, and JSON values that they take.
STANDARD: dict[str, tuple[Any, Values]] = {
    "datetime": (datetime.datetime, _naive | _zoned),
    "naive datetime": (pydantic.NaiveDatetime, _naive),
    "aware datetime": (pydantic.AwareDatetime, _zoned),
    "past datetime": (pydantic.PastDatetime, st.just("2001-02-03T04:05:06")),
    "future datetime": (pydantic.FutureDatetime, st.just("2901-02-03T04:05:06Z")),
    "date": (datetime.date, _dates.map(str)),
    "past date": (pydantic.PastDate, st.just("2001-02-03")),
    "future date": (pydantic.FutureDate, st.just("2901-02-03")),
    "bounded date": (
        Annotated[datetime.date, Field(ge=datetime.date(2030, 1, 1), lt=datetime.date(2030, 2, 1))],
        st.dates(datetime.date(2030, 1, 1), datetime.date(2030, 1, 31)).map(str),
    ),
    "time": (datetime.time, _times),
    "duration": (datetime.timedelta, st.sampled_from(["PT1S", "P1DT2H", "-PT5M"])),
    "bounded duration": (
        Annotated[datetime.timedelta, Field(gt=datetime.timedelta(0), le=datetime.timedelta(seconds=2))],
        st.just("PT1S"),
    ),
    "uuid": (uuid.UUID, st.uuids().map(str)),
    **{
        f"uuid{version}": (
            getattr(pydantic, f"UUID{version}"),
            st.uuids().map(lambda made, version=version: str(uuid.UUID(int=made.int, version=version)))
            if version <= 5
            else st.just(f"12345678-1234-{version}234-9234-123456789abc"),
        )
        for version in (1, 3, 4, 5, 6, 7, 8)
    },
    "ipv4": (ipaddress.IPv4Address, _texts_of(ipaddress.IPv4Address, 0, 2**32 - 1)),
    "ipv6": (ipaddress.IPv6Address, _texts_of(ipaddress.IPv6Address, 0, 2**128 - 1)),
    "ipv4 network": (ipaddress.IPv4Network, st.sampled_from(["10.0.0.0/8", "192.0.2.0/24"])),
    "ipv6 network": (ipaddress.IPv6Network, st.just("2001:db8::/32")),
    "ipv4 interface": (ipaddress.IPv4Interface, st.just("10.1.2.3/8")),
    "ipv6 interface": (ipaddress.IPv6Interface, st.just("2001:db8::1/32")),
    "any ip": (pydantic.IPvAnyAddress, st.sampled_from(["10.0.0.1", "2001:db8::1"])),
    "any network": (pydantic.IPvAnyNetwork, st.sampled_from(["10.0.0.0/8", "2001:db8::/32"])),
    "any interface": (pydantic.IPvAnyInterface, st.sampled_from(["10.0.0.1/8", "2001:db8::1/32"])),
    "decimal": (Decimal, st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.integers(-9, 9)),
    "bounded decimal": (
        Annotated[Decimal, Field(max_digits=5, decimal_places=2, ge=0)],
        st.integers(0, 99_999).map(lambda cents: str(Decimal(cents).scaleb(-2))),
    ),
    "fraction": (fractions.Fraction, st.fractions(max_denominator=99).map(str)),
    "complex": (complex, st.sampled_from(["1+2j", "-0.5j", "3"])),
    "bytes": (bytes, st.text()),
    "base64": (pydantic.Base64Bytes, st.binary(max_size=9).map(_base64)),
    "base64 text": (pydantic.Base64Str, st.text(max_size=5).map(str.encode).map(_base64)),
    "base64url": (
        pydantic.Base64UrlBytes,
        st.binary(max_size=9).map(lambda data: base64.urlsafe_b64encode(data).decode()),
    ),
    "path": (pathlib.Path, st.sampled_from(["a/b", "/tmp", "x.txt"])),
    "pattern object": (re.Pattern[str], st.sampled_from(["^a+$", "b|c"])),
    "zone": (zoneinfo.ZoneInfo, st.sampled_from(["UTC", "Europe/Berlin"])),
    "JSON text": (pydantic.Json, _json.map(json.dumps)),
    "typed JSON text": (pydantic.Json[list[int]], st.lists(st.integers(*_int64)).map(json.dumps)),
    "JSON value": (pydantic.JsonValue, _json),
    "email": (pydantic.EmailStr, _words.map(lambda word: f"{word}@example.com")),
    "name and email": (pydantic.NameEmail, _words.map(lambda word: f"{word} <{word}@example.com>")),
    "url": (pydantic.HttpUrl, _words.map(lambda word: f"https://example.com/{word}")),
    "any url": (pydantic.AnyUrl, _words.map(lambda word: f"{word}://host/{word}")),
    "websocket url": (pydantic.WebsocketUrl, _words.map(lambda word: f"wss://example.com/{word}")),
    "database url": (pydantic.PostgresDsn, _words.map(lambda word: f"postgres://u:p@host:5432/{word}")),
    "secret": (pydantic.SecretStr, st.text()),
    "strict integer": (pydantic.StrictInt, st.integers(*_int64)),
    "strict boolean": (pydantic.StrictBool, st.booleans()),
    "finite": (pydantic.FiniteFloat, st.floats(allow_nan=False, allow_infinity=False)),
    "positive": (pydantic.PositiveInt, st.integers(1, _int64[1])),
    "enum": (Choice, st.sampled_from(["left", "right"])),
    "enum aliases": (Aliased, st.sampled_from([0, 1])),
    "mixed enum": (Mixed, st.sampled_from([1, "1", None])),
    "flag": (Access, st.integers(0, 7)),
    "sparse flag": (Sparse, st.sampled_from([0, 1, 8, 9])),
    "typed dict": (
        Typed,
        st.fixed_dictionaries({"count": st.integers(*_int64)}, optional={"note": st.text()}),
    ),
    "named tuple": (Named, st.tuples(st.integers(*_int64), st.text()).map(list)),
    "dataclass": (Data, st.builds(lambda size: {"size": size, "tags": ["x"]}, _floats_of_all_kinds)),
    "set": (set[int], st.lists(st.integers(0, 5), max_size=3)),
    "set of some": (
        Annotated[set[Literal["a", "b", "c"]], Len(2, 3)],
        st.sampled_from([["a", "b"], ["c", "a", "b"]]),
    ),
    "frozen set": (frozenset[str], st.lists(_words, max_size=3)),
    "deque": (collections.deque[int], st.lists(st.integers(*_int64), max_size=3)),
    "iterable": (Sequence[float], st.lists(_floats_of_all_kinds, max_size=3)),
    "counter": (collections.Counter[str], st.dictionaries(st.text(), st.integers(1, 9), max_size=3)),
    "keys": (dict[int, bool], st.dictionaries(st.integers().map(str), st.booleans(), max_size=3)),
    "enum keys": (dict[Choice, float], st.just({"left": 0.5})),
    "mapping": (dict[str, float], st.dictionaries(st.text(), _floats_of_all_kinds, max_size=3)),
    "entries": (Annotated[dict[str, int], Len(1, 3)], st.just({"a": 1})),
    "pattern": (
        Annotated[str, Field(pattern="^[a-z]+$", min_length=5, max_length=5)],
        st.text("abcdefg", min_size=5, max_size=5),
    ),
    "loose pattern": (Annotated[str, Field(pattern=r"\d{3}-\d{4}")], st.just("call 555-1234 now")),
    "examples": (Annotated[dict[str, Any], Field(examples=[{"tool": "search"}])], st.just({"tool": "ask"})),
    "nothing": (None, st.none()),
}


def _integers() -> st.SearchStrategy[Part]:
    def bounded(low: int, span: int, kind: int) -> Part:
        field, least, most = [
            (Field(ge=low, le=low + span), low, low + span),
            (Field(gt=low, lt=low + span + 2), low + 1, low + span + 1),
            (Field(ge=low), low, _int64[1]),
            (Field(le=low), _int64[0], low),
            (Field(ge=low, le=low + 2**40), low, low + 2**40),
        ][kind]
        return _part("integer", Annotated[int, field], st.integers(least, most))

    free = st.just(_part("integer", int, st.integers(*_int64)))
    return free | st.builds(bounded, st.integers(-1000, 1000), st.integers(0, 50), st.integers(0, 4))


def _floats() -> st.SearchStrategy[Part]:
    def bounded(low: float, span: float, kind: int) -> Part:
        field, values = [
            (Field(ge=low, le=low + span), st.floats(low, low + span)),
            (Field(gt=low, lt=low + span), st.floats(low, low + span, exclude_min=True, exclude_max=True)),
            (Field(ge=low), st.floats(low)),
        ][kind]
        return _part("float", Annotated[float, field], values)

    free = st.just(_part("NaN and infinity", float, _floats_of_all_kinds))
    lows = st.floats(-100, 100, allow_nan=False)
    return free | st.builds(bounded, lows, st.floats(0.5, 50), st.integers(0, 2))


def _texts() -> st.SearchStrategy[Part]:
    def bounded(shortest: int, span: int) -> Part:
        longest = shortest + span
        kind = Annotated[str, Field(min_length=shortest, max_length=longest)]
        return _part("text", kind, st.text(min_size=shortest, max_size=longest))

    return st.just(_part("text", str, st.text())) | st.builds(bounded, st.integers(0, 4), st.integers(0, 6))


def _labels() -> st.SearchStrategy[Part]:
    def choice(values: list[str]) -> Part:
        members = {f"M{i}": value for i, value in enumerate(values)}
        return _part("enum", enum.Enum(f"Choice{next(_numbers)}", members), st.sampled_from(values))

    literal = st.lists(
        st.sampled_from(["a", "b", "", "ü", 1, 2, True, None]), min_size=1, max_size=4, unique_by=repr
    ).map(lambda values: _part("literal", Literal[tuple(values)], st.sampled_from(values)))
    return literal | st.lists(
        st.text("xyz", min_size=1, max_size=3), min_size=1, max_size=4, unique=True
    ).map(choice)


def _arrays(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def bounded(item: Part, shortest: int, span: int) -> Part:
        kind = Annotated[list[item.annotation], Field(min_length=shortest, max_length=shortest + span)]
        return _part(
            "bounded list", kind, st.lists(item.values, min_size=shortest, max_size=shortest + span), item
        )

    def row(kinds: Sequence[Part]) -> Part:
        annotation = tuple[tuple(kind.annotation for kind in kinds)]
        return _part("tuple", annotation, st.tuples(*[kind.values for kind in kinds]).map(list), *kinds)

    return st.one_of(
        st.builds(bounded, items, st.integers(1, 3), st.just(0)),
        st.builds(bounded, items, st.integers(0, 2), st.integers(0, 3)),
        items.map(lambda item: _part("list", list[item.annotation], st.lists(item.values, max_size=5), item)),
        st.lists(items, min_size=1, max_size=3).map(row),
    )


def _unions(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def several(kinds: Sequence[Part]) -> Part:
        annotation = Union[tuple(kind.annotation for kind in kinds)]  # noqa: UP007
        return _part("union", annotation, st.one_of(*[kind.values for kind in kinds]), *kinds)

    optional = items.map(lambda item: several([item, _part("optional", None, st.none())]))
    return optional | st.lists(items, min_size=2, max_size=3).map(several)


def _nested(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    return st.builds(
        _model, st.just(BaseModel), st.dictionaries(_names, items, min_size=1, max_size=3), _styles
    )


def _wrapped(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def generic(item: Part) -> Part:
        values = st.fixed_dictionaries({"item": item.values, "more": st.lists(item.values, max_size=2)})
        return _part("generic", Envelope[item.annotation], values, item)

    return items.map(generic) | items.map(
        lambda item: _part("RootModel", RootModel[item.annotation], item.values, item)
    )


def _discriminated(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def build(kinds: list[Part]) -> Part:
        variants = [
            _model(
                BaseModel,
                {"kind": _part("literal", Literal[f"k{i}"], st.just(f"k{i}")), "value": kind},
                Style(),
            )
            for i, kind in enumerate(kinds)
        ]
        annotation = Union[tuple(variant.annotation for variant in variants)]  # noqa: UP007
        return _part(
            "discriminated union",
            Annotated[annotation, Field(discriminator="kind")],
            st.one_of(*[variant.values for variant in variants]),
            *variants,
        )

    return st.lists(items, min_size=2, max_size=3).map(build)


def _recursive() -> st.SearchStrategy[Part]:
    def build(kind: Part) -> Part:
        name = f"Tree{next(_numbers)}"
        tree = create_model(name, leaf=(kind.annotation, ...), branches=(list[name], ...))  # type: ignore[valid-type]
        tree.model_rebuild(_types_namespace={name: tree})
        leaf = kind.values.map(lambda value: {"leaf": value, "branches": []})

        def grow(trees: Values) -> Values:
            return st.fixed_dictionaries(
                {"leaf": kind.values, "branches": st.lists(trees, min_size=1, max_size=3)}
            )

        return _part("recursive", tree, st.recursive(leaf, grow, max_leaves=4), kind)

    return _scalars().map(build)


def _optional_parent() -> st.SearchStrategy[Part]:
    """A model with a parent of its own kind, or none."""

    def build(kind: Part) -> Part:
        name = f"Child{next(_numbers)}"
        child = create_model(name, value=(kind.annotation, ...), parent=(Union[name, None], None))  # noqa: UP007
        child.model_rebuild(_types_namespace={name: child})

        def grow(children: Values) -> Values:
            return st.fixed_dictionaries({"value": kind.values, "parent": children})

        leaf = kind.values.map(lambda value: {"value": value})
        return _part("recursive parent", child, st.recursive(leaf, grow, max_leaves=3), kind)

    return _scalars().map(build)


class Style(NamedTuple):
    """How the fields of a model are named and checked.

    Attributes:
        names: "plain", "alias", "serialization_alias", "validation_alias" or "alias_generator".
        strict: Whether the model is strict.
        computed: Whether it has a computed field.
    """

    names: str = "plain"
    strict: bool = False
    computed: bool = False


_styles = st.builds(
    Style,
    st.sampled_from(["plain"] * 4 + ["alias", "serialization_alias", "validation_alias", "alias_generator"]),
    st.sampled_from([False, False, True]),
    st.sampled_from([False, False, True]),
)


class WithComputed(BaseModel):
    """Has a computed field."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def field_count(self) -> int:
        return len(type(self).model_fields)


class ActionWithComputed(Action, WithComputed):
    """An action with a computed field."""


def _model(base: type[BaseModel], fields: dict[str, Part], style: Style) -> Part:
    name = f"Made{next(_numbers)}"
    if style.computed:
        base = ActionWithComputed if base is Action else WithComputed
    config = ConfigDict(strict=style.strict)
    if style.names == "alias_generator":
        config.update(alias_generator=to_camel, populate_by_name=True)
    keyword = style.names if style.names.endswith("alias") else None
    model = create_model(
        name,
        __base__=type(f"{name}Base", (base,), {"model_config": config, "__module__": __name__}),
        **{
            field: (part.annotation, Field(**{keyword: f"{field}-x"}) if keyword else ...)
            for field, part in fields.items()
        },
    )
    renames: dict[str, Callable[[str], str]] = {
        "alias": lambda field: f"{field}-x",
        "validation_alias": lambda field: f"{field}-x",
        "alias_generator": to_camel,
    }
    rename = renames.get(style.names, str)
    values = st.fixed_dictionaries({rename(field): part.values for field, part in fields.items()})
    kinds = {style.names} - {"plain"}
    kinds |= {"strict"} if style.strict else set()
    kinds |= {"computed field"} if style.computed else set()
    return Part(model, values, frozenset({"nested"} | kinds).union(*(part.kinds for part in fields.values())))


def _part(kind: str, annotation: Any, values: Values, *inner: Part) -> Part:
    return Part(annotation, values, frozenset({kind}).union(*(part.kinds for part in inner)))


def _scalars() -> st.SearchStrategy[Part]:
    return st.one_of(
        st.just(_part("boolean", bool, st.booleans())), _integers(), _floats(), _texts(), _labels()
    )


def _standard() -> st.SearchStrategy[Part]:
    return st.sampled_from([_part(kind, *described) for kind, described in STANDARD.items()])


def parts() -> st.SearchStrategy[Part]:
    """A field of any kind that the table has."""
    free = st.sampled_from(
        [
            _part("free dict", dict[str, Any], st.dictionaries(st.text(), _json, max_size=3)),
            _part("free dict", dict[str, int], st.dictionaries(st.text(), st.integers(), max_size=3)),
            _part("anything", Any, _json),
        ]
    )
    return st.recursive(
        st.booleans().flatmap(
            lambda is_standard: (
                _standard() if is_standard else st.one_of(_scalars(), free, _recursive(), _optional_parent())
            )
        ),
        lambda items: st.one_of(
            _arrays(items), _unions(items), _nested(items), _wrapped(items), _discriminated(items)
        ),
        max_leaves=5,
    )


def models() -> st.SearchStrategy[Made]:
    """Action models of one to four fields."""
    fields = st.dictionaries(_names, parts(), min_size=1, max_size=4)
    return st.builds(_model, st.just(Action), fields, _styles).map(lambda part: Made(*part))


def json_of(instance: BaseModel) -> Any:
    """An instance as a server sends it in version 1: without NaN and infinity."""
    return json.loads(instance.model_dump_json(by_alias=True))


def values_of(instance: BaseModel) -> Any:
    """An instance as a server sends it in version 2: with NaN and infinity."""
    return instance.model_dump(mode="json", by_alias=True)
