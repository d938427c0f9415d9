"""``openenv spaces``: each field of a server's schemas, its space, and the rule that chose it."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from openenv_gym.spaces import CompiledSchema
    from openenv_gym.transport.endpoint import Endpoint

# The column of spaces is never narrower.
_MIN_SPACE_WIDTH = 24


def show_spaces(
    server: Annotated[str, typer.Argument(metavar="NAME|URL", help="A name, a URL, or a folder.")] = ".",
    unwrap: Annotated[bool, typer.Option(help="Use the field's space if the model has one field.")] = True,
    omit_defaults: Annotated[
        bool, typer.Option("--omit-defaults", help="Leave out action fields with a default.")
    ] = False,
    infer_shapes: Annotated[
        bool, typer.Option("--infer-shapes", help="Take unknown shapes from a first observation.")
    ] = False,
) -> None:
    """Show the space of each field in a server's schemas, and the rule that chose it.

    Examples:
        openenv spaces http://localhost:8000

        openenv spaces ./my_env --infer-shapes
    """
    from openenv_cli.targets import launched

    with launched(server) as target:
        _show(target.endpoint, unwrap, omit_defaults, infer_shapes)


def _show(endpoint: Endpoint, unwrap: bool, omit_defaults: bool, infer_shapes: bool) -> None:
    from openenv_cli.output import plain
    from openenv_gym.spaces import compile_action, compile_observation
    from openenv_gym.transport.http import first_observation, get_schemas

    action, observation = get_schemas(endpoint, timeout_s=10)
    example = first_observation(endpoint, timeout_s=60) if infer_shapes else None
    # In a pipe, nothing is cut.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    compiled_action = compile_action(action, unwrap=unwrap, omit_defaults=omit_defaults)
    print(plain(f"action {lines(compiled_action, width)}\n"))
    compiled_observation = compile_observation(observation, unwrap=unwrap, example=example)
    print(plain(f"observation {lines(compiled_observation, width)}"))


def lines(compiled: CompiledSchema, width: int | None = None) -> str:
    """A compiled schema as a tree: each line has a field, its space, its rule, and what the space omits.

    Args:
        compiled: The schema.
        width: The line width. Long spaces are cut to fit; a line that is still too long is wrapped. None
            cuts and wraps nothing.
    """
    from openenv_gym.spaces.schema import steps

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
