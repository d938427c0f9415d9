"""A compiled schema as a tree of lines, as ``openenv spaces`` shows it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from openenv_gym.spaces.models import CompiledSchema
from openenv_gym.spaces.schema import steps

# The column of spaces is never narrower.
_MIN_SPACE_WIDTH = 24


def lines(compiled: CompiledSchema, width: int | None = None) -> str:
    """A compiled schema as a tree: each line has a field, its space, its rule, and what the space omits.

    Args:
        compiled: The schema.
        width: The line width. Long spaces are cut to fit; a line that is still too long is wrapped. None
            cuts and wraps nothing.
    """
    rows = []
    for field in compiled.report:
        if not field.path:
            continue
        *outer, name = steps(field.path)
        note = f" ({field.inexact})" if field.inexact else ""
        row = f"{'  ' * (len(outer) + 1)}{name}", str(field.space), f"{field.rule}{note}"
        rows.append((*row, _numbered(field.labels)))
    names = max((len(name) for name, *_ in rows), default=0)
    if width is not None:
        rules = max((len(rule) for _, _, rule, _ in rows), default=0)
        room = max(_MIN_SPACE_WIDTH, width - names - 2 - rules - 2)
        rows = [(name, _cut(space, room), rule, labels) for name, space, rule, labels in rows]
    spaces = max((len(space) for _, space, *_ in rows), default=0)
    shown = [
        f"{name:<{names}}  {space:<{spaces}}  {rule}{labels}".rstrip() for name, space, rule, labels in rows
    ]
    if width is not None:
        shown = [
            textwrap.fill(line, width, subsequent_indent=" " * (names + 4), drop_whitespace=False)
            if len(line) > width
            else line
            for line in shown
        ]
    return "\n".join([type(compiled.codec.space).__name__, *shown])


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _numbered(labels: Sequence[Any]) -> str:
    """The labels of a choice by index, ``: 0 "left", 1 "right"``; empty without labels."""
    shown = ", ".join(f"{i} {json.dumps(label, ensure_ascii=False)}" for i, label in enumerate(labels))
    return f": {shown}" if shown else ""
