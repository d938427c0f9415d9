"""One call of an object at a time, whatever threads they come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar, cast


class Turn:
    """Held during a call. A copy and a pickle are new ones, which nobody holds.

    Attributes:
        lock: The thread that holds it may make further calls: those of a signal handler, and those that a
            call is made of.
    """

    def __init__(self) -> None:
        self.lock = RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Turn, ()


F = TypeVar("F", bound=Callable[..., Any])


def in_turn(method: F) -> F:
    """Make a method wait until no other thread is in such a method of the same object.

    Args:
        method: A method of an object whose ``turn`` is a `Turn`.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.turn.lock:
            return method(self, *args, **kwargs)

    return cast(F, call)
