"""Options that several commands have: the settings of a Space."""

from __future__ import annotations

from typing import Annotated

import typer

Private = Annotated[bool, typer.Option("--private", help="A Space that only its owner sees.")]
Hardware = Annotated[str | None, typer.Option(help="What the Space runs on, such as t4-small.")]
EnvVar = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="A variable that everybody can read.")
]
Secret = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY[=VALUE]", help="A secret. KEY alone takes its value from your environment."),
]
