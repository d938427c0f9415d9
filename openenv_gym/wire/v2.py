"""Version 2 of the protocol: msgpack in binary frames, many sessions per WebSocket, columns over the slots.

``docs/protocol-v2.md`` specifies it, with test vectors. A slot is a session's number on its socket, chosen by
the client. A column holds one value for each slot, in one of three forms: an array with a leading axis over
the slots, a map from names to columns, or a list with one payload for each slot.
"""

from __future__ import annotations

import struct
from typing import Any, Literal, NamedTuple, get_args

import msgspec
import numpy as np

from openenv_gym.errors import ProtocolError
from openenv_gym.wire import arrays
from openenv_gym.wire.arrays import Attachments

SUBPROTOCOL = "openenv.v2"

# A header of every HTTP response and of the accepted handshake: "1/2" is the second of two processes.
WORKER_HEADER = "x-openenv-worker"

Payload = bytes | memoryview
Autoreset = Literal["next_step", "same_step", "disabled"]


class _Message(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """The fields of every message.

    Attributes:
        id: The request's number; its answers carry it too.
        slots: The sessions it is about.
    """

    id: int
    slots: list[int]


# --- requests ---------------------------------------------------------------------------------------------


class Open(_Message, tag="open"):
    """Open sessions.

    Attributes:
        autoreset: When to reset a session whose episode has ended: in the next step, the same step, or never.
        max_episode_steps: Truncate episodes after this many steps.
        payloads: Whether observations come as a list with one JSON payload a slot, as version 1 sends them
            (but with arrays as binary arrays), instead of columns.
    """

    autoreset: Autoreset = "disabled"
    max_episode_steps: int | None = None
    payloads: bool = False


class Reset(_Message, tag="reset"):
    """Start episodes.

    Attributes:
        seeds: A seed for each slot, or None for no seeds.
        options: More keyword arguments for the environment's reset.
    """

    seeds: list[int | None] | None = None
    options: dict[str, Any] = {}


class Step(_Message, tag="step"):
    """Take one action in each slot.

    Attributes:
        actions: A column.
        min_ready: Respond as soon as this many slots are ready; 0 waits for all of them.
    """

    actions: Any
    min_ready: int = 0


class Resume(_Message, tag="resume"):
    """Resume the sessions of a broken socket. The first request on a new one.

    Attributes:
        token: The token from `Opened`.
        missing: ``[id, slots]`` for each pending reset or step: the slots without a response.
    """

    token: str
    missing: list[tuple[int, list[int]]] = []


class GetState(_Message, tag="state"):
    """Request the states of environments."""


class Render(_Message, tag="render"):
    """Request an image of each slot."""


class Close(_Message, tag="close"):
    """Close sessions."""


# --- answers ----------------------------------------------------------------------------------------------


class SlotError(NamedTuple):
    """The error of one slot. No other part of the answer then mentions the slot."""

    slot: int
    code: str
    message: str
    details: dict[str, Any]


class Opened(_Message, tag="opened"):
    """The opened sessions.

    Attributes:
        errors: The slots without a session.
        token: Another socket can resume the sessions of this one with it.
        grace_s: How long the sessions are kept after this socket breaks, in seconds.
        payloads: Whether they do, as requested. Older servers leave it out.
    """

    errors: list[SlotError] = []
    token: str = ""
    grace_s: float = 0.0
    payloads: bool = False


class Resumed(_Message, tag="resumed"):
    """The sessions continue on this socket; ``slots`` are those that still exist.

    Attributes:
        unknown: The resets and steps that never arrived: send them again. The other responses follow.
    """

    unknown: list[int] = []


class Final(msgspec.Struct):
    """The ends of episodes whose slots were reset in the same step.

    Attributes:
        places: Their indices in the answer's slots.
        observations: A column over the places.
        infos: One info for each place.
    """

    places: list[int]
    observations: Any
    infos: list[dict[str, Any]]


class Result(_Message, tag="result"):
    """The result of a reset or a step. A request has one or several results, for different slots.

    Attributes:
        observations: A column over the slots.
        rewards: A column of floats.
        terminated: A column of bools; omitted if all are false.
        truncated: A column of bools; omitted if all are false.
        infos: ``[place, info]`` for each slot with an info.
        final: The ends of episodes whose slots were reset in the same step.
        environment_us: A column of floats: microseconds inside the environment.
        server_us: Microseconds from the arrival of the request to the sending of this answer.
        errors: The slots in which it failed.
    """

    observations: Any
    rewards: Any
    terminated: Any = None
    truncated: Any = None
    infos: list[tuple[int, dict[str, Any]]] = []
    final: Final | None = None
    environment_us: Any = None
    server_us: float = 0.0
    errors: list[SlotError] = []


class Values(_Message, tag="values"):
    """The requested states or images, one for each slot."""

    values: list[Any]
    errors: list[SlotError] = []


class Closed(_Message, tag="closed"):
    """The closed sessions."""


class Failed(msgspec.Struct, tag="error", tag_field="type", omit_defaults=True):
    """A request that could not be read, or failed in every slot.

    Attributes:
        id: The request's number, if it could be read.
    """

    code: str
    message: str
    details: dict[str, Any] = {}
    id: int | None = None


Request = Open | Resume | Reset | Step | GetState | Render | Close
Answer = Opened | Resumed | Result | Values | Closed | Failed


class _Tag(msgspec.Struct):
    type: Any = None


class BadMessageError(ProtocolError):
    """A frame that is not a message.

    Attributes:
        is_unknown_type: It is a map, as messages are, but its type is unknown or missing.
    """

    def __init__(self, message: str, *, is_unknown_type: bool) -> None:
        super().__init__(message)
        self.is_unknown_type = is_unknown_type


def encode(message: Request | Answer, attachments: Attachments | None = None) -> list[Payload]:
    """Encode a message as the parts of a binary frame's payload.

    Args:
        message: The message.
        attachments: The arrays attached to it.

    Raises:
        TypeError: It contains an object that cannot be sent.
        OverflowError: An integer in it has more than 64 bits.
    """
    body = _encoder.encode(message)
    size = len(body)
    if attachments is None or not attachments.parts:
        return [_SIZE.pack(size) + body]
    padding = bytes(_attachments_begin(size) - _SIZE.size - size)
    return [_SIZE.pack(size) + body + padding, *attachments.parts]


def decode_request(payload: Payload) -> Request:
    """Decode a client's message. Attached arrays are views of the payload.

    Raises:
        BadMessageError: The payload is not a message.
    """
    request: Request
    request, items = _decode(_request_decoder, payload)
    if items is not None and type(request) is Step:
        request.actions = _attached(request.actions, items)
    return request


def decode_answer(payload: Payload) -> Answer:
    """Decode a server's message. Attached arrays are views of the payload.

    Raises:
        BadMessageError: The payload is not a message.
    """
    answer: Answer
    answer, items = _decode(_answer_decoder, payload)
    if items is not None and type(answer) is Result:
        answer.observations = _attached(answer.observations, items)
        if answer.final is not None:
            answer.final.observations = _attached(answer.final.observations, items)
    return answer


def _decode(decoder: msgspec.msgpack.Decoder[Any], payload: Payload) -> tuple[Any, memoryview | None]:
    """Return the message, and the bytes behind it, if any."""
    whole = memoryview(payload)
    body = whole[:0]
    try:
        (size,) = _SIZE.unpack_from(payload)
        body = whole[_SIZE.size : _SIZE.size + size]
        message = decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError, struct.error) as error:
        raise BadMessageError(
            f"Not a message of version 2: {error}", is_unknown_type=_has_unknown_type(body, decoder)
        ) from error
    begin = _attachments_begin(size)
    return message, whole[begin:] if len(whole) > begin else None


def _has_unknown_type(body: memoryview, decoder: msgspec.msgpack.Decoder[Any]) -> bool:
    """Return whether a body that the decoder refuses is a map whose type is unknown or missing."""
    try:
        tag = _tag_decoder.decode(body).type
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return tag not in [kind.__struct_config__.tag for kind in get_args(decoder.type)]


def _attachments_begin(size: int) -> int:
    """Return where the attached bytes begin behind a body of a size: at the next multiple of eight."""
    return -(-(_SIZE.size + size) // 8) * 8


def _attached(column: Any, items: memoryview) -> Any:
    """Put the attached arrays of a column into their places."""
    try:
        return _looked_up(column, items)
    except (ValueError, RecursionError) as error:
        raise BadMessageError(f"Not a message of version 2: {error}", is_unknown_type=False) from error


def _looked_up(column: Any, items: memoryview) -> Any:
    if isinstance(column, dict):
        return {name: _looked_up(part, items) for name, part in column.items()}
    return arrays.look_up(column, items) if type(column) is arrays.Attached else column


def _encode_other(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return arrays.pack(value)
    if isinstance(value, np.generic):
        return arrays.pack(np.asarray(value))
    raise TypeError(f"{type(value).__name__} cannot be sent")


_SIZE = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_request_decoder = msgspec.msgpack.Decoder(Request, ext_hook=arrays.unpack)
_answer_decoder = msgspec.msgpack.Decoder(Answer, ext_hook=arrays.unpack)
_tag_decoder = msgspec.msgpack.Decoder(_Tag)


def worker_of(header: str | None) -> tuple[int, int]:
    """Return the index of the server process that responded and their number; (0, 1) without a header."""
    number, _, count = (header or "0/1").partition("/")
    return (int(number), int(count)) if number.isdigit() and count.isdigit() else (0, 1)
