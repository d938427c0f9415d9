"""Small messages that stand for a lot of memory are refused before it is taken."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from openenv_gym.errors import ProtocolError
from openenv_gym.wire import v1, v2
from openenv_gym.wire.v2 import Attachments, count_lists
from openenv_gym.wire.values import MOST_IN_ANSWER, MOST_IN_REQUEST, check_json, check_msgpack

MANY = MOST_IN_REQUEST + 1


def array(*shape: int, kind: bytes = b"u", item: int = 1, data: bytes | None = None) -> msgspec.msgpack.Ext:
    head = struct.pack(f"<cBB{len(shape)}I", kind, item, len(shape), *shape)
    return msgspec.msgpack.Ext(
        v2.EXTENSION, head + (bytes(math.prod(shape) * item) if data is None else data)
    )


def attached(place: int, *shape: int) -> msgspec.msgpack.Ext:
    head = struct.pack(f"<cBB{len(shape)}IQ", b"u", 1, len(shape), *shape, place)
    return msgspec.msgpack.Ext(v2.ATTACHED_EXTENSION, head)


def framed(body: bytes, behind: bytes = b"") -> bytes:
    whole = struct.pack("<I", len(body)) + body
    return whole + bytes(-len(whole) % 8) + behind if behind else whole


def step(actions: Any, behind: bytes = b"") -> bytes:
    message = {"type": "step", "id": 1, "slots": [0], "actions": actions}
    return framed(msgspec.msgpack.encode(message), behind)


def bytes_of(count: int, value: bytes) -> msgspec.Raw:
    return msgspec.Raw(b"\xdd" + struct.pack(">I", count) + value * count)


@contextmanager
def fast() -> Iterator[None]:
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 5


BOMBS: dict[str, Callable[[], bytes]] = {
    "rows without items": lambda: step(array(2**32 - 1, 0)),
    "rows without items, deep in": lambda: step([{"a": [array(2**26, 0, 2**20)]}]),
    "many with some rows": lambda: step([array(2**14, 0)] * 2**9),
    "lists in lists around each item": lambda: step(array(2**18, *[1] * 31)),
    "an attached one without items": lambda: step({"a": attached(0, 2**32 - 1, 0)}, bytes(8)),
    "attached ones that overlap": lambda: step(
        {str(n): attached(0, 1, 2**20) for n in range(9)}, bytes(2**20)
    ),
    "an attached one, and nothing is attached": lambda: step({"a": attached(0, 1)}),
    "an attached one in the options of a reset": lambda: framed(
        msgspec.msgpack.encode({"type": "reset", "id": 1, "slots": [0], "options": {"a": attached(0, 1)}}),
        bytes(8),
    ),
    "empty maps": lambda: step(bytes_of(MANY, b"\x80")),
    "empty lists": lambda: step(bytes_of(MANY, b"\x90")),
    "short texts": lambda: step(bytes_of(MANY, b"\xa1a")),
    "pairs of a map": lambda: step(
        [msgspec.Raw(b"\xdf" + struct.pack(">I", MANY // 2) + b"\x01\x02" * MANY)]
    ),
    "a large integer": lambda: step(msgspec.msgpack.Ext(v2.INTEGER_EXTENSION, b"\x7f" * 2**20)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_no_message(kind: str) -> None:
    bomb = BOMBS[kind]()
    with fast(), pytest.raises(v2.BadMessageError, match="Not a message of version 2"):
        v2.decode_request(bomb)


def test_a_bomb_from_a_server_is_no_message() -> None:
    message = {"type": "result", "id": 1, "slots": [0], "rewards": [0.0], "observations": array(2**32 - 1, 0)}
    with fast(), pytest.raises(v2.BadMessageError, match="too many rows"):
        v2.decode_answer(framed(msgspec.msgpack.encode(message)))


@pytest.mark.parametrize("value", ["[]", "{}", '""', "0", "[[[]]]"])
def test_a_bomb_in_json_is_no_request(value: str) -> None:
    text = f'{{"type":"step","data":{{"a":[{",".join([value] * MANY)}]}}}}'
    with fast(), pytest.raises(v1.BadRequestError, match="more than 1,048,576 values"):
        v1.decode_request(text)


def test_a_bomb_in_json_from_a_server_is_no_answer() -> None:
    text = f'{{"type":"state","data":{{"a":[{"[]," * MOST_IN_ANSWER}0]}}}}'
    with fast(), pytest.raises(ProtocolError, match="more than 8,388,608 values"):
        v1.decode_answer(text)


def test_large_messages_of_few_values_are_read() -> None:
    image = np.zeros((64, 210, 160, 3), np.uint8)
    request = v2.Step(
        id=1, slots=[0], actions=[{"text": "a" * 2**23, "data": b"\x80" * 2**23, "image": image}]
    )
    decoded = v2.decode_request(b"".join(v2.encode(request)))
    assert isinstance(decoded, v2.Step)
    assert decoded.actions[0]["image"].shape == image.shape
    many = np.zeros((2048, 84, 84, 1), np.uint8)  # a list around each item
    attachments = Attachments()
    result = v2.Result(
        id=1, slots=[0], observations={"a": attachments.attach(list(many)), "b": many}, rewards=[]
    )
    answer = v2.decode_answer(b"".join(v2.encode(result, attachments)))
    assert isinstance(answer, v2.Result)
    assert answer.observations["a"].shape == answer.observations["b"].shape == many.shape
    v1.decode_request(json.dumps({"type": "step", "data": {"a": [0] * (MOST_IN_REQUEST - 20), "b": "[" * 9}}))


def test_every_kind_of_value_counts_as_one() -> None:
    values = [
        0, 127, 128, 2**16, 2**32, -1, -33, -(2**8), -(2**16), -(2**40), 1.5, True, None, "", "a", "a" * 40,
        "a" * 300, "a" * 70_000, b"", b"a" * 300, b"a" * 70_000, [], [None] * 20, [None] * 70_000, {},
        {str(n): n for n in range(20)}, {str(n): n for n in range(70_000)},
        *(msgspec.msgpack.Ext(1, bytes(size)) for size in (0, 1, 2, 4, 8, 16, 17, 300, 70_000)),
    ]  # fmt: skip

    def count(value: Any) -> int:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return 1 + (sum(map(count, parts)) if isinstance(parts, list) else 0)

    for value in (*values, values):
        body = memoryview(msgspec.msgpack.encode(value))
        number = count(value)
        check_msgpack(body, number)
        if len(body) > number - 1:
            with pytest.raises(ValueError, match="more than"):
                check_msgpack(body, number - 1)


def test_lists_of_an_array_are_counted() -> None:
    for shape in [(3,), (3, 4), (3, 4, 5), (3, 0), (3, 4, 0), (2, 1, 1)]:
        text = json.dumps(np.zeros(shape).tolist())
        assert count_lists(shape) == text.count("[") - 1


def test_json_is_counted_in_bytes_too() -> None:
    check_json(b"[1,2,3]", 7)
    check_json(b"[1, 2, 3]", 3)
    with pytest.raises(ValueError, match="more than 2 values"):
        check_json(b"[1, 2, 3]", 2)


@pytest.mark.parametrize("header", [None, "", "1", "²/³", "0/" + "9" * 4500, "-1/2", "x/y", "1/2/3"])
def test_a_wrong_number_of_processes_is_one(header: str | None) -> None:
    assert v2.worker_of(header) == (0, 1)
    assert v2.worker_of("3/4") == (3, 4)
