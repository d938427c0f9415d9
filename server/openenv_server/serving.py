"""Runs an application with uvicorn, and says when it is up."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from openenv_server.detaching import DetachableProtocol
from openenv_server.settings import read_settings

# How long open connections may take when the server stops, in seconds.
STOP_TIMEOUT_S = 5


class _Server(uvicorn.Server):
    """Tells when it listens and when it stops; both run in the server's own thread."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], stopped: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._tell_started, self._tell_stopped = started, stopped

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._tell_stopped()
        await super().shutdown(sockets)


def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    on_started: Callable[[str], None],
    on_stopped: Callable[[], None],
) -> None:
    """Serves until a signal ends it.

    Args:
        app: What `create_app` made.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        on_started: Called with the base URL once the server listens.
        on_stopped: Called when it begins to stop.
    """
    listening = bind(host, port)
    base_url = base_url_of(host, listening)
    run(app, listening, headers=[], on_started=lambda: on_started(base_url), on_stopped=on_stopped)


def run(
    app: FastAPI,
    listening: socket.socket,
    *,
    headers: list[tuple[str, str]],
    on_started: Callable[[], None],
    on_stopped: Callable[[], None],
) -> None:
    """Serves on a socket that listens already; ``headers`` go with each answer."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
        ws_max_size=read_settings().max_message_bytes,
        ws=DetachableProtocol,
        ws_per_message_deflate=False,
        headers=headers,
    )
    # What is there now stays for good: the garbage collector need not look at it in the middle of a step.
    gc.collect()
    gc.freeze()
    _Server(config, on_started, on_stopped).run(sockets=[listening])


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Ends the process, with a message, where it cannot."""
    return uvicorn.Config("", host=host, port=port, log_level="warning").bind_socket()


def base_url_of(host: str, listening: socket.socket) -> str:
    """The address by which a server that listens there is reached from this machine."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}"
