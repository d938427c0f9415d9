"""One call of an object at a time, whatever threads they come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import RLock
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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


class TakesTurns(Protocol):
    """An object with a `Turn`."""

    turn: Turn


SelfT = TypeVar("SelfT", bound=TakesTurns)


def in_turn(method: Callable[Concatenate[SelfT, P], T]) -> Callable[Concatenate[SelfT, P], T]:
    """Make a method wait until no other thread is in such a method of the same object."""

    @functools.wraps(method)
    def call(self: SelfT, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.turn.lock:
            return method(self, *args, **kwargs)

    return call
