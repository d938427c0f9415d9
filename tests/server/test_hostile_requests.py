"""Requests that would take a server's memory or time are refused, and other clients do not notice."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import websocket
from openenv_server import Action, Environment, Observation, State, create_app

from openenv_gym.errors import ActionRefusedError
from openenv_gym.wire import v2
from openenv_gym.wire.values import MOST_IN_REQUEST
from tests.support.servers import running
from tests.support.v2_client import V2Client

MOST_S = 3.0
MANY = "[" + "[]," * MOST_IN_REQUEST + "0]"
ROWS = msgspec.msgpack.Ext(v2.EXTENSION, struct.pack("<cBBII", b"f", 4, 2, 2**27, 0))
INTEGER = msgspec.msgpack.Ext(v2.INTEGER_EXTENSION, b"\x7f" * 2**23)


class Note(Action):
    content: Any = None
    seconds: float = 0.0


class Noted(Observation):
    content: Any = None


class Notebook(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, content: Any = None) -> Noted:
        return Noted(content=content)

    def step(self, action: Note) -> Noted:
        time.sleep(action.seconds)
        return Noted(content=action.content)

    @property
    def state(self) -> State:
        return State()


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running(create_app(Notebook, Note, Noted, env_name="notebook")) as url:
        yield url


@pytest.mark.parametrize("value", [ROWS, INTEGER], ids=["rows without items", "a large integer"])
@pytest.mark.parametrize(
    "request_with",
    [
        lambda value: {"type": "step", "actions": [{"content": [value]}]},
        lambda value: {"type": "step", "actions": {"content": [value]}},
        lambda value: {"type": "reset", "options": {"content": value}},
        lambda value: {"type": "mcp", "request": {"id": value}},
    ],
    ids=["action", "column", "options", "tools"],
)
def test_a_small_frame_cannot_stand_for_a_large_value(
    base_url: str, value: Any, request_with: Callable[[Any], dict[str, Any]]
) -> None:
    client = V2Client(base_url)
    client.open([0])
    body = msgspec.msgpack.encode({**request_with(value), "id": 7, "slots": [0]})
    begin = time.monotonic()
    client.send_bytes(struct.pack("<I", len(body)) + body)
    with pytest.raises(ActionRefusedError, match=r"too many rows|an integer of"):
        client.receive("bomb")
    assert time.monotonic() - begin < MOST_S
    client.close()


@pytest.mark.parametrize("path", ["/step", "/reset", "/mcp", "/notebook/tasks"])
def test_a_body_of_too_many_values_is_refused(base_url: str, path: str) -> None:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"x","action":{{"content":{MANY}}},"content":{MANY}}}'
    begin = time.monotonic()
    request = urllib.request.Request(
        base_url + path, body.encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = response.read()
    except urllib.error.HTTPError as error:
        answer = error.read()
    assert b"more than 1,048,576 values" in answer
    assert time.monotonic() - begin < MOST_S


@pytest.mark.parametrize("path", ["/ws", "/mcp"])
def test_a_message_of_too_many_values_is_refused(base_url: str, path: str) -> None:
    socket = websocket.create_connection(base_url.replace("http", "ws") + path, timeout=10)
    socket.send(f'{{"type":"step","jsonrpc":"2.0","id":1,"method":"x","data":{{"content":{MANY}}}}}')
    assert "more than 1,048,576 values" in socket.recv()
    socket.close()


def test_what_a_client_sends_while_a_step_runs_is_limited(base_url: str) -> None:
    socket = websocket.create_connection(base_url.replace("http", "ws") + "/ws", timeout=20)
    socket.send('{"type":"step","data":{"seconds":8}}')
    time.sleep(0.5)
    message = json.dumps({"type": "x", "pad": "a" * 2**24})
    accepted: list[int] = []

    def flood() -> None:
        try:
            for _ in range(12):
                socket.send(message)
                accepted.append(1)
        except (OSError, websocket.WebSocketException):
            return

    thread = threading.Thread(target=flood)
    thread.start()
    begin = time.monotonic()
    with contextlib.suppress(OSError, websocket.WebSocketException):
        while socket.recv():
            pass
    assert time.monotonic() - begin < 7  # it did not wait for the step
    thread.join()
    assert len(accepted) < 10
