"""Strategies of messages and bytes that no client should send, or that a client may send once in its life."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from openenv_gym.wire import v2
from openenv_gym.wire.framing import Opcode

Values = st.SearchStrategy[Any]

KEY = b"\x00\x11\x22\x33"  # a mask is a mask


class Attack(NamedTuple):
    """What is sent at once.

    Attributes:
        data: The bytes on the socket.
        message: The message in them, where they are frames that RFC 6455 allows.
    """

    data: bytes
    message: tuple[Opcode, bytes] | None


def frame(first: int, payload: bytes, *, size: int | None = None, is_masked: bool = True) -> bytes:
    """A frame of a client, which may say a size that is not its own."""
    size = len(payload) if size is None else size
    mask = 0x80 if is_masked else 0
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    if not is_masked:
        return head + payload
    keys = (KEY * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return head + KEY + masked.to_bytes(len(payload), "big")


# --- values -----------------------------------------------------------------------------------------------

_integers = st.sampled_from([0, 1, -1, 2, 7, 255, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1])
_floats = st.sampled_from([0.0, -0.0, 0.5, 1e308, -1e-320, math.nan, math.inf, -math.inf])
_texts = st.text(max_size=8) | st.sampled_from(["", "\x00", "reset", "a", "self", "seed", "é" * 200])
_depths = st.sampled_from([3, 60, 400, 600, 900, 980, 1100, 100_000])
_leaves = st.none() | st.booleans() | _integers | _floats | _texts
_trees = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


def _array(kind: str, size: int, shape: list[int], items: bytes) -> msgspec.msgpack.Ext:
    head = struct.pack(f"<cBB{len(shape)}I", kind.encode(), size, len(shape) % 256, *shape)
    return msgspec.msgpack.Ext(v2.EXTENSION, head + items)


def _attached(kind: str, size: int, shape: list[int], place: int) -> msgspec.msgpack.Ext:
    array = _array(kind, size, shape, struct.pack("<Q", place))
    return msgspec.msgpack.Ext(v2.ATTACHED_EXTENSION, array.data)


_shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 2**16, 2**31, 2**32 - 1]), max_size=4) | st.sampled_from(
    [[1] * 32, [1] * 33, [1] * 255, [2**32 - 1] * 32, [0, *[2**32 - 1] * 20]]
)
_kinds, _sizes = st.sampled_from("biufcOVSMm\x00"), st.sampled_from([0, 1, 2, 4, 8, 16, 255])
_items = st.integers(0, 40).map(bytes)
_honest_kinds = st.sampled_from([("i", 8), ("u", 1), ("f", 4), ("b", 1), ("f", 8)])
_extensions = st.one_of(
    st.builds(_array, _kinds, _sizes, _shapes, _items),
    st.builds(
        lambda kind, count: _array(*kind, [count], bytes(count * kind[1])), _honest_kinds, st.integers(0, 4)
    ),
    st.builds(_attached, _kinds, _sizes, _shapes, st.sampled_from([0, 8, 2**31, 2**63, 2**64 - 1])),
    st.builds(
        lambda kind, count, place: _attached(*kind, [count], place),
        _honest_kinds,
        st.integers(0, 4),
        st.sampled_from([0, 1, 8, 64, 2**40]),
    ),
    st.builds(msgspec.msgpack.Ext, st.sampled_from([-1, 0, 1, 2, 3, 5, 127, -128]), st.binary(max_size=20)),
)


class _Deep(NamedTuple):
    """A list in a list in a list; spelled out by hand, as encoders refuse it."""

    depth: int
    is_map: bool

    def json(self) -> str:
        return (
            '{"a":' * self.depth + "1" + "}" * self.depth
            if self.is_map
            else "[" * self.depth + "]" * self.depth
        )

    def msgpack(self) -> msgspec.Raw:
        return msgspec.Raw((b"\x81\xa1a" if self.is_map else b"\x91") * self.depth + b"\xc0")


_deep = st.builds(_Deep, _depths, st.booleans())
JSON_VALUES: Values = st.one_of(
    _leaves, _trees, _deep, st.just(10**400), st.sampled_from([10**4299, "\ud800"])
)
MSGPACK_VALUES: Values = st.one_of(
    _leaves, _trees, _deep.map(_Deep.msgpack), _extensions, _extensions, st.binary(max_size=20)
)


# --- messages ---------------------------------------------------------------------------------------------


@st.composite
def mutated(draw: st.DrawFn, messages: Values, junk: Values) -> Any:
    """A message with up to three things put, replaced or taken away, at any depth."""
    message = draw(messages)
    for _ in range(draw(st.integers(0, 3))):
        message = _change(draw, message, junk)
    return message


def _change(draw: st.DrawFn, value: Any, junk: Values) -> Any:
    is_container = isinstance(value, dict | list) and value
    if not is_container or draw(st.integers(0, 5)) == 0:
        return draw(junk)
    places = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = draw(st.sampled_from(places))
    changed: Any = value.copy()
    match draw(st.integers(0, 6)):
        case 0:
            del changed[place]
        case 1 if isinstance(changed, dict):
            changed[draw(_texts)] = draw(junk)
        case 1:
            changed.append(draw(junk))
        case 2 if isinstance(changed, list):
            changed.append(changed[place])
        case _:
            changed[place] = _change(draw, changed[place], junk)
    return changed


@st.composite
def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that are cut off, changed, or have others put in between."""
    place = draw(st.integers(0, len(data)))
    match draw(st.integers(0, 2)):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + draw(st.binary(min_size=1, max_size=4)) + data[place:]
        case _:
            return data[:place] + draw(st.binary(min_size=1, max_size=4)) + data[place + 1 :]


def _maybe_damaged(data: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, 4).flatmap(lambda dice: _damaged(data) if dice == 0 else st.just(data))


def _in_json(message: Any) -> bytes:
    """JSON text, with numbers that JSON has not, and lone surrogates as escapes."""
    deep: dict[str, str] = {}

    def stand_in(value: Any) -> Any:
        if isinstance(value, _Deep):
            deep[name := f"deep {len(deep)}"] = value.json()
            return name
        if isinstance(value, dict):
            return {key: stand_in(part) for key, part in value.items()}
        return [stand_in(part) for part in value] if isinstance(value, list) else value

    text = json.dumps(stand_in(message))
    for name, spelled in deep.items():
        text = text.replace(f'"{name}"', spelled)
    return text.encode()


def v1_messages(actions: Values) -> st.SearchStrategy[tuple[Opcode, bytes]]:
    """Messages of version 1: good ones, changed ones, and what is none."""
    resets = st.fixed_dictionaries(
        {}, optional={"seed": st.none() | st.integers(-1, 5), "level": st.integers(), "episode_id": _texts}
    )
    good = st.one_of(
        st.fixed_dictionaries({"type": st.just("reset"), "data": resets}),
        st.fixed_dictionaries({"type": st.just("step"), "data": actions}),
        st.fixed_dictionaries({"type": st.just("step"), "data": actions}),
        st.just({"type": "state"}),
    )
    texts = mutated(good, JSON_VALUES).map(_in_json).flatmap(_maybe_damaged)
    rare = st.one_of(
        st.tuples(st.just(Opcode.BINARY), st.binary(max_size=60) | texts),
        st.tuples(st.just(Opcode.TEXT), st.binary(max_size=60)),
        st.just((Opcode.TEXT, b'{"type":"close"}')),
    )
    return _mostly(st.tuples(st.just(Opcode.TEXT), texts), rare)


def _in_msgpack(message: Any, tail: bytes, size: int | None) -> bytes:
    """The payload of version 2: the body's size, the body, and what is behind it."""
    body = msgspec.msgpack.encode(message)
    return struct.pack("<I", len(body) if size is None else size) + body + tail


def v2_messages(actions: Values, slots: Sequence[int]) -> st.SearchStrategy[tuple[Opcode, bytes]]:
    """Messages of version 2: good ones, changed ones, and what is none."""
    numbers = st.lists(st.sampled_from([*slots, *slots, *slots, 5, -1, 2**40]), max_size=4) | st.just(
        list(slots)
    )
    asked = {"id": st.integers(0, 2**40), "slots": numbers}

    def step(numbers: list[int]) -> Values:
        column = st.lists(actions, min_size=len(numbers), max_size=len(numbers))
        return st.fixed_dictionaries(
            {"type": st.just("step"), "id": asked["id"], "slots": st.just(numbers), "actions": column},
            optional={"min_ready": st.integers(-1, 4)},
        )

    def others(kind: str, **optional: Values) -> Values:
        return st.fixed_dictionaries({"type": st.just(kind), **asked}, optional=optional)

    seeds = st.lists(st.none() | st.integers(-1, 5), max_size=3)
    good = st.one_of(
        numbers.flatmap(step),
        numbers.flatmap(step),
        st.just(list(slots)).flatmap(step),
        others("reset", seeds=seeds, options=st.dictionaries(_texts, _leaves, max_size=2)),
        others("open", autoreset=st.sampled_from(["disabled", "next_step", "same_step", "x"])),
        others("state"),
        others("render"),
        others("close"),
    )
    payloads = st.builds(
        _in_msgpack,
        mutated(good, MSGPACK_VALUES),
        st.just(b"") | st.binary(max_size=40) | st.just(bytes(64)),
        st.none() | st.none() | st.none() | st.sampled_from([0, 1, 20, 2**31, 2**32 - 1]),
    ).flatmap(_maybe_damaged)
    rare = st.one_of(
        st.tuples(st.just(Opcode.TEXT), st.binary(max_size=60) | payloads),
        st.tuples(st.just(Opcode.BINARY), st.binary(max_size=60)),
    )
    return _mostly(st.tuples(st.just(Opcode.BINARY), payloads), rare)


# --- frames -----------------------------------------------------------------------------------------------


@st.composite
def _in_frames(draw: st.DrawFn, messages: st.SearchStrategy[tuple[Opcode, bytes]]) -> Attack:
    """A message in one frame, or in several with pings between them."""
    opcode, payload = message = draw(messages)
    if draw(st.integers(0, 9)) > 0:
        return Attack(frame(0x80 | opcode, payload), message)
    places = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=5)))
    parts = [payload[a:b] for a, b in pairwise([0, *places, len(payload)])]
    data = b""
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        data += frame((Opcode.CONTINUATION if number else opcode) | (0x80 if is_last else 0), part)
        if not is_last and draw(st.booleans()):
            data += frame(0x80 | Opcode.PING, draw(st.binary(max_size=125)))
    return Attack(data, message)


def _broken_frames() -> st.SearchStrategy[Attack]:
    """Frames that RFC 6455 does not allow, or that are not complete."""
    some = st.binary(max_size=200)
    large = st.sampled_from([2**26 + 1, 2**31, 2**40, 2**63 - 1, 2**64 - 1])
    return st.one_of(
        some,
        st.builds(frame, st.integers(0, 255), some),
        st.builds(lambda first, payload: frame(first, payload, is_masked=False), st.integers(0, 255), some),
        st.builds(
            lambda first, size: frame(first, b"abc", size=size), st.sampled_from([0x81, 0x82, 2]), large
        ),
        st.builds(
            lambda first, size: frame(first, b"abc", size=size), st.integers(0, 255), st.integers(4, 9999)
        ),
        st.builds(lambda payload: frame(0x88, payload), some),
        st.builds(lambda code: frame(0x88, struct.pack("!H", code) + b"why"), st.integers(0, 65535)),
        st.builds(lambda payload: frame(0x89, payload) * 3 + frame(0x8A, payload), some),
        st.builds(lambda payload: frame(0x01, payload) + frame(0x82, payload), some),
        st.builds(lambda payload: frame(0x80, payload), some),
    ).map(lambda data: Attack(data, None))


def attacks(messages: st.SearchStrategy[tuple[Opcode, bytes]]) -> st.SearchStrategy[Attack]:
    """What is sent: mostly messages, so that they meet a server that has a past."""
    return _mostly(_in_frames(messages), _broken_frames())


def _mostly(often: Values, seldom: Values) -> Values:
    """The second one in twenty times."""
    return st.integers(0, 19).flatmap(lambda dice: seldom if dice == 0 else often)
