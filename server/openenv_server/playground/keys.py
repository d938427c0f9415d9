"""The keys of a keyboard for the choices of an action. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from openenv_server.playground.fields import Choice, Field, Group, Number, Recursion, same
from openenv_server.playground.schema_fields import MOST_NAMED

_ARROWS = {
    **dict.fromkeys(("left", "west"), "ArrowLeft"),
    **dict.fromkeys(("right", "east"), "ArrowRight"),
    **dict.fromkeys(("up", "north", "forward"), "ArrowUp"),
    **dict.fromkeys(("down", "south", "backward", "back"), "ArrowDown"),
}
_SHOWN = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓"}
_DIGITS = 10


class Move(NamedTuple):
    """A choice that is made and stepped by one click or key.

    Attributes:
        value: Its value in the action.
        name: Its name, for people.
        keys: Its keys, as JavaScript's ``KeyboardEvent.key`` has them.
    """

    value: object
    name: str
    keys: tuple[str, ...]

    @property
    def caption(self) -> str:
        """The name and the keys, for a button: "left [← 0]"."""
        # The keys stay on one line.
        shown = "\N{NO-BREAK SPACE}".join(_SHOWN.get(key, key.upper()) for key in self.keys)
        return f"{self.name} [{shown}]" if shown and shown != self.name else self.name


class Moves(NamedTuple):
    """All moves of an action, and the path of the part that they set."""

    path: tuple[str, ...]
    moves: tuple[Move, ...]

    def have(self, action: Any) -> bool:
        """Return whether an action is one of the moves."""
        for name in self.path:
            action = action.get(name) if isinstance(action, dict) else None
        return any(same(move.value, action) for move in self.moves)


def moves_of(action: Field) -> Moves | None:
    """Return the moves of an action that is one choice among a few, else None."""
    path: tuple[str, ...] = ()
    while isinstance(action, Recursion) or (isinstance(action, Group) and len(action.parts) == 1):
        if isinstance(action, Group):
            path, action = (*path, action.parts[0].name), action.parts[0].field
        else:
            action = action.target
    match action:
        case Choice() if len(action.values) <= MOST_NAMED:
            values, names = action.values, action.names
        case Number(is_integer=True, low=low, high=high) if _is_few(low, high):
            values = tuple(range(int(low or 0), int(high or 0) + 1))
            names = tuple(map(str, values))
        case _:
            return None
    return Moves(path, tuple(map(Move, values, names, keys_of(values, names))))


def _is_few(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and high - low < MOST_NAMED


def keys_of(values: Sequence[object], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the keys of each choice: a digit for the first ten, and an arrow or a letter of its name.

    If the choices are numbers, the digit is the number itself, else its place.
    """
    numbers = [value for value in values if type(value) is int and value >= 0]
    places = numbers if len(numbers) == len(values) else range(len(values))
    digits = [str(place) if place < _DIGITS else None for place in places]
    taken = {digit for digit in digits if digit}
    by_name: list[str | None] = [None] * len(names)
    for place, name in enumerate(names):
        words = re.split(r"[\W_]+", name.lower())
        arrows = {_ARROWS[word] for word in words if word in _ARROWS}
        if len(arrows) == 1 and len(words) <= 2 and not arrows & taken:
            by_name[place] = arrows.pop()
            taken.add(str(by_name[place]))
    for place, name in enumerate(names):
        if by_name[place] is None:
            letter = next((char for char in name.lower() if "a" <= char <= "z" and char not in taken), None)
            if letter is not None:
                by_name[place] = letter
                taken.add(letter)
    pairs = zip(by_name, digits, strict=True)
    return [tuple(key for key in pair if key is not None) for pair in pairs]
