"""Version 2 of the protocol: msgpack in binary frames, many sessions a WebSocket, columns over the slots.

``docs/protocol-v2.md`` specifies it, with test vectors. A slot is a session's number on its socket; the
client chooses it. A column holds one value a slot, in one of three forms: an array with a leading axis over
the slots, a map from names to columns, or a list with one payload a slot.
"""

from __future__ import annotations

import struct
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from openenv_gym.errors import ProtocolError
from openenv_gym.wire import arrays
from openenv_gym.wire.arrays import Attachments

SUBPROTOCOL = "openenv.v2"

# Beside the accepted handshake, and all that is answered over HTTP: "1/2" is the second of two processes.
WORKER_HEADER = "x-openenv-worker"

Payload = bytes | memoryview
Autoreset = Literal["next_step", "same_step", "disabled"]


class _Message(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """What all messages have.

    Attributes:
        id: The request's number; its answers carry it too.
        slots: The sessions that it is about.
    """

    id: int
    slots: list[int]


# --- requests ---------------------------------------------------------------------------------------------


class Open(_Message, tag="open"):
    """Makes sessions.

    Attributes:
        autoreset: When a session whose episode has ended is reset: in the next or the same step, or never.
        max_episode_steps: Truncates episodes after as many steps.
        payloads: Observations come as a list with one JSON payload a slot, as version 1 sends them, arrays
            included as binary arrays, instead of columns.
    """

    autoreset: Autoreset = "disabled"
    max_episode_steps: int | None = None
    payloads: bool = False


class Reset(_Message, tag="reset"):
    """Starts episodes.

    Attributes:
        seeds: A seed for each of the slots, or none.
        options: Further keywords for the environments' own reset.
    """

    seeds: list[int | None] | None = None
    options: dict[str, Any] = {}


class Step(_Message, tag="step"):
    """Takes one action in each of the slots.

    Attributes:
        actions: A column.
        min_ready: An answer is sent as soon as so many slots are ready; 0 waits for all of them.
    """

    actions: Any
    min_ready: int = 0


class Resume(_Message, tag="resume"):
    """Goes on with the sessions of a socket that broke. The first request on a new one.

    Attributes:
        token: What `Opened` gave.
        missing: ``[id, slots]`` for each reset or step that is not answered yet in these slots.
    """

    token: str
    missing: list[tuple[int, list[int]]] = []


class GetState(_Message, tag="state"):
    """Asks where sessions stand."""


class Render(_Message, tag="render"):
    """Asks for a picture of each of the slots."""


class Close(_Message, tag="close"):
    """Ends sessions."""


# --- answers ----------------------------------------------------------------------------------------------


class SlotError(NamedTuple):
    """Why something was not done in one slot. It stands in no other part of the answer then."""

    slot: int
    code: str
    message: str
    details: dict[str, Any]


class Opened(_Message, tag="opened"):
    """Sessions that were made.

    Attributes:
        errors: The slots that have none.
        token: With it, another socket goes on with the sessions of this one.
        grace_s: How long they are kept for it after this one broke, in seconds.
        payloads: Observations come as payloads, as the client asked. Older servers leave it out.
    """

    errors: list[SlotError] = []
    token: str = ""
    grace_s: float = 0.0
    payloads: bool = False


class Resumed(_Message, tag="resumed"):
    """The sessions go on, on this socket; ``slots`` are those that are there.

    Attributes:
        unknown: The resets and steps that never came, to be sent again. The others' answers follow.
    """

    unknown: list[int] = []


class Final(msgspec.Struct):
    """How the episodes ended that were reset in the same step.

    Attributes:
        places: Their places in the answer's slots.
        observations: A column over the places.
        infos: One a place.
    """

    places: list[int]
    observations: Any
    infos: list[dict[str, Any]]


class Result(_Message, tag="result"):
    """What came of a reset or a step. One request has one or several of these, with different slots.

    Attributes:
        observations: A column over the slots.
        rewards: A column of floats.
        terminated: A column of bools; left out where all are false.
        truncated: A column of bools; left out where all are false.
        infos: ``[place, info]`` for each slot that has one.
        final: Where episodes ended and were reset in the same step.
        environment_us: A column of floats: microseconds inside the environment.
        server_us: Microseconds from the request's arrival to this answer's leaving.
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
    """The states or pictures that were asked for, one a slot."""

    values: list[Any]
    errors: list[SlotError] = []


class Closed(_Message, tag="closed"):
    """Sessions that were ended."""


class Failed(msgspec.Struct, tag="error", tag_field="type", omit_defaults=True):
    """A request that could not be read, or not done in any slot.

    Attributes:
        id: The request's number, where it could be read.
    """

    code: str
    message: str
    details: dict[str, Any] = {}
    id: int | None = None


Request = Open | Resume | Reset | Step | GetState | Render | Close
Answer = Opened | Resumed | Result | Values | Closed | Failed


class BadMessageError(ProtocolError):
    """A frame that is no message; ``is_unknown_type`` says whether only its type is not known."""

    def __init__(self, message: str, *, is_unknown_type: bool) -> None:
        self.is_unknown_type = is_unknown_type
        super().__init__(message)


def encode(message: Request | Answer, attachments: Attachments | None = None) -> list[Payload]:
    """A message as the parts of a binary frame's payload.

    Args:
        message: The message.
        attachments: What its attached arrays were attached to.

    Raises:
        TypeError: Something in it cannot be sent.
        OverflowError: An integer in it has more than 64 bits.
    """
    body = _encoder.encode(message)
    size = len(body)
    if attachments is None or not attachments.parts:
        return [_SIZE.pack(size) + body]
    padding = bytes(_attachments_begin(size) - _SIZE.size - size)
    return [_SIZE.pack(size) + body + padding, *attachments.parts]


def decode_request(payload: Payload) -> Request:
    """Reads a client's message. Attached arrays are views into the payload.

    Raises:
        BadMessageError: It is none.
    """
    request: Request
    request, items = _decode(_request_decoder, payload)
    if items is not None and type(request) is Step:
        request.actions = _attached(request.actions, items)
    return request


def decode_answer(payload: Payload) -> Answer:
    """Reads a server's message. Attached arrays are views into the payload.

    Raises:
        BadMessageError: It is none.
    """
    answer: Answer
    answer, items = _decode(_answer_decoder, payload)
    if items is not None and type(answer) is Result:
        answer.observations = _attached(answer.observations, items)
        if answer.final is not None:
            answer.final.observations = _attached(answer.final.observations, items)
    return answer


def _decode(decoder: msgspec.msgpack.Decoder[Any], payload: Payload) -> tuple[Any, memoryview | None]:
    """The message, and the bytes behind it, if there are any."""
    try:
        (size,) = _SIZE.unpack_from(payload)
        whole = memoryview(payload)
        message = decoder.decode(whole[_SIZE.size : _SIZE.size + size])
    except (msgspec.MsgspecError, ValueError, RecursionError, struct.error) as error:
        text = str(error)
        raise BadMessageError(
            f"Not a message of version 2: {text}",
            is_unknown_type="`$.type`" in text or "field `type`" in text,
        ) from error
    begin = _attachments_begin(size)
    return message, whole[begin:] if len(whole) > begin else None


def _attachments_begin(size: int) -> int:
    """Where attached bytes begin behind a body of a size: at the next multiple of eight."""
    return -(-(_SIZE.size + size) // 8) * 8


def _attached(column: Any, items: memoryview) -> Any:
    """A column with its attached arrays in their places."""
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


def worker_of(header: str | None) -> tuple[int, int]:
    """Which of a server's processes answered, and how many there are; (0, 1) where it does not say."""
    number, _, count = (header or "0/1").partition("/")
    return (int(number), int(count)) if number.isdigit() and count.isdigit() else (0, 1)
