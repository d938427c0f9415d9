"""``openenv spaces``: each field of a server's schemas beside the space that it became, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openenv_gym.spaces import CompiledSchema

_WIDEST_SPACE = 70


def show_spaces(
    server: Annotated[
        str, typer.Argument(metavar="URL_OR_PATH", help="A server, or an environment's folder.")
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
    from openenv_gym.providers.process import ProcessProvider

    if "://" in server:
        _show(server, unwrap, omit_defaults, infer_shapes)
        return
    with ProcessProvider(server) as provider:
        _show(provider.base_url, unwrap, omit_defaults, infer_shapes)


def _show(base_url: str, unwrap: bool, omit_defaults: bool, infer_shapes: bool) -> None:
    from openenv_gym.spaces import compile_action, compile_observation
    from openenv_gym.transport.endpoint import Endpoint
    from openenv_gym.transport.http import first_observation, get_schemas

    endpoint = Endpoint.parse(base_url)
    action, observation = get_schemas(endpoint, timeout_s=10)
    example = first_observation(endpoint, timeout_s=60) if infer_shapes else None
    print(f"action {lines(compile_action(action, unwrap=unwrap, omit_defaults=omit_defaults))}\n")
    print(f"observation {lines(compile_observation(observation, unwrap=unwrap, example=example))}")


def lines(compiled: CompiledSchema) -> str:
    """A compiled schema as a tree: a field a line, its space, its rule, and what the space cannot say."""
    from openenv_gym.spaces.schema import steps

    rows = []
    for finding in compiled.report:
        if not finding.path:
            continue
        *outer, name = steps(finding.path)
        space = str(finding.space)
        if len(space) > _WIDEST_SPACE:
            space = f"{space[: _WIDEST_SPACE - 1]}…"
        note = f" ({finding.inexact})" if finding.inexact else ""
        rows.append((f"{'  ' * (len(outer) + 1)}{name}", space, f"{finding.rule}{note}"))
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    tree = "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows)
    return f"{type(compiled.codec.space).__name__}\n{tree}"
