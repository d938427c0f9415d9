"""Output of the commands: errors, warnings and progress on standard error, and tables of facts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.text import Text

# Control characters but for tabs and the ends of lines, those that reverse the order of what follows, and
# lone surrogates, which cannot be printed.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = {"Error": "bold red", "Warning": "bold yellow"}


def plain(text: str) -> str:
    """A text without control characters, except tabs and the ends of lines."""
    return CONTROLS.sub("�", text)


def one_line(value: object) -> str:
    """A value as a field of a line: without control characters, tabs and the ends of lines."""
    return plain(re.sub(r"[\t\n\r\u2028\u2029]", " ", str(value)))


def json_text(text: str) -> str:
    """JSON with escapes for the characters of `CONTROLS` that JSON allows as they are."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def say(kind: Literal["Error", "Warning"], text: str, link: str | None = None) -> None:
    """Print an error or a warning to standard error; in a terminal with colour, wrapped between words.

    Args:
        kind: The word before the text. In a terminal it can be clicked, if it has a link.
        text: What happened.
        link: A URL that says more.
    """
    if not sys.stderr.isatty():
        print(f"{kind}: {plain(text)}", file=sys.stderr)
        return
    from rich.text import Text

    from openenv_cli.console import Console

    console = Console(stderr=True, highlight=False)
    style = f"{_COLOURS[kind]} link {link}" if link else _COLOURS[kind]
    console.print(Text.assemble((f"{kind}:", style), " ", text))


def note(text: str) -> None:
    """Print a remark beside the result, to standard error."""
    print(plain(text), file=sys.stderr)


def with_notes(error: Exception) -> str:
    """An error's message followed by its notes, such as the end of a server's log."""
    notes = (without_controls(note).plain for note in getattr(error, "__notes__", ()))
    return "\n".join([str(error), *notes])


def without_controls(text: str) -> Text:
    """Text from a server: its colours are kept, all other terminal control sequences are removed."""
    from rich.text import Text

    coloured = Text.from_ansi(text)
    if not CONTROLS.search(coloured.plain):
        return coloured
    return Text(CONTROLS.sub("�", text))


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with a text on standard error while the block runs; nothing in a pipe.

    Yields:
        A function that replaces the text.
    """
    from rich.text import Text

    from openenv_cli.console import Console

    # A Text, because a name in brackets would be taken for markup. In a pipe, rich shows no status.
    with Console(stderr=True, highlight=False).status(Text(text)) as shown:
        yield lambda new: shown.update(Text(new))


def print_facts(headline: str, facts: Mapping[str, str | None]) -> None:
    """Print a command's result: a table below the headline, or in a pipe one ``name<TAB>value`` a line.

    Args:
        headline: A sentence for people. A pipe does not get it.
        facts: The values by name; empty ones are left out.
    """
    rows = {name: value for name, value in facts.items() if value}
    if not sys.stdout.isatty():
        for name, value in rows.items():
            print(f"{name}\t{one_line(value)}", flush=True)
        return
    from rich.table import Table

    from openenv_cli.console import Console

    console = Console()
    console.print(f"\n{headline}", style="bold", highlight=False, markup=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), value)
    console.print(table)
