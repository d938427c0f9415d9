"""``openenv play --web``: the playground of any server, on this machine."""

from __future__ import annotations

import logging
import socket
import sys
import webbrowser
from typing import TYPE_CHECKING

from openenv_gym.errors import MissingExtraError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from openenv_cli.targets import Target
    from openenv_gym.transport.endpoint import Endpoint


def play_in_browser(target: Target) -> None:
    """Serve the playground of a server on a free port of this machine, until Ctrl-C.

    Raises:
        MissingExtraError: Gradio is not installed.
        EndpointError: The server does not answer.
    """
    import uvicorn
    from openenv_server.playground.app import PlaygroundApp
    from openenv_server.playground.mount import has_gradio
    from openenv_server.playground.server_facts import TIMEOUT_S
    from openenv_server.serving import base_url_of, bind

    from openenv_gym.transport.http import get_health

    if not has_gradio():
        raise MissingExtraError("openenv play --web", "web")
    get_health(target.endpoint, timeout_s=TIMEOUT_S)  # an address without a server is found now

    def endpoint_for(key: str) -> Endpoint:
        return target.endpoint_with(key) if key else target.endpoint

    app = PlaygroundApp(endpoint_for, base_url=target.endpoint.base_url)
    host = "127.0.0.1"
    listening = bind(host, 0)
    listening.listen()
    url = f"{base_url_of(host, listening)}/web/"
    print(url, flush=True)
    if sys.stdout.isatty():
        print("Ctrl-C stops the page.")
        webbrowser.open(url)
    config = uvicorn.Config(
        _only_by_safe_names(app), log_level="warning", timeout_graceful_shutdown=1, server_header=False
    )
    server = uvicorn.Server(config)
    cut_off = server.shutdown

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        # Open tabs are cut off, which is no error here.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await cut_off(sockets)

    server.shutdown = shutdown  # type: ignore[method-assign]
    server.run(sockets=[listening])


def _only_by_safe_names(app: ASGIApp) -> ASGIApp:
    """Refuse requests by names that another page could have made point here."""
    from openenv_server.security.hosts import HostCheck
    from openenv_server.security.origins import may_come_from
    from starlette.datastructures import Headers
    from starlette.responses import PlainTextResponse

    check = HostCheck([], is_strict=False)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        is_safe = scope["type"] != "http" or (
            check.allows(headers.getlist("host"), scope["server"][0])
            and may_come_from(headers.getlist("origin"), headers.get("host", ""), ())
        )
        respond = app if is_safe else PlainTextResponse("Open this page by its address", 403)
        await respond(scope, receive, send)

    return guarded
