"""Runs an application with uvicorn, and says when it is up."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from openenv_server.detaching import DetachableProtocol
from openenv_server.routes.websocket import MAX_MESSAGE_SIZE

_GRACE_S = 5


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
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_S,
        ws_max_size=MAX_MESSAGE_SIZE,
        ws=DetachableProtocol,
        ws_per_message_deflate=False,
    )
    listening = config.bind_socket()
    shown_host = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    base_url = f"http://{f'[{shown_host}]' if ':' in shown_host else shown_host}:{listening.getsockname()[1]}"
    _Server(config, lambda: on_started(base_url), on_stopped).run(sockets=[listening])
