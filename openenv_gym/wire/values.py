"""The most values in a message: a byte of it can become 70 bytes of Python objects.

A value is a list, a map, a text, a number and so on, at any depth. An array is one value, but the lists that
it would become as JSON are counted too, since its shape alone can stand for billions of them.
"""

from __future__ import annotations

MOST_IN_REQUEST, MOST_IN_ANSWER = 2**20, 2**23
MOST_LISTS = 2**22


def _head_sizes() -> list[int]:
    """The size of each kind of value in msgpack, by its first byte, without a text or binary behind it."""
    sizes = [1] * 256
    for size, first_bytes in {
        2: (0xC4, 0xCC, 0xD0, 0xD9),
        3: (0xC5, 0xC7, 0xCD, 0xD1, 0xD4, 0xDA, 0xDC, 0xDE),
        4: (0xC8, 0xD5),
        5: (0xC6, 0xCA, 0xCE, 0xD2, 0xDB, 0xDD, 0xDF),
        6: (0xC9, 0xD6),
        9: (0xCB, 0xCF, 0xD3),
        10: (0xD7,),
        18: (0xD8,),
    }.items():
        for first_byte in first_bytes:
            sizes[first_byte] = size
    for size in range(32):  # short texts
        sizes[0xA0 + size] = 1 + size
    return sizes


_SIZES = _head_sizes()
# How many bytes give the length of a text or a binary.
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}


def check_msgpack(body: bytes | memoryview, most: int) -> None:
    """Check a message in msgpack before it is decoded.

    Raises:
        ValueError: It has more than ``most`` values.
    """
    end = len(body)
    if end <= most:
        return
    at = count = 0
    while at < end:
        count += 1
        if count > most:
            raise _too_many(most)
        first = body[at]
        length = _LENGTHS.get(first, 0)
        at += _SIZES[first] + (int.from_bytes(body[at + 1 : at + 1 + length], "big") if length else 0)


def check_json(text: str | bytes | memoryview, most: int) -> None:
    """Check JSON before it is decoded. In texts, commas and opening brackets count too.

    Raises:
        ValueError: It has more than ``most`` values.
    """
    if len(text) <= most:
        return
    if isinstance(text, str):
        count = sum(map(text.count, ",[{"))
    else:
        count = sum(map(bytes(text).count, (b",", b"[", b"{")))
    if count > most:
        raise _too_many(most)


def _too_many(most: int) -> ValueError:
    return ValueError(f"it has more than {most:,} values")
