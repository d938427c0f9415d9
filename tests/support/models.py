"""Pydantic models of every kind, for hypothesis."""

from __future__ import annotations

import itertools
import json
from enum import Enum
from typing import Annotated, Any, Literal, Union

from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from openenv_gym.types import Action

_numbers = itertools.count()
_names = st.sampled_from(["alpha", "beta", "gamma", "delta", "omega"])


def _integers() -> st.SearchStrategy[Any]:
    bound = st.integers(-1000, 1000)

    def bounded(low: int, span: int, kind: int) -> Any:
        fields: list[Any] = [
            Field(ge=low, le=low + span),
            Field(gt=low, lt=low + span + 2),
            Field(ge=low),
            Field(le=low),
            Field(ge=low, le=low + 2**40),
        ]
        return Annotated[int, fields[kind]]

    return st.just(int) | st.builds(bounded, bound, st.integers(0, 50), st.integers(0, 4))


def _floats() -> st.SearchStrategy[Any]:
    def bounded(low: float, span: float, kind: int) -> Any:
        fields: list[Any] = [Field(ge=low, le=low + span), Field(gt=low, lt=low + span), Field(ge=low)]
        return Annotated[float, fields[kind]]

    numbers = st.floats(-100, 100, allow_nan=False)
    return st.just(float) | st.builds(bounded, numbers, st.floats(0.5, 50), st.integers(0, 2))


def _texts() -> st.SearchStrategy[Any]:
    def bounded(shortest: int, span: int) -> Any:
        return Annotated[str, Field(min_length=shortest, max_length=shortest + span)]

    return st.just(str) | st.builds(bounded, st.integers(0, 4), st.integers(0, 6))


def _labels() -> st.SearchStrategy[Any]:
    literal = st.lists(
        st.sampled_from(["a", "b", "", "ü", 1, 2, True, None]), min_size=1, max_size=4, unique_by=repr
    ).map(lambda values: Literal[tuple(values)])
    enum = st.lists(st.text("xyz", min_size=1, max_size=3), min_size=1, max_size=4, unique=True).map(
        lambda values: Enum(f"Choice{next(_numbers)}", {f"M{i}": value for i, value in enumerate(values)})
    )
    return literal | enum


def _arrays(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def fixed(item: Any, length: int) -> Any:
        return Annotated[list[item], Field(min_length=length, max_length=length)]

    def bounded(item: Any, shortest: int, span: int) -> Any:
        return Annotated[list[item], Field(min_length=shortest, max_length=shortest + span)]

    return st.one_of(
        st.builds(fixed, items, st.integers(1, 3)),
        st.builds(bounded, items, st.integers(0, 2), st.integers(0, 3)),
        items.map(lambda item: list[item]),
        st.lists(items, min_size=1, max_size=3).map(lambda kinds: tuple[tuple(kinds)]),
    )


def _unions(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    optional = items.map(lambda item: item | None if isinstance(item, type) else Union[item, None])  # noqa: UP007
    several = st.lists(items, min_size=2, max_size=3).map(lambda kinds: Union[tuple(kinds)])  # noqa: UP007
    return optional | several


def _nested(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(_names, items, min_size=1, max_size=3).map(
        lambda fields: create_model(
            f"Part{next(_numbers)}", **{name: (kind, ...) for name, kind in fields.items()}
        )
    )


def _discriminated(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def build(kinds: list[Any]) -> Any:
        variants = [
            create_model(f"Variant{next(_numbers)}", kind=(Literal[f"k{i}"], ...), value=(kind, ...))
            for i, kind in enumerate(kinds)
        ]
        return Annotated[Union[tuple(variants)], Field(discriminator="kind")]  # noqa: UP007

    return st.lists(items, min_size=2, max_size=3).map(build)


def _recursive() -> st.SearchStrategy[Any]:
    def build(kind: Any) -> Any:
        name = f"Tree{next(_numbers)}"
        tree = create_model(name, leaf=(kind, ...), branches=(list[name], ...))  # type: ignore[valid-type]
        tree.model_rebuild(_types_namespace={name: tree})
        return tree

    return _scalars().map(build)


def _scalars() -> st.SearchStrategy[Any]:
    return st.one_of(st.just(bool), _integers(), _floats(), _texts(), _labels())


def annotations() -> st.SearchStrategy[Any]:
    """The annotation of a field, of any kind that the table has."""
    free = st.sampled_from([dict[str, Any], dict[str, int], Any])
    return st.recursive(
        _scalars() | free | _recursive(),
        lambda items: st.one_of(_arrays(items), _unions(items), _nested(items), _discriminated(items)),
        max_leaves=5,
    )


def models() -> st.SearchStrategy[type[Action]]:
    """Action models of one to four fields."""
    return st.dictionaries(_names, annotations(), min_size=1, max_size=4).map(
        lambda fields: create_model(
            f"Made{next(_numbers)}", __base__=Action, **{name: (kind, ...) for name, kind in fields.items()}
        )
    )


def json_of(instance: BaseModel) -> Any:
    """An instance as a server sends it."""
    return json.loads(instance.model_dump_json())
