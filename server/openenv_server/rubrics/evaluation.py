"""Run rubrics, whether or not something in them is async.

An evaluation is written once, as a generator that yields values and awaitables. `drive` runs it at once, up
to the first awaitable; the rest is then a coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from inspect import isawaitable
from typing import Any

Steps = Generator[Any, Any, Any]


class Score(float):
    """A score that may be awaited, so that async code needs not know if a rubric is async."""

    def __await__(self) -> Generator[Any, Any, float]:
        yield from ()
        return float(self)


def drive(steps: Steps) -> Any:
    """Return the result of an evaluation, or a coroutine of it once something has to be awaited."""
    try:
        value = next(steps)
        while not is_pending(value):
            value = steps.send(_plain(value))
    except StopIteration as end:
        return end.value
    return _drive_later(steps, value)


def is_pending(value: Any) -> bool:
    """Return whether a score has to be awaited."""
    return isawaitable(value) and not isinstance(value, Score)


def in_event_loop() -> bool:
    """Return whether the caller runs on an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Score) else value


async def _settled(value: Any) -> Any:
    return await value if is_pending(value) else _plain(value)


async def _drive_later(steps: Steps, value: Any) -> Any:
    try:
        while True:
            value = steps.send(await _settled(value))
    except StopIteration as end:
        return end.value
