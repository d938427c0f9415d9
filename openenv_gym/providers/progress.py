"""Progress while servers start, on standard error if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_shown: ContextVar[tuple[Progress, TaskID] | None] = ContextVar("shown", default=None)


@contextmanager
def shown(text: str) -> Iterator[None]:
    """Show one line of progress, and remove it at the end.

    Nothing is shown if standard error is not a terminal, or if rich, which comes with an extra, is missing.
    """
    progress = _make_progress() if sys.stderr.isatty() else None
    if progress is None:
        yield
        return
    token = _shown.set((progress, progress.add_task(text, total=None)))
    try:
        with progress:
            yield
    finally:
        _shown.reset(token)


def tell(text: str, done: int = 0, total: int | None = None) -> None:
    """Replace the text that `shown` displays, if it displays one.

    Args:
        text: What is happening.
        done: How much of it is done.
        total: How much there is to do; a bar shows both. None if unknown.
    """
    if (current := _shown.get()) is not None:
        progress, task = current
        progress.update(task, description=text, completed=done, total=total)


def _make_progress() -> Progress | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
        from rich.text import Text
    except ModuleNotFoundError:
        return None

    class Bar(BarColumn):
        def render(self, task: Task) -> Text:  # type: ignore[override]
            return Text() if task.total is None else super().render(task)  # type: ignore[return-value]

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        Bar(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
