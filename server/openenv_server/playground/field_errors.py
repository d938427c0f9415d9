"""The errors of an action at the fields they are about. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from openenv_server.playground.fields import (
    MISSING,
    Constant,
    Field,
    Group,
    Optional,
    Places,
    Recursion,
    Rows,
    Union,
)

Path = tuple[str | int, ...]


def errors_by_path(errors: Iterable[Mapping[str, Any]], root: Field, payload: Any) -> dict[Path, list[str]]:
    """Return the messages of each field, by its path in the payload; those of no field are at ``()``.

    Args:
        errors: What a server said: each with a ``loc``, as Pydantic has it, and a ``msg``.
        root: The field of the action.
        payload: The action, whose variants are the ones shown.
    """
    found: dict[Path, list[str]] = {}
    for error in errors:
        path, rest = _place(list(error.get("loc") or ()), root, payload)
        message = str(error.get("msg") or "Invalid")
        where = ".".join(map(str, rest))
        found.setdefault(path, []).append(f"{where}: {message}" if where else message)
    return found


def _place(loc: list[Any], part: Field, payload: Any) -> tuple[Path, list[Any]]:
    """Return the path of the innermost field that a form shows for a ``loc``, and the rest of the ``loc``."""
    match part:
        case Recursion():
            return _place(loc, part.target, payload)
        case Optional() if part.is_on(payload):
            return _place(loc, part.inner, payload)
        case Union():
            return _in_union(loc, part, payload)
        case Group() if loc and isinstance(payload, dict):
            for inner in part.parts:
                if inner.name == loc[0] and not isinstance(inner.field, Constant):
                    return _inside(loc, inner.field, payload.get(inner.name, MISSING))
        case Rows() if loc and isinstance(payload, list):
            if isinstance(loc[0], int) and loc[0] < len(payload):
                return _inside(loc, part.item, payload[loc[0]])
        case Places() if loc and isinstance(payload, list):
            if isinstance(loc[0], int) and loc[0] < min(len(payload), len(part.items)):
                return _inside(loc, part.items[loc[0]], payload[loc[0]])
    return (), loc


def _inside(loc: list[Any], part: Field, payload: Any) -> tuple[Path, list[Any]]:
    path, rest = _place(loc[1:], part, payload)
    return (loc[0], *path), rest


def _in_union(loc: list[Any], union: Union, payload: Any) -> tuple[Path, list[Any]]:
    """Follow the variant that is shown. Pydantic has the name of a variant in the ``loc``, in most cases."""
    place = union.index(payload)
    if place is None:
        return (), loc
    variant = union.variants[place]
    if loc and str(loc[0]) in variant.tags:
        return _place(loc[1:], variant.field, payload)
    others = {tag for other in union.variants for tag in other.tags}
    if loc and str(loc[0]) in others:
        return (), loc
    return _place(loc, variant.field, payload)
