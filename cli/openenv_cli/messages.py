"""What is said beside a command's output: errors and warnings, on standard error."""

from __future__ import annotations

import sys
from typing import Literal

_COLOURS = {"Error": "bold red", "Warning": "bold yellow"}


def say(kind: Literal["Error", "Warning"], text: str) -> None:
    """Says it; in a terminal with a colour, and broken between words."""
    if not sys.stderr.isatty():
        print(f"{kind}: {text}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.print(Text.assemble((f"{kind}:", _COLOURS[kind]), " ", text))
