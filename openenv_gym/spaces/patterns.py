"""Strings that match a regular expression, for sampling."""

from __future__ import annotations

import math
import re
import string
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from openenv_gym.errors import excerpt

PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "
_TRIES = 50
_EXTRA_CHARACTERS = 32
_MOST_REPEATS_OF_NOTHING = 4
_WORD = string.ascii_letters + string.digits + "_"
_MOST_OF_A_RANGE = 1024
_LONGEST = 10_000
_LONGEST_PATTERN = 20_000
# Items of patterns that are walked, in all tries together: about 0.1 s.
_MOST_ITEMS = 100_000
_ITEMS_OF_A_UNIT = 10
_CHARACTERS_OF_A_UNIT = 10
# Python's search may take time that grows exponentially with the text, and cannot be interrupted.
_MOST_STEPS_OF_A_SEARCH = 100_000
_STEPS_OF_AN_ITEM = 50
_MOST_LOGARITHM = 50.0

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
# All printable characters of the categories that have more than those above.
_WHOLE_CATEGORIES = {
    **_CATEGORIES,
    "CATEGORY_NOT_DIGIT": "".join(c for c in PRINTABLE if c not in string.digits),
    "CATEGORY_NOT_WORD": "".join(c for c in PRINTABLE if c not in _WORD),
    "CATEGORY_NOT_SPACE": PRINTABLE.replace(" ", ""),
}
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
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


class UnsupportedPatternError(ValueError):
    """No strings for a pattern can be made.

    Attributes:
        work: The work that it took to find that out, in units of about 10 µs.
    """

    def __init__(self, message: str, work: int = 1) -> None:
        super().__init__(message)
        self.work = work


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
        UnsupportedPatternError: The pattern's syntax is not supported, it is too complex, or no string of
            such a length was found.

    Attributes:
        work: The work that the first string took, in units of about 10 µs.
    """

    def __init__(self, pattern: str, min_length: int = 0, max_length: int | None = None) -> None:
        self.work: int = 1 + len(pattern) // _CHARACTERS_OF_A_UNIT
        if len(pattern) > _LONGEST_PATTERN:
            raise UnsupportedPatternError(f"A pattern has more than {_LONGEST_PATTERN:,} characters")
        try:
            self._tree = _parse(_in_python(pattern))
            self._regex = re.compile(_in_python(pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise self._unsupported(f"is not supported: {error}", pattern) from error
        self._shortest, longest = map(int, self._tree.getwidth())
        if max(self._shortest, min_length) > _LONGEST:
            raise self._unsupported(f"is only in strings of more than {_LONGEST:,} characters", pattern)
        self._key = pattern, min_length, max_length
        self._min_length = min_length
        first = max(min_length, self._shortest)
        self._max_length = first + _EXTRA_CHARACTERS if max_length is None else max_length
        self._lengths = first, max(first, min(self._max_length, longest, first + _EXTRA_CHARACTERS))
        self._items_of_a_search = _items_of_a_search(self._tree, self._lengths[1])
        if self._items_of_a_search is None and not _is_exact(self._tree):
            raise self._unsupported("may take too long to search for", pattern)
        found, items = self._try(np.random.default_rng(0))
        self.work += items // _ITEMS_OF_A_UNIT
        if found is None:
            raise self._unsupported("is in no string of the allowed length that was tried", pattern)
        self._found = found

    def _unsupported(self, reason: str, pattern: str) -> UnsupportedPatternError:
        return UnsupportedPatternError(f"The pattern {excerpt(pattern)} {reason}", self.work)

    def sample(self, random: np.random.Generator) -> str:
        """Return a string that matches."""
        return self._try(random)[0] or self._found

    def __reduce__(self) -> Any:
        """A parsed pattern can be neither pickled nor copied."""
        return sampler_of, self._key

    def _try(self, random: np.random.Generator) -> tuple[str | None, int]:
        """Return a string that matches, and how many items of the pattern were walked."""
        items = 0
        for _ in range(_TRIES):
            length = int(random.integers(self._lengths[0], self._lengths[1] + 1))
            walk = _Walk(random, length - self._shortest, _MOST_ITEMS - items)
            try:
                text = walk.text(self._tree)
            except _TooManyItemsError:
                return None, _MOST_ITEMS
            items = _MOST_ITEMS - walk.items_left + (self._items_of_a_search or 0)
            missing = self._min_length - len(text)
            if missing > 0:  # a pattern without anchors is found in longer strings too
                text += "".join(random.choice(list(_WORD), missing))
            if len(text) <= self._max_length and self._is_found(text, missing > 0):
                return text, items
        return None, items

    def _is_found(self, text: str, is_longer: bool) -> bool:
        if self._items_of_a_search is None:
            return not (is_longer and any(str(operation) == "AT" for operation, _ in self._tree))
        return self._regex.search(text) is not None


def _items_of_a_search(tree: Any, length: int) -> int | None:
    """Return how many items of a walk a search takes at most; None if it may take far too long."""
    starts = 1 if tree and str(tree[0][1]) == "AT_BEGINNING" else length + 1
    steps = starts * _ways_and_steps(tree, length)[1]
    return int(steps / _STEPS_OF_AN_ITEM) if steps <= _MOST_STEPS_OF_A_SEARCH else None


def _ways_and_steps(tree: Any, length: int) -> tuple[float, float]:
    """Return bounds for a search that backtracks: the ways to match a prefix, and the steps to try them all.

    Args:
        tree: A parsed pattern.
        length: The length of the text.
    """
    ways, steps = 1.0, 0.0
    for operation, argument in tree:
        more_ways, more_steps = _ways_and_steps_of(str(operation), argument, length)
        steps += ways * more_steps
        ways *= more_ways
        if steps > _MOST_STEPS_OF_A_SEARCH:
            return math.inf, math.inf
    return ways, steps


def _ways_and_steps_of(operation: str, argument: Any, length: int) -> tuple[float, float]:
    if operation == "BRANCH":
        branches = [_ways_and_steps(branch, length) for branch in argument[1]]
        return sum(ways for ways, _ in branches), sum(steps for _, steps in branches)
    if operation == "SUBPATTERN":
        return _ways_and_steps(argument[3], length)
    if operation == "ATOMIC_GROUP":
        return 1.0, _ways_and_steps(argument, length)[1]
    if operation in ("ASSERT", "ASSERT_NOT"):
        return 1.0, _ways_and_steps(argument[1], length)[1]
    if operation in _REPEATS:
        least, most, item = argument
        ways, steps = _ways_and_steps(item, length)
        # An item that may be empty is repeated once without a character, at most.
        most = min(int(most), length // max(int(item.getwidth()[0]), 1) + 1)
        if ways > 1:
            total = math.inf if most * math.log(ways) > _MOST_LOGARITHM else ways ** (most + 1)
            return total, steps * total
        return max(most - least, 0) + 1.0, steps * max(most, 1)
    return 1.0, float(length) if operation == "GROUPREF" else 1.0


def _is_exact(tree: Any) -> bool:
    """Return whether every text of a walk matches, because nothing in the pattern looks elsewhere."""
    items = list(tree)
    if items and str(items[0][0]) == "AT":
        items = items[1:]
    if items and str(items[-1][0]) == "AT":
        items = items[:-1]
    return _has_only_exact_items(items)


def _has_only_exact_items(items: Any) -> bool:
    for operation, argument in items:
        match str(operation):
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                continue
            case "BRANCH" if all(map(_has_only_exact_items, argument[1])):
                continue
            case "SUBPATTERN" if _has_only_exact_items(argument[3]):
                continue
            case "MAX_REPEAT" | "MIN_REPEAT" if _has_only_exact_items(argument[2]):
                continue
        return False
    return True


class _TooManyItemsError(Exception):
    """A walk takes too long."""


class _Walk:
    """One walk through a parsed pattern.

    Args:
        random: Makes the choices.
        spare: How many characters to add to the shortest string that matches.
        items_left: How many items of the pattern it may take.
    """

    def __init__(self, random: np.random.Generator, spare: int, items_left: int) -> None:
        self.items_left = items_left
        self._random = random
        self._spare = spare
        self._groups: dict[int, str] = {}

    def text(self, tree: Any) -> str:
        """Return a string for the items of a pattern."""
        return "".join(self._item(str(operation), argument) for operation, argument in tree)

    def _item(self, operation: str, argument: Any) -> str:
        self.items_left -= 1
        if self.items_left < 0:
            raise _TooManyItemsError
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
    is_negated = str(choices[0][0]) == "NEGATE"
    for operation, argument in choices:
        match str(operation):
            case "LITERAL":
                found += chr(argument)
            case "RANGE":
                first, last = argument
                found += "".join(map(chr, range(first, min(last, first + _MOST_OF_A_RANGE) + 1)))
            case "CATEGORY":
                found += (_WHOLE_CATEGORIES if is_negated else _CATEGORIES)[str(argument)]
    if is_negated:
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
