"""The requests of a conversation's user, and the rules that check replies."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

_WORDS = ("apple", "bridge", "candle", "desert", "engine", "forest", "garden", "harbour")
_FEWEST_WORDS, _MOST_WORDS = 3, 9


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        text: The user's words.
        is_met: Whether a reply meets the request.
    """

    text: str
    is_met: Callable[[str], bool]


def _word(chance: random.Random) -> Request:
    word = chance.choice(_WORDS)
    pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
    return Request(f"Write a sentence with the word {word}.", lambda reply: pattern.search(reply) is not None)


def _length(chance: random.Random) -> Request:
    number = chance.randint(_FEWEST_WORDS, _MOST_WORDS)
    return Request(f"Answer in exactly {number} words.", lambda reply: len(reply.split()) == number)


def _sum(chance: random.Random) -> Request:
    first, second = chance.randint(10, 99), chance.randint(10, 99)
    total = str(first + second)
    return Request(
        f"What is {first} plus {second}? Reply with the number alone.",
        lambda reply: reply.strip().removesuffix(".") == total,
    )


# The kinds of requests of each task.
TASKS: dict[str, tuple[Callable[[random.Random], Request], ...]] = {
    "word": (_word,),
    "length": (_length,),
    "sum": (_sum,),
    "mixed": (_word, _length, _sum),
}


def draw(task: str, chance: random.Random) -> Request:
    """Draw a request of a task."""
    return chance.choice(TASKS[task])(chance)
