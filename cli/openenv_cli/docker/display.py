"""Progress of what Docker does, on standard error: for people in a terminal, line by line in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text


class Display(Protocol):
    """Where progress is shown."""

    def raw(self, line: str) -> None:
        """A line as Docker wrote it."""

    def now(self, what: str) -> None:
        """What is being done now."""

    def done(self, what: str, how: str) -> None:
        """What has been done, and how: the time that it took, say."""


@contextmanager
def display(title: str) -> Iterator[Display]:
    """A place for progress.

    Args:
        title: What is being done altogether.
    """
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("") as status:
        shown = _Terminal(console, status, title)
        shown.now("")
        yield shown


class _Lines:
    """In a pipe: Docker's own lines."""

    def raw(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def now(self, what: str) -> None:
        pass

    def done(self, what: str, how: str) -> None:
        pass


class _Terminal:
    """In a terminal: what is done, one line each, and below them a line that lives."""

    def __init__(self, console: Console, status: Status, title: str) -> None:
        self._console, self._status, self._title = console, status, title

    def raw(self, line: str) -> None:
        pass

    def now(self, what: str) -> None:
        from rich.text import Text

        text = Text(self._title, style="bold")
        text.append(f"  {what}", style="not bold")
        self._status.update(self._on_a_line(text, margin=2))  # the spinner and a blank

    def done(self, what: str, how: str) -> None:
        from rich.text import Text

        end = f"  {how}"
        self._console.print(self._on_a_line(Text(what), margin=len(end)) + Text(end, style="dim"))

    def _on_a_line(self, text: Text, margin: int) -> Text:
        text.truncate(max(self._console.width - margin, 1), overflow="ellipsis")
        return text
