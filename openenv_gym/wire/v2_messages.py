"""The messages of version 2 of the protocol.

``docs/protocol-v2.md`` specifies them. A slot is a session's number on its socket, chosen by the client. A
column holds one value for each slot, in one of three forms: an array with a leading axis over the slots, a
map from names to columns, or a list with one payload for each slot.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec

Autoreset = Literal["next_step", "same_step", "disabled"]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class _Message(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """The fields of every message.

    Attributes:
        id: The request's number; its answers carry it too.
        slots: The sessions it is about.
    """

    id: int
    slots: list[int]


# --- requests ---------------------------------------------------------------------------------------------


class _Limited(_Message, kw_only=True):
    """The fields of a request that a slot may take too long for.

    Attributes:
        timeout_s: Give up on each slot that takes longer, in seconds. Older servers ignore it.
    """

    timeout_s: _Seconds | None = None


class Ticket(NamedTuple):
    """The place of a client in the line of those that wait for free sessions.

    Attributes:
        name: Chosen at random when the client begins to wait.
        wait_s: How much longer the client will ask, in seconds; 0 if this is the last time.
    """

    name: Annotated[str, msgspec.Meta(max_length=64)]
    wait_s: float


class _Run(_Limited, kw_only=True):
    """The fields of a reset and of a step.

    Attributes:
        traceparent: The client's span (W3C Trace Context). Older servers ignore it.
        zstd: Whether the server may compress the attached arrays of the answer. Only for servers that
            support it.
    """

    traceparent: str | None = None
    zstd: bool = False


class Open(_Limited, tag="open"):
    """Open sessions.

    Attributes:
        autoreset: When to reset a session whose episode has ended: in the next step, the same step, or never.
        max_episode_steps: Truncate episodes after this many steps.
        payloads: Whether observations come as a list with one JSON payload a slot, as version 1 sends them
            (but with arrays as binary arrays), instead of columns.
        info_columns: Whether the infos of a batch may come as one dict of columns.
        ticket: Open all slots or none, and keep a place in line until then. Older servers ignore it.
    """

    autoreset: Autoreset = "disabled"
    max_episode_steps: int | None = None
    payloads: bool = False
    info_columns: bool = False
    ticket: Ticket | None = None


class Reset(_Run, tag="reset"):
    """Start episodes.

    Attributes:
        seeds: A seed for each slot, an integer or None; or None for no seeds.
        options: More keyword arguments for the environment's reset.
        min_ready: As in `Step`; None is 0. Servers without ``max_message_bytes`` ignore it.
    """

    seeds: list[Any] | None = None  # an integer of more than 64 bits is an extension
    options: dict[str, Any] = {}
    min_ready: int | None = None


class Step(_Run, tag="step"):
    """Take one action in each slot.

    Attributes:
        actions: A column.
        min_ready: Respond as soon as this many slots are ready; 0 waits for all of them.
        same_slots: Whether ``slots`` is empty and the slots are those of the last reset or step that named
            its slots, which saves a list of numbers in every step. Only for servers that support it.
    """

    actions: Any
    min_ready: int = 0
    same_slots: bool = False


class Resume(_Message, tag="resume"):
    """Resume the sessions of a broken socket. The first request on a new one.

    Attributes:
        token: The token from `Opened`.
        missing: ``[id, slots]`` for each pending reset or step: the slots without a response.
    """

    token: str
    missing: list[tuple[int, list[int]]] = []


class GetState(_Limited, tag="state"):
    """Request the states of environments."""


class Render(_Limited, tag="render"):
    """Request an image of each slot."""


class Mcp(_Limited, tag="mcp"):
    """Ask the environment's tools: a request of the Model Context Protocol to each slot.

    Attributes:
        request: A request of JSON-RPC 2.0.
    """

    request: dict[str, Any]


class Close(_Limited, tag="close"):
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
        payloads: Whether observations will come as payloads, as requested. Older servers leave it out.
        timeouts: Whether the server gives up on slots that exceed ``timeout_s``. Older servers leave it out.
        same_slots: Whether the server supports steps with ``same_slots``. Older servers leave it out.
        max_message_bytes: The maximum size in bytes of a message to the server. A server that sends it also
            lets no slot wait for another one. Older servers leave it out.
        zstd: Whether the server can compress with Zstandard. Older servers leave it out.
    """

    errors: list[SlotError] = []
    token: str = ""
    grace_s: float = 0.0
    payloads: bool = False
    timeouts: bool = False
    same_slots: bool = False
    max_message_bytes: int = 0
    zstd: bool = False


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
        info_columns: Infos of all slots, as one dict of columns, if the client has asked for it.
        final: The ends of episodes whose slots were reset in the same step.
        environment_us: A column of floats: microseconds inside the environment. With ``same_slots`` it is
            omitted if that was ``busy_us`` in every slot.
        server_us: Microseconds from the arrival of the request to the sending of this answer.
        busy_us: How many of these at least one environment of the connection was running. Older servers leave
            it out.
        errors: The slots in which it failed.
        same_slots: Whether ``slots`` is empty and the slots are those of the request, in its order. Only if
            the request has ``same_slots`` too.
    """

    observations: Any
    rewards: Any
    terminated: Any = None
    truncated: Any = None
    infos: list[tuple[int, dict[str, Any]]] = []
    info_columns: dict[str, Any] = {}
    final: Final | None = None
    environment_us: Any = None
    server_us: float = 0.0
    busy_us: float | None = None
    errors: list[SlotError] = []
    same_slots: bool = False


class Values(_Message, tag="values"):
    """The requested states, images or responses, one for each slot."""

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


Request = Open | Resume | Reset | Step | GetState | Render | Mcp | Close
Answer = Opened | Resumed | Result | Values | Closed | Failed
