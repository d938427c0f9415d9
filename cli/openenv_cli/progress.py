"""What is shown while something takes its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Shows what is under way, on standard error, where that is a terminal; gone at the end.

    Gives what replaces the text.
    """
    from rich.console import Console

    # rich shows nothing of it where there is no terminal.
    with Console(stderr=True, highlight=False).status(text) as shown:
        yield shown.update
