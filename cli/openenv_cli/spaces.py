"""``openenv spaces``: each field of a server's schemas beside the space that it became, and why."""

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

# A space is not cut to less than this.
_NARROWEST_SPACE = 24


def show_spaces(
    server: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="A name that is known here, a URL, or a folder.")
    ],
    unwrap: Annotated[bool, typer.Option(help="Make a model with one field that field's own space.")] = True,
    omit_defaults: Annotated[
        bool, typer.Option("--omit-defaults", help="Leave out action fields that need not be sent.")
    ] = False,
    infer_shapes: Annotated[
        bool, typer.Option("--infer-shapes", help="Take open shapes from a first observation.")
    ] = False,
) -> None:
    """Shows which space each field of the schemas became, and by which rule.

    Examples:
        openenv spaces http://localhost:8000

        openenv spaces ./my_env --infer-shapes
    """
    from openenv_cli.targets import opened

    with opened(server) as endpoint:
        _show(endpoint, unwrap, omit_defaults, infer_shapes)


def _show(endpoint: Endpoint, unwrap: bool, omit_defaults: bool, infer_shapes: bool) -> None:
    from openenv_gym.spaces import compile_action, compile_observation
    from openenv_gym.transport.http import first_observation, get_schemas

    action, observation = get_schemas(endpoint, timeout_s=10)
    example = first_observation(endpoint, timeout_s=60) if infer_shapes else None
    # In a pipe, nothing is left out.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    compiled_action = compile_action(action, unwrap=unwrap, omit_defaults=omit_defaults)
    print(f"action {lines(compiled_action, width)}\n")
    compiled_observation = compile_observation(observation, unwrap=unwrap, example=example)
    print(f"observation {lines(compiled_observation, width)}")


def lines(compiled: CompiledSchema, width: int | None = None) -> str:
    """A compiled schema as a tree: a field a line, its space, its rule, and what the space cannot say.

    Args:
        compiled: The schema.
        width: Columns for a line. Long spaces are cut for it, and what is longer all the same goes on in the
            next line. None leaves everything in its line.
    """
    from openenv_gym.spaces.schema import steps

    rows = []
    for finding in compiled.report:
        if not finding.path:
            continue
        *outer, name = steps(finding.path)
        note = f" ({finding.inexact})" if finding.inexact else ""
        row = f"{'  ' * (len(outer) + 1)}{name}", str(finding.space), f"{finding.rule}{note}"
        rows.append((*row, _numbered(finding.labels)))
    names = max((len(name) for name, *_ in rows), default=0)
    if width is not None:
        rules = max((len(rule) for _, _, rule, _ in rows), default=0)
        most = max(_NARROWEST_SPACE, width - names - 2 - rules - 2)
        rows = [(name, _cut(space, most), rule, labels) for name, space, rule, labels in rows]
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
    """What the indices of a choice stand for: ``: 0 "left", 1 "right"``; nothing where there are none."""
    shown = ", ".join(f"{i} {json.dumps(label, ensure_ascii=False)}" for i, label in enumerate(labels))
    return f": {shown}" if shown else ""
