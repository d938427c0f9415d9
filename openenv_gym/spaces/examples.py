"""Example values that a schema accepts, for schemas whose space alone samples none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from openenv_gym.schema_keywords import SPACE_KEYWORD
from openenv_gym.spaces.custom import canonical_json
from openenv_gym.spaces.patterns import sampler_of
from openenv_gym.spaces.schema import Node

Sample = Callable[[Node], Any]

_DEEPEST = 8
_COUNT = 8
_MOST_NODES = 1000
_MOST_GIVEN = 256
# Every kind of key that Pydantic has reads it: text, numbers, booleans.
_KEYS = "^[1-9][0-9]*$"

_BYTE = "(25[0-5]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"10(\.{_BYTE}){{3}}"
_IPV4_NETWORK = rf"10(\.{_BYTE}){{2}}\.0/24"
_IPV6 = "2001:db8(:[1-9a-f]{1,4}){6}"
_IPV6_NETWORK = "2001:db8:[1-9a-f]{1,4}::/48"
_DATE = r"(19[7-9]\d|20[01]\d)-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_HOST = r"[a-z]{3,8}\.example\.com"
_EMAIL = r"[a-z]{3,8}@example\.com"
# Three ASCII characters, so that the content is text too.
_BASE64 = "([A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9%s])*"


def _uuid(version: str) -> str:
    return f"[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}"


# By JSON Schema's ``format``, with Pydantic's additions: a pattern of some strings that have it.
_FORMATS: dict[str, str] = {
    "date": _DATE,
    "date-time": rf"{_DATE}T{_TIME}(Z|[+-]0[1-9]:[03]0)",
    "time": rf"{_TIME}Z?",
    "duration": r"P\dDT(1?\d|2[0-3])H|PT[1-5]?\dS|PT[1-5]?\dM",
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "name-email": _EMAIL,
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": _IPV4,
    "ipv4interface": rf"{_IPV4}/24",
    "ipv4network": _IPV4_NETWORK,
    "ipv6": _IPV6,
    "ipv6interface": rf"{_IPV6}/64",
    "ipv6network": _IPV6_NETWORK,
    "ipvanyaddress": f"({_IPV4}|{_IPV6})",
    "ipvanyinterface": f"({_IPV4}/24|{_IPV6}/64)",
    "ipvanynetwork": f"({_IPV4_NETWORK}|{_IPV6_NETWORK})",
    "uri": rf"https://{_HOST}/[a-z]{{0,8}}(\?q=[a-z]{{1,4}})?",
    "iri": rf"https://{_HOST}/[a-z]{{0,8}}",
    "uri-reference": r"/[a-z]{1,8}",
    "multi-host-uri": rf"postgresql://user:password@{_HOST}:5432/[a-z]{{1,8}}",
    "uuid": _uuid("4"),
    **{f"uuid{version}": _uuid(version) for version in "12345678"},
    "regex": "[a-z]{1,8}",
    "json-pointer": "(/[a-z]{1,5}){1,3}",
    "base64": _BASE64 % "+/",
    "base64url": _BASE64 % "_-",
    "path": r"[a-z]{1,8}(\.[a-z]{1,3})?",
    "zoneinfo": "UTC|Europe/(Berlin|Rome|Lisbon)|America/(New_York|Bogota)|Asia/(Tokyo|Kolkata)",
    "decimal": r"-?[1-9]?[0-9](\.[0-9])?",
    "fraction": "-?[1-9]?[0-9]/[1-9]",
    "color": "#[0-9a-f]{6}",
    "phone": r"\+1650253\d{4}",
    "mac": "[0-9a-f]{2}(:[0-9a-f]{2}){5}",
}


def format_pattern(name: object) -> str | None:
    """Return a pattern of strings that have a format; None if the format is unknown, or any string has it."""
    pattern = _FORMATS.get(name) if isinstance(name, str) else None
    return None if pattern is None else f"^({pattern})$"


def json_examples(node: Node, sample: Sample) -> list[Any]:
    """Return JSON values that the schema accepts: its own examples if it has some, small ones otherwise.

    Args:
        node: The schema; it may be recursive.
        sample: Samples a node without parts.
    """
    given = node.schema.get("examples")
    if isinstance(given, list) and given:
        return given[:_MOST_GIVEN]
    if node.is_recursive:
        node = node.expanded()
    found: dict[str, Any] = {}
    for number in range(_COUNT):
        try:
            value = _Examples(sample, number).of(node)
        except _TooDeepError:
            value = node.schema.get("default")
        found.setdefault(canonical_json(value), value)
    return list(found.values())


class _TooDeepError(Exception):
    """The schema goes on after as many levels as an example has."""


class _Examples:
    """Makes one example.

    Args:
        sample: Samples a node without parts.
        number: Examples differ by it. The first is the smallest.
    """

    def __init__(self, sample: Sample, number: int) -> None:
        self._sample = sample
        self._random = np.random.default_rng(number)
        self._is_smallest = number == 0
        self._nodes = 0

    def of(self, node: Node, depth: int = 0) -> Any:
        """Return an example of a schema, at a depth inside another."""
        self._nodes += 1
        if depth > _DEEPEST or self._nodes > _MOST_NODES:
            raise _TooDeepError
        if node.is_recursive:
            node = node.expanded()
        schema = node.schema
        if "enum" in schema or "const" in schema or SPACE_KEYWORD in schema:
            return self._sample(node)
        if node.alternatives:
            return self._branch([node.child(branch, "|") for branch in node.alternatives], depth)
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._branch([node.replace({**schema, "type": one}) for one in kind], depth)
        match kind:
            case "object":
                return self._object(node, depth)
            case "array":
                return self._array(node, depth)
            case "boolean" | "integer" | "number" | "string":
                return self._sample(node)
        return schema.get("default")

    def _branch(self, branches: list[Node], depth: int) -> Any:
        if not self._stays_small(depth):
            self._random.shuffle(branches)
        else:  # null, if allowed, ends a recursion
            branches.sort(key=lambda branch: (branch.schema.get("type") != "null", branch.is_recursive))
        for branch in branches:
            try:
                return self.of(branch, depth + 1)
            except _TooDeepError:
                continue
        raise _TooDeepError

    def _object(self, node: Node, depth: int) -> dict[str, Any]:
        schema, required = node.schema, frozenset(node.schema.get("required", ()))
        found = {}
        for name, child in node.properties():
            if name in required or not self._stays_small(depth):
                try:
                    found[name] = self.of(child, depth + 1)
                except _TooDeepError:
                    if name in required:
                        raise
        least = schema.get("minProperties", 0)
        if least > _MOST_NODES:
            raise _TooDeepError
        values, keys = _entries(node)
        if values is not None and (least or not (schema.get("properties") or self._stays_small(depth))):
            for _ in range(max(least, 1) * 4):
                found[self._key(keys)] = self.of(values, depth + 1)
                if len(found) >= max(least, 1):
                    break
        return found

    def _array(self, node: Node, depth: int) -> list[Any]:
        schema = node.schema
        places = schema.get("prefixItems")
        if places is not None:
            return [self.of(node.child(place, "[]"), depth + 1) for place in places]
        least = schema.get("minItems", 0)
        length = least if self._stays_small(depth) or schema.get("maxItems") == least else least + 1
        item = node.child(schema.get("items", {}), "[]")
        try:
            items = [self.of(item, depth + 1) for _ in range(length)]
            return distinct(items, schema, lambda: self.of(item, depth + 1))
        except _TooDeepError:
            if least:
                raise
            return []

    def _key(self, keys: Node | str) -> str:
        if isinstance(keys, str):
            try:
                return sampler_of(keys, max_length=4 if keys == _KEYS else None).sample(self._random)
            except ValueError:
                return str(self._random.integers(1, 1000))  # only the server checks this pattern
        return str(self._sample(keys))

    def _stays_small(self, depth: int) -> bool:
        return self._is_smallest or depth > 2


def distinct(items: list[Any], schema: Any, draw: Callable[[], Any]) -> list[Any]:
    """Return items without repetitions, if the schema wants that; ``draw`` replaces those that repeat."""
    if not schema.get("uniqueItems"):
        return items
    found = {canonical_json(item): item for item in items}
    for _ in range(8 * len(items)):
        if len(found) == len(items):
            break
        item = draw()
        found[canonical_json(item)] = item
    return list(found.values())


def _entries(node: Node) -> tuple[Node | None, Node | str]:
    """Return the schema of an object's free values, and that of their keys; None if it has no such values."""
    schema = node.schema
    for pattern, values in schema.get("patternProperties", {}).items():
        return node.child(values, "{}"), pattern
    values = schema.get("additionalProperties", True)
    if values is False:
        return None, _KEYS
    names = schema.get("propertyNames")
    keys = node.child({"type": "string", **names}, "{}") if isinstance(names, Mapping) else _KEYS
    return node.child(values, "{}"), keys
