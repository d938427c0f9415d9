"""Strings that match a regular expression, for sampling."""

from __future__ import annotations

import re
import string
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_TRIES = 50
_EXTRA_CHARACTERS = 32
_MOST_REPEATS_OF_NOTHING = 4
_WORD = string.ascii_letters + string.digits + "_"
_MOST_OF_A_RANGE = 1024
_LONGEST = 10_000

# Python's own parser of patterns. A test names what is used of it.
_parse: Any = import_module("re._parser").parse
_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_WORD": _WORD,
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": string.ascii_letters,
    "CATEGORY_NOT_WORD": " -.!",
    "CATEGORY_NOT_SPACE": _WORD,
}
# Unicode classes of Rust and JavaScript, which Python lacks.
_UNICODE_CLASSES = {
    "L": "a-zA-Z",
    "Alphabetic": "a-zA-Z",
    "Lu": "A-Z",
    "Uppercase": "A-Z",
    "Ll": "a-z",
    "Lowercase": "a-z",
    "N": "0-9",
    "Nd": "0-9",
    "P": "!,.?",
    "Z": " ",
    "Zs": " ",
}


@lru_cache(maxsize=256)
def sampler_of(pattern: str, min_length: int = 0, max_length: int | None = None) -> PatternSampler:
    """Return the sampler of a pattern; see `PatternSampler`."""
    return PatternSampler(pattern, min_length, max_length)


class PatternSampler:
    """Samples strings in which a pattern is found, as JSON Schema's ``pattern`` means it.

    Args:
        pattern: A regular expression in the syntax of Python, or what JavaScript and Rust share with it.
        min_length: The minimum number of code points.
        max_length: The maximum number of code points; None for no bound.

    Raises:
        ValueError: The pattern's syntax is not supported, or no string of such a length was found.
    """

    def __init__(self, pattern: str, min_length: int = 0, max_length: int | None = None) -> None:
        try:
            self._tree = _parse(_in_python(pattern))
            self._regex = re.compile(_in_python(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"The pattern {pattern!r} is not supported: {error}") from error
        self._shortest, longest = map(int, self._tree.getwidth())
        if max(self._shortest, min_length) > _LONGEST:
            raise ValueError(f"Only strings of more than {_LONGEST:,} characters match {pattern!r}")
        self._key = pattern, min_length, max_length
        self._min_length = min_length
        first = max(min_length, self._shortest)
        self._max_length = first + _EXTRA_CHARACTERS if max_length is None else max_length
        self._lengths = first, max(first, min(self._max_length, longest, first + _EXTRA_CHARACTERS))
        found = self._try(np.random.default_rng(0))
        if found is None:
            raise ValueError(f"Found no string of the allowed length that matches {pattern!r}")
        self._found = found

    def sample(self, random: np.random.Generator) -> str:
        """Return a string that matches."""
        return self._try(random) or self._found

    def __reduce__(self) -> Any:
        """A parsed pattern can be neither pickled nor copied."""
        return sampler_of, self._key

    def _try(self, random: np.random.Generator) -> str | None:
        for _ in range(_TRIES):
            length = int(random.integers(self._lengths[0], self._lengths[1] + 1))
            text = _Walk(random, length - self._shortest).text(self._tree)
            missing = self._min_length - len(text)
            if missing > 0:  # a pattern without anchors is found in longer strings too
                text += "".join(random.choice(list(_WORD), missing))
            if len(text) <= self._max_length and self._regex.search(text):
                return text
        return None


class _Walk:
    """One walk through a parsed pattern.

    Args:
        random: Makes the choices.
        spare: How many characters to add to the shortest string that matches.
    """

    def __init__(self, random: np.random.Generator, spare: int) -> None:
        self._random = random
        self._spare = spare
        self._groups: dict[int, str] = {}

    def text(self, tree: Any) -> str:
        """Return a string for the items of a pattern."""
        return "".join(self._item(str(operation), argument) for operation, argument in tree)

    def _item(self, operation: str, argument: Any) -> str:
        match operation:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL":
                return self._choose(PRINTABLE.replace(chr(argument), ""))
            case "ANY":
                return self._choose(PRINTABLE)
            case "IN":
                return self._choose(_characters(tuple(argument)))
            case "BRANCH":
                return self._branch(argument[1])
            case "SUBPATTERN":
                text = self.text(argument[3])
                if argument[0] is not None:
                    self._groups[argument[0]] = text
                return text
            case "ATOMIC_GROUP":
                return self.text(argument)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeat(*argument)
            case "GROUPREF":
                return self._groups.get(argument, "")
            case "GROUPREF_EXISTS":
                group, yes, no = argument
                return self.text((yes if group in self._groups else no) or ())
        return ""  # anchors, and what looks around: the result is checked

    def _choose(self, characters: str) -> str:
        return characters[int(self._random.integers(len(characters)))] if characters else ""

    def _branch(self, branches: Any) -> str:
        widths = [int(branch.getwidth()[0]) for branch in branches]
        fitting = [place for place, width in enumerate(widths) if width - min(widths) <= self._spare]
        place = fitting[int(self._random.integers(len(fitting)))]
        self._spare -= widths[place] - min(widths)
        return self.text(branches[place])

    def _repeat(self, least: int, most: int, item: Any) -> str:
        width = int(item.getwidth()[0])
        more = min(int(most) - least, self._spare // width if width else _MOST_REPEATS_OF_NOTHING)
        if self._random.random() < 0.5:
            more = int(self._random.integers(max(more, 0) + 1))
        self._spare -= more * width
        if not width:
            least = min(least, _MOST_REPEATS_OF_NOTHING)
        return "".join(self.text(item) for _ in range(least + more))


@lru_cache(maxsize=1024)
def _characters(choices: tuple[Any, ...]) -> str:
    """Return the characters of a class, ``[a-z_]``."""
    found = ""
    for operation, argument in choices:
        match str(operation):
            case "LITERAL":
                found += chr(argument)
            case "RANGE":
                first, last = argument
                found += "".join(map(chr, range(first, min(last, first + _MOST_OF_A_RANGE) + 1)))
            case "CATEGORY":
                found += _CATEGORIES[str(argument)]
    if str(choices[0][0]) == "NEGATE":
        return "".join(character for character in PRINTABLE if character not in found)
    # Control characters and surrogates only if nothing else is allowed.
    return "".join(filter(str.isprintable, found)) or found


def _in_python(pattern: str) -> str:
    """Return a pattern of JSON Schema in Python's syntax."""
    pattern = re.sub(r"\(\?<(?![=!])", "(?P<", pattern).replace(r"\z", r"\Z")
    parts, inside = [], False
    for part in re.findall(r"\\p\{\w+\}|\\.|[^\\]|\\$", pattern, re.DOTALL):
        if part.startswith(r"\p{") and (characters := _UNICODE_CLASSES.get(part[3:-1])):
            part = characters if inside else f"[{characters}]"
        elif part in "[]":
            inside = part == "["
        parts.append(part)
    return "".join(parts)
