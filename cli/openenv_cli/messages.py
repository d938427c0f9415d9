"""What is said beside a command's output: errors and warnings, on standard error."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.text import Text

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
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


def in_words(error: Exception) -> str:
    """What an error says, and below it what was noted beside it: the end of a server's log, say."""
    notes = (without_controls(note).plain for note in getattr(error, "__notes__", ()))
    return "\n".join([str(error), *notes])


def without_controls(text: str) -> Text:
    """A server's text, which may do nothing to the terminal but colour itself."""
    from rich.text import Text

    coloured = Text.from_ansi(text)
    if not _CONTROLS.search(coloured.plain):
        return coloured
    return Text(_CONTROLS.sub("�", text))
