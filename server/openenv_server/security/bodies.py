"""How large the body of a request may be."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Message, Receive

_MOST_DISCARDED = 2**26


async def limited(headers: Headers, receive: Receive, most_bytes: int) -> Receive | None:
    """What to receive a request's body from; None where it is larger than that.

    Where the client does not say beforehand how large it is, the body is read here.
    """
    length = headers.get("content-length")
    if length is not None and "transfer-encoding" not in headers:
        if int(length) <= most_bytes:
            return receive
        await _discard(receive)
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return receive  # the client left, and nobody reads what it sent
        body += message.get("body", b"")
        is_last = not message.get("more_body", False)
        if len(body) > most_bytes:
            if not is_last:
                await _discard(receive)
            return None
        if is_last:
            return _first({"type": "http.request", "body": bytes(body), "more_body": False}, receive)


async def _discard(receive: Receive) -> None:
    """Reads on for a while: many clients read the answer only when they have sent everything."""
    left = _MOST_DISCARDED
    while left > 0:
        message = await receive()
        if not message.get("more_body", False):
            return
        left -= len(message["body"])


def _first(message: Message, receive: Receive) -> Receive:
    """Gives a message, and then what comes."""
    waiting = [message]

    async def receive_next() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_next
