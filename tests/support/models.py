"""Pydantic models of every kind, and values of them, for hypothesis."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, Union

from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from openenv_gym.types import Action

Values = st.SearchStrategy[Any]


class Part(NamedTuple):
    """The annotation of a field, and the JSON values that it takes."""

    annotation: Any
    values: Values


class Made(NamedTuple):
    """A model, and the JSON objects that it takes."""

    model: type[Action]
    values: Values


_numbers = itertools.count()
_names = st.sampled_from(["alpha", "beta", "gamma", "delta", "omega"])
_int64 = (-(2**63), 2**63 - 2)  # `Box` of Gymnasium cannot sample an upper bound of 2**63 - 1.
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)


def _integers() -> st.SearchStrategy[Part]:
    def bounded(low: int, span: int, kind: int) -> Part:
        field, least, most = [
            (Field(ge=low, le=low + span), low, low + span),
            (Field(gt=low, lt=low + span + 2), low + 1, low + span + 1),
            (Field(ge=low), low, _int64[1]),
            (Field(le=low), _int64[0], low),
            (Field(ge=low, le=low + 2**40), low, low + 2**40),
        ][kind]
        return Part(Annotated[int, field], st.integers(least, most))

    free = st.just(Part(int, st.integers(*_int64)))
    return free | st.builds(bounded, st.integers(-1000, 1000), st.integers(0, 50), st.integers(0, 4))


def _floats() -> st.SearchStrategy[Part]:
    def bounded(low: float, span: float, kind: int) -> Part:
        field, values = [
            (Field(ge=low, le=low + span), st.floats(low, low + span)),
            (Field(gt=low, lt=low + span), st.floats(low, low + span, exclude_min=True, exclude_max=True)),
            (Field(ge=low), st.floats(low, allow_infinity=False)),
        ][kind]
        return Part(Annotated[float, field], values)

    free = st.just(Part(float, st.floats(allow_nan=False, allow_infinity=False)))
    lows = st.floats(-100, 100, allow_nan=False)
    return free | st.builds(bounded, lows, st.floats(0.5, 50), st.integers(0, 2))


def _texts() -> st.SearchStrategy[Part]:
    def bounded(shortest: int, span: int) -> Part:
        longest = shortest + span
        kind = Annotated[str, Field(min_length=shortest, max_length=longest)]
        return Part(kind, st.text(min_size=shortest, max_size=longest))

    return st.just(Part(str, st.text())) | st.builds(bounded, st.integers(0, 4), st.integers(0, 6))


def _labels() -> st.SearchStrategy[Part]:
    def enum(values: list[str]) -> Part:
        members = {f"M{i}": value for i, value in enumerate(values)}
        return Part(Enum(f"Choice{next(_numbers)}", members), st.sampled_from(values))

    literal = st.lists(
        st.sampled_from(["a", "b", "", "ü", 1, 2, True, None]), min_size=1, max_size=4, unique_by=repr
    ).map(lambda values: Part(Literal[tuple(values)], st.sampled_from(values)))
    return literal | st.lists(
        st.text("xyz", min_size=1, max_size=3), min_size=1, max_size=4, unique=True
    ).map(enum)


def _arrays(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def bounded(item: Part, shortest: int, span: int) -> Part:
        kind = Annotated[list[item.annotation], Field(min_length=shortest, max_length=shortest + span)]
        return Part(kind, st.lists(item.values, min_size=shortest, max_size=shortest + span))

    def row(kinds: Sequence[Part]) -> Part:
        annotation = tuple[tuple(kind.annotation for kind in kinds)]
        return Part(annotation, st.tuples(*[kind.values for kind in kinds]).map(list))

    return st.one_of(
        st.builds(bounded, items, st.integers(1, 3), st.just(0)),
        st.builds(bounded, items, st.integers(0, 2), st.integers(0, 3)),
        items.map(lambda item: Part(list[item.annotation], st.lists(item.values, max_size=5))),
        st.lists(items, min_size=1, max_size=3).map(row),
    )


def _unions(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def several(kinds: Sequence[Part]) -> Part:
        annotation = Union[tuple(kind.annotation for kind in kinds)]  # noqa: UP007
        return Part(annotation, st.one_of(*[kind.values for kind in kinds]))

    optional = items.map(lambda item: several([item, Part(None, st.none())]))
    return optional | st.lists(items, min_size=2, max_size=3).map(several)


def _nested(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    return st.dictionaries(_names, items, min_size=1, max_size=3).map(
        lambda fields: _model(f"Part{next(_numbers)}", BaseModel, fields)
    )


def _discriminated(items: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
    def build(kinds: list[Part]) -> Part:
        variants = [
            _model(
                f"Variant{next(_numbers)}",
                BaseModel,
                {"kind": Part(Literal[f"k{i}"], st.just(f"k{i}")), "value": kind},
            )
            for i, kind in enumerate(kinds)
        ]
        annotation = Union[tuple(variant.annotation for variant in variants)]  # noqa: UP007
        return Part(
            Annotated[annotation, Field(discriminator="kind")],
            st.one_of(*[variant.values for variant in variants]),
        )

    return st.lists(items, min_size=2, max_size=3).map(build)


def _recursive() -> st.SearchStrategy[Part]:
    def build(kind: Part) -> Part:
        name = f"Tree{next(_numbers)}"
        tree = create_model(name, leaf=(kind.annotation, ...), branches=(list[name], ...))  # type: ignore[valid-type]
        tree.model_rebuild(_types_namespace={name: tree})
        leaf = kind.values.map(lambda value: {"leaf": value, "branches": []})

        def grow(trees: Values) -> Values:
            return st.fixed_dictionaries({"leaf": kind.values, "branches": st.lists(trees, max_size=3)})

        return Part(tree, st.recursive(leaf, grow, max_leaves=4))

    return _scalars().map(build)


def _model(name: str, base: type[BaseModel], fields: dict[str, Part]) -> Part:
    model = create_model(
        name, __base__=base, **{field: (part.annotation, ...) for field, part in fields.items()}
    )
    return Part(model, st.fixed_dictionaries({field: part.values for field, part in fields.items()}))


def _scalars() -> st.SearchStrategy[Part]:
    return st.one_of(st.just(Part(bool, st.booleans())), _integers(), _floats(), _texts(), _labels())


def parts() -> st.SearchStrategy[Part]:
    """A field of any kind that the table has."""
    free = st.sampled_from(
        [
            Part(dict[str, Any], st.dictionaries(st.text(), _json, max_size=3)),
            Part(dict[str, int], st.dictionaries(st.text(), st.integers(), max_size=3)),
            Part(Any, _json),
        ]
    )
    return st.recursive(
        _scalars() | free | _recursive(),
        lambda items: st.one_of(_arrays(items), _unions(items), _nested(items), _discriminated(items)),
        max_leaves=5,
    )


def models() -> st.SearchStrategy[Made]:
    """Action models of one to four fields."""
    return st.dictionaries(_names, parts(), min_size=1, max_size=4).map(
        lambda fields: Made(*_model(f"Made{next(_numbers)}", Action, fields))
    )


def json_of(instance: BaseModel) -> Any:
    """An instance as a server sends it."""
    return json.loads(instance.model_dump_json())
