"""``openenv spaces``: each field of a server's schemas, its space, and the rule that chose it."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from openenv_gym.transport.endpoint import Endpoint


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
    from openenv_gym.spaces.tree import lines
    from openenv_gym.transport.http import first_observation, get_schemas

    action, observation = get_schemas(endpoint, timeout_s=10)
    example = first_observation(endpoint, timeout_s=60) if infer_shapes else None
    # In a pipe, nothing is cut.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    compiled_action = compile_action(action, unwrap=unwrap, omit_defaults=omit_defaults)
    print(plain(f"action {lines(compiled_action, width)}\n"))
    compiled_observation = compile_observation(observation, unwrap=unwrap, example=example)
    print(plain(f"observation {lines(compiled_observation, width)}"))
