"""The encoding of version 2 of the protocol: msgpack in binary frames, with NumPy arrays as extensions.

``docs/protocol-v2.md`` specifies it, with test vectors; `v2_messages` has the messages.

Extension type 1 is an array: a head, then the items in C order, little-endian. The head is one byte each for
the dtype's kind (ASCII ``b``, ``i``, ``u`` or ``f``, as in NumPy), its size in bytes and the number of
dimensions, then four bytes for each dimension, little-endian.

Type 2 is an attached array, whose items travel behind the message, so that they are never copied: the head,
then eight bytes with the position of its first item in the attached bytes.

Type 3 is an integer of more than 64 bits, in two's complement, little-endian.
"""

from __future__ import annotations

import math
import re
import struct
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, get_args

import msgspec
import numpy as np

from openenv_gym.errors import ProtocolError
from openenv_gym.wire import compression
from openenv_gym.wire.v2_messages import (
    Answer,
    Autoreset,
    Close,
    Closed,
    Failed,
    Final,
    GetState,
    Mcp,
    Open,
    Opened,
    Render,
    Request,
    Reset,
    Result,
    Resume,
    Resumed,
    SlotError,
    Step,
    Ticket,
    Values,
)
from openenv_gym.wire.values import MOST_IN_ANSWER, MOST_IN_REQUEST, MOST_LISTS, check_msgpack

__all__ = [
    "ATTACHED_EXTENSION",
    "EXTENSION",
    "INTEGER_EXTENSION",
    "LARGE",
    "SUBPROTOCOL",
    "WORKER_HEADER",
    "Answer",
    "Attached",
    "Attachments",
    "Autoreset",
    "BadMessageError",
    "Close",
    "Closed",
    "Failed",
    "Final",
    "GetState",
    "Mcp",
    "Open",
    "Opened",
    "Payload",
    "Render",
    "Request",
    "Reset",
    "Result",
    "Resume",
    "Resumed",
    "SlotError",
    "Step",
    "Ticket",
    "Values",
    "count_lists",
    "decode_answer",
    "decode_request",
    "encode",
    "encode_part",
    "is_array_of_numbers",
    "is_compressed",
    "look_up",
    "pack",
    "unpack",
    "worker_of",
]

SUBPROTOCOL = "openenv.v2"

# A header of every HTTP response and of the accepted handshake: "1/2" is the second of two processes.
WORKER_HEADER = "x-openenv-worker"

Payload = bytes | memoryview
Array = np.ndarray[Any, Any]

EXTENSION = 1
ATTACHED_EXTENSION = 2
INTEGER_EXTENSION = 3

# Columns of at least this many bytes are attached.
LARGE = 1 << 14

_MOST_DIMENSIONS = 32
# Python writes no larger integers in decimal, and JSON has none.
_MOST_INTEGER_BYTES = 1 << 10
_ITEM_SIZES = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
_PLACE = struct.Struct("<Q")


class Head(NamedTuple):
    """The head of an array.

    Attributes:
        dtype: Its dtype.
        shape: Its shape.
        size: The bytes of its items.
        lists: How many lists it becomes as JSON, inside of the outermost one.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    size: int
    lists: int


class Attached(NamedTuple):
    """An attached array, as described by its extension."""

    head: Head
    place: int


class Attachments:
    """The bytes that travel behind one message.

    Attributes:
        parts: The memory of the attached arrays, in order.
        are_compressed: Whether it is a Zstandard frame of them instead.
    """

    def __init__(self) -> None:
        self.parts: list[Payload] = []
        self.are_compressed = False
        self._size = 0

    def compress(self) -> None:
        """Compress the bytes, if they get much smaller. Attach nothing afterwards."""
        if self.parts and (frame := compression.compress(self.parts)) is not None:
            self.parts, self.are_compressed = [frame], True

    def attach(self, rows: Sequence[Array]) -> msgspec.msgpack.Ext:
        """Attach contiguous arrays of one dtype and shape, as one array with a leading axis over them."""
        first = rows[0]
        place = self._size
        self.parts.extend(row.reshape(-1).data.cast("B") for row in rows)
        self._size += first.nbytes * len(rows)
        return _attached_at(place, first.dtype, (len(rows), *first.shape))

    def attach_whole(self, array: Array) -> msgspec.msgpack.Ext:
        """Attach a contiguous array."""
        place = self._size
        self.parts.append(array.reshape(-1).data.cast("B"))
        self._size += array.nbytes
        return _attached_at(place, array.dtype, array.shape)

    def attach_copies(self, column: Any) -> Any:
        """Attach copies of the large arrays of a column, which may change before it is sent again."""
        if isinstance(column, dict):
            return {name: self.attach_copies(part) for name, part in column.items()}
        if isinstance(column, np.ndarray) and column.nbytes >= LARGE and is_array_of_numbers(column):
            return self.attach_whole(np.array(column, column.dtype.newbyteorder("<"), order="C"))
        return column


def _attached_at(place: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> msgspec.msgpack.Ext:
    head = _head(dtype, shape)
    return msgspec.msgpack.Ext(ATTACHED_EXTENSION, head + _PLACE.pack(place))


def is_array_of_numbers(value: Array | np.generic) -> bool:
    """Return whether `pack` accepts a value."""
    return _can_be_sent(value.dtype)


def pack(array: Array) -> msgspec.msgpack.Ext:
    """Encode an array of bools, integers or floats as a msgpack extension.

    Raises:
        TypeError: The dtype is a different one.
    """
    dtype = array.dtype
    head = _head(dtype, array.shape)
    if dtype.byteorder == ">":
        array = array.astype(dtype.newbyteorder("<"))
    return msgspec.msgpack.Ext(EXTENSION, head + array.tobytes())


def unpack(code: int, data: memoryview) -> Array | np.generic | Attached | int:
    """Decode an extension: an array in fresh memory, a NumPy scalar if the shape is (), or an integer.

    Raises:
        ValueError: `encode` did not make it.
    """
    if code == INTEGER_EXTENSION:
        if len(data) > _MOST_INTEGER_BYTES:
            raise ValueError(
                f"an integer of {len(data):,} bytes; at most {_MOST_INTEGER_BYTES:,} are allowed"
            )
        return int.from_bytes(data, "little", signed=True)
    try:
        end = 3 + 4 * data[2]
        head = _read_head(bytes(data[:end]))
        if code == ATTACHED_EXTENSION:
            if not _lists.may_attach:
                raise ValueError("an attached array, but nothing is attached")
            return Attached(head, *_PLACE.unpack_from(data, end))
    except (IndexError, struct.error) as error:
        raise ValueError(f"truncated head of an array: {error}") from error
    if code != EXTENSION:
        raise ValueError(f"unknown extension type {code}")
    shape, dtype = head.shape, head.dtype
    if len(data) - end != head.size:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} cannot have {len(data) - end} bytes")
    _count(head)
    array = np.ndarray(shape, dtype, data, end)
    return array.copy() if shape else dtype.type(array[()])


class _Lists(threading.local):
    """The arrays of the message that a thread decodes.

    Attributes:
        left: How many more lists they may become as JSON.
        may_attach: Whether bytes follow the message, which arrays may be attached in.
    """

    left = 0
    may_attach = True


_lists = _Lists()


def _count(head: Head) -> None:
    """Count an array of the message that is being decoded: one without items has a shape of any size."""
    if head.lists:
        _lists.left -= head.lists
        if _lists.left < 0:
            raise ValueError("its arrays have too many rows")


def count_lists(shape: Sequence[int]) -> int:
    """Return how many lists an array of a shape becomes, inside of the outermost one."""
    count, lists = 1, 0
    for size in shape[:-1]:
        count *= size
        lists += count
    return lists


def look_up(attached: Attached, items: memoryview) -> Array:
    """Return an attached array: a view of the bytes behind the message.

    Raises:
        ValueError: The bytes end before the array does.
    """
    head = attached.head
    _count(head)
    try:
        return np.ndarray(head.shape, head.dtype, items, attached.place)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"missing bytes of the attached array {attached}: {error}") from error


@lru_cache(256)
def _read_head(data: bytes) -> Head:
    kind, size, dimensions = chr(data[0]), data[1], data[2]
    if dimensions > _MOST_DIMENSIONS or size not in _ITEM_SIZES.get(kind, ()):
        raise ValueError(f"invalid array: {dimensions} dimensions, kind {kind!r}, {size} bytes per item")
    shape = struct.unpack_from(f"<{dimensions}I", data, 3)
    return Head(np.dtype(f"<{kind}{size}"), shape, math.prod(shape) * size, count_lists(shape))


def _can_be_sent(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize in _ITEM_SIZES.get(dtype.kind, ())


@lru_cache(256)
def _head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    if not _can_be_sent(dtype):
        raise TypeError(
            f"Cannot send an array of {dtype}. Use bools, or integers or floats of at most 64 bits."
        )
    return struct.pack(f"<cBB{len(shape)}I", dtype.kind.encode(), dtype.itemsize, len(shape), *shape)


class _Tag(msgspec.Struct):
    type: Any = None
    id: Any = None


class BadMessageError(ProtocolError):
    """A frame that is not a message.

    Attributes:
        is_unknown_type: It is a map, as messages are, but its type is unknown or missing.
        new_type: The unknown type, perhaps of a newer release; "" if it is missing or no string.
        request_id: The number of the message; None if it has none.
    """

    def __init__(
        self, message: str, *, is_unknown_type: bool, new_type: str = "", request_id: int | None = None
    ) -> None:
        super().__init__(message)
        self.is_unknown_type = is_unknown_type
        self.new_type = new_type
        self.request_id = request_id


def encode(message: Request | Answer, attachments: Attachments | None = None) -> list[Payload]:
    """Encode a message as the parts of a binary frame's payload.

    Args:
        message: The message.
        attachments: The arrays attached to it.

    Raises:
        TypeError: It contains an object that cannot be sent.
    """
    try:
        body = _encoder.encode(message)
    except OverflowError:
        body = _encoder.encode(_with_packed_integers(message))
    size = len(body)
    if attachments is None or not attachments.parts:
        return [_SIZE.pack(size) + body]
    padding = bytes(_attachments_begin(size) - _SIZE.size - size)
    head = _SIZE.pack(size | _COMPRESSED if attachments.are_compressed else size)
    return [head + body + padding, *attachments.parts]


def is_compressed(payload: Payload) -> bool:
    """Whether the attached arrays of a message are compressed."""
    return len(payload) >= _SIZE.size and bool(payload[_SIZE.size - 1] & 0x80)


def encode_part(value: Any) -> msgspec.Raw:
    """Encode a part of a message, to be put into one or several messages later.

    Raises:
        TypeError: It contains an object that cannot be sent.
    """
    try:
        return msgspec.Raw(_encoder.encode(value))
    except OverflowError:
        return msgspec.Raw(_encoder.encode(_with_packed_integers(value)))


def decode_request(payload: Payload) -> Request:
    """Decode a client's message. Attached arrays are views of the payload.

    Raises:
        BadMessageError: The payload is not a message.
    """
    request: Request
    request, items = _decode(_request_decoder, payload, MOST_IN_REQUEST, MOST_LISTS)
    if items is not None:
        if type(request) is not Step:
            message = "Not a message of version 2: only a step has attachments"
            raise BadMessageError(message, is_unknown_type=False)
        (request.actions,) = _attached([request.actions], items)
    return request


def decode_answer(payload: Payload, most_bytes: int = 0) -> Answer:
    """Decode a server's message. Attached arrays are views of the payload, or of fresh memory.

    Args:
        payload: The message.
        most_bytes: The most bytes that compressed ones may become. By default, they are refused.

    Raises:
        BadMessageError: The payload is not a message, or would become too large.
    """
    answer: Answer
    most_lists = MOST_LISTS + len(payload)  # the client seldom makes lists of them
    answer, items = _decode(_answer_decoder, payload, MOST_IN_ANSWER, most_lists)
    if items is not None and type(answer) is Result:
        if is_compressed(payload):
            items = _decompressed(items, most_bytes)
        if answer.final is None:
            (answer.observations,) = _attached([answer.observations], items)
        else:
            columns = [answer.observations, answer.final.observations]
            answer.observations, answer.final.observations = _attached(columns, items)
    return answer


def _decode(
    decoder: msgspec.msgpack.Decoder[Any], payload: Payload, most_values: int, most_lists: int
) -> tuple[Any, memoryview | None]:
    """Return the message, and the bytes behind it, if any."""
    whole = memoryview(payload)
    body = b""
    try:
        (size,) = _SIZE.unpack_from(payload)
        if decoder is _answer_decoder:
            size &= ~_COMPRESSED
        # Copied, because a peer with whom the payload's memory is shared may change it at any time.
        body = bytes(whole[_SIZE.size : _SIZE.size + size])
        if size > most_values:
            check_msgpack(body, most_values)
        _lists.left = most_lists
        begin = _attachments_begin(size)
        has_attachments = _lists.may_attach = len(whole) > begin
        message = decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, struct.error) as error:
        raise _bad_message(body, decoder, error) from error
    return message, whole[begin:] if has_attachments else None


def _bad_message(body: bytes, decoder: msgspec.msgpack.Decoder[Any], error: Exception) -> BadMessageError:
    """Return the error for a body that the decoder refuses."""
    message = f"Not a message of version 2: {error}"
    try:
        tag = _tag_decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return BadMessageError(message, is_unknown_type=False)
    request_id = tag.id if type(tag.id) is int else None
    if tag.type in [kind.__struct_config__.tag for kind in get_args(decoder.type)]:
        return BadMessageError(message, is_unknown_type=False, request_id=request_id)
    return BadMessageError(
        message,
        is_unknown_type=True,
        new_type=tag.type if isinstance(tag.type, str) else "",
        request_id=request_id,
    )


def _decompressed(items: memoryview, most_bytes: int) -> memoryview:
    """Decompress the attached bytes of the message that was decoded last."""
    try:
        decompressed = compression.decompress(items, most_bytes)
        _lists.left += len(decompressed)
        return decompressed
    except ValueError as error:
        raise BadMessageError(f"Not a message of version 2: {error}", is_unknown_type=False) from error


def _attachments_begin(size: int) -> int:
    """Return where the attached bytes begin behind a body of a size: at the next multiple of eight."""
    return -(-(_SIZE.size + size) // 8) * 8


def _attached(columns: Sequence[Any], items: memoryview) -> list[Any]:
    """Put the attached arrays of columns into their places."""
    try:
        left = [len(items)]
        return [_looked_up(column, items, left) for column in columns]
    except (ValueError, RecursionError) as error:
        raise BadMessageError(f"Not a message of version 2: {error}", is_unknown_type=False) from error


def _looked_up(column: Any, items: memoryview, left: list[int]) -> Any:
    if isinstance(column, dict):
        return {name: _looked_up(part, items, left) for name, part in column.items()}
    if type(column) is not Attached:
        return column
    array = look_up(column, items)
    left[0] -= array.nbytes
    if left[0] < 0:
        raise ValueError("its attached arrays overlap")
    return array


def _encode_other(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return pack(value)
    if isinstance(value, np.generic):
        return pack(np.asarray(value))
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _with_packed_integers(value: Any) -> Any:
    """Replace each integer of more than 64 bits by its extension."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        size = value.bit_length() // 8 + 1
        if size > _MOST_INTEGER_BYTES:
            raise TypeError(f"an integer of {size:,} bytes cannot be sent, only of {_MOST_INTEGER_BYTES:,}")
        return msgspec.msgpack.Ext(INTEGER_EXTENSION, value.to_bytes(size, "little", signed=True))
    if isinstance(value, dict):
        return {name: _with_packed_integers(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_packed_integers(part) for part in value]
    if isinstance(value, msgspec.Struct):
        fields = {
            field.name: part
            for field in msgspec.structs.fields(value)
            if (part := getattr(value, field.name)) is not None and part is not field.default
        }
        tag = {value.__struct_config__.tag_field: value.__struct_config__.tag}
        return {**_with_packed_integers(fields), **(tag if None not in tag else {})}
    return value


_SIZE = struct.Struct("<I")
_COMPRESSED = 1 << 31  # in the size, if the attached arrays are
_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_request_decoder = msgspec.msgpack.Decoder(Request, ext_hook=unpack)
_answer_decoder = msgspec.msgpack.Decoder(Answer, ext_hook=unpack)
_tag_decoder = msgspec.msgpack.Decoder(_Tag)


_WORKER = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def worker_of(header: str | None) -> tuple[int, int]:
    """Return the index of the server process that responded and their number; (0, 1) without a header."""
    found = _WORKER.fullmatch(header or "")
    return (int(found[1]), int(found[2])) if found else (0, 1)
