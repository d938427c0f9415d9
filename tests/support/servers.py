"""Real servers for the tests, on loopback."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from openenv_server.socket_takeover import TakeoverProtocol


def without_v2(app: FastAPI) -> Any:
    """The application as a server that knows version 1 of the protocol only."""

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope = {**scope, "subprotocols": []}
        await app(scope, receive, send)

    return deaf


def status_of(url: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
    """Return the status and the JSON of a response. With a body, the request is a POST."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def leave(url: str, body: Any = None) -> None:
    """Send a request as `status_of` does, and leave half a second later, before the response."""
    server, path = urlsplit(url).netloc, urlsplit(url).path
    connection = http.client.HTTPConnection(server)
    text = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, text, {"Content-Type": "application/json"})
    time.sleep(0.5)
    connection.close()


@contextmanager
def running(
    app: Any, *, ws: Any = TakeoverProtocol, ws_max_size: int = 2**26, **options: Any
) -> Iterator[str]:
    """Serves an application from a thread of the test's own process; gives its base URL.

    ``options`` are uvicorn's.
    """
    options = {"host": "127.0.0.1", "port": 0, **options}
    config = uvicorn.Config(app, log_level="error", ws=ws, ws_max_size=ws_max_size, **options)
    listening = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        scheme = "https" if config.is_ssl else "http"
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server did not stop"
