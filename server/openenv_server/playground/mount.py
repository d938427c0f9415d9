"""A server's ``/web``: the playground where it is on, and the plain page where it is not."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from openenv_server.operations.peers import Peers
from openenv_server.playground.custom_tab import CustomTab
from openenv_server.playground.notices import notice_page
from openenv_server.playground.proxy import Proxy
from openenv_server.playground.runners import PlaygroundProcess, PlaygroundThread, Runner
from openenv_server.routes.landing import landing_page

PATH = "/web"
INSTALL = "pip install 'openenv-gym[web]'"
log = logging.getLogger("openenv_server")
# How long a visitor sees nothing while the playground starts, in seconds.
_STARTING_S = 2.0
_QUESTION = "playground"
# Of the processes that serve an address, the one that has the playground.
_OWNER = 0


def has_gradio() -> bool:
    """Return whether Gradio is installed, without importing it."""
    return importlib.util.find_spec("gradio") is not None


class WebPages:
    """The pages at ``/`` and ``/web``, for requests that no route answers.

    The playground starts with its first visitor, so that a server without visitors has neither its memory nor
    its start-up time. Of several processes that serve one address, the first has it for all.

    Args:
        title: The environment's title.
        description: What it is.
        is_on: Whether the settings enable ``/web``.
        is_wanted: Whether the playground was asked for, so that its absence is logged.
        peers: The processes that serve the same address.
        custom: A tab of the environment's own.
    """

    def __init__(
        self,
        title: str,
        description: str,
        *,
        is_on: bool,
        is_wanted: bool,
        peers: Peers,
        custom: CustomTab | None = None,
    ) -> None:
        self.has_playground: bool = is_on and has_gradio()
        if is_wanted and is_on and not self.has_playground:
            log.warning(
                "/web is a plain page, because Gradio is not installed. For the playground: %s", INSTALL
            )
        self._pages = {"/", PATH, f"{PATH}/"} if is_on else {"/"}
        missing = INSTALL if is_on and not self.has_playground else ""
        self._landing = HTMLResponse(
            landing_page(title, description, has_playground=self.has_playground, install=missing)
        )
        self._peers = peers
        self._custom = custom
        self._address: tuple[str, int] | None = None
        self._runner: Runner | None = None
        self._proxied = ""
        peers.handlers[_QUESTION] = self._socket_here

    def listen_at(self, address: tuple[str, int]) -> None:
        """Note the address that the server listens on. Otherwise, the first request shows it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
        self._address = host, address[1]

    def stop(self) -> None:
        """Stop the playground, which ends the responses that it streams."""
        if self._runner is not None:
            self._runner.stop()

    def ask_for_key(self, scope: Scope) -> bool:
        """Return whether a request goes to the playground, which asks for the server's key itself."""
        return self._is_below(_path(scope)) and not any(
            route.matches(scope)[0] != Match.NONE for route in scope["app"].router.routes
        )

    def before(self, otherwise: ASGIApp) -> ASGIApp:
        """Return an application that answers with these pages, and as ``otherwise`` elsewhere."""

        async def pages(scope: Scope, receive: Receive, send: Send) -> None:
            response: ASGIApp | None = None
            if scope["type"] == "http":
                path = _path(scope)
                if self._is_below(path):
                    response = await self._playground(Request(scope, receive), path)
                elif scope["method"] in ("GET", "HEAD") and path in self._pages:
                    response = self._landing
            await (response or otherwise)(scope, receive, send)

        return pages

    def _is_below(self, path: str) -> bool:
        return self.has_playground and f"{path}/".startswith(f"{PATH}/")

    async def _playground(self, request: Request, path: str) -> Response:
        import httpx

        if path == PATH:  # the addresses in the page are relative to a folder
            return RedirectResponse(f"{request.scope.get('root_path', '')}{PATH}/")
        if self._address is None:
            self.listen_at(tuple(request.scope["server"]))
        socket_path = await self._socket()
        if socket_path is None:
            return _unavailable("The playground cannot be started: the server's log says why.", retry_s=3)
        if socket_path != self._proxied:
            self._proxied, self._proxy = socket_path, Proxy(socket_path)
        try:
            # The first visitor sees that it starts.
            async with asyncio.timeout(_STARTING_S if path == f"{PATH}/" else None):
                return await self._proxy.forward(request, PATH)
        except TimeoutError:
            return _unavailable("The playground is starting …", retry_s=1)
        except httpx.TransportError as error:
            log.warning("the playground does not answer: %s", error)
            return _unavailable("The playground has ended. It is started again …", retry_s=3)

    async def _socket(self) -> str | None:
        """The socket of the playground, which is started if it does not run."""
        answer: str | None = await self._peers.ask_one(_OWNER, _QUESTION)
        return answer

    def _socket_here(self) -> str | None:
        if self._runner is not None and not self._runner.is_running:
            log.warning("the playground ended, and is started again")
            self._runner.stop()
            self._runner = None
        if self._runner is None:
            if self._address is None:
                return None
            host, port = self._address
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            try:
                self._runner = (
                    PlaygroundProcess(url) if self._custom is None else PlaygroundThread(url, self._custom)
                )
            except OSError as error:  # no folder for temporary files can be written to, say
                log.error("the playground cannot be started: %s", error)
                return None
        return self._runner.path


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _unavailable(text: str, retry_s: int) -> Response:
    """The response while the playground does not run; a browser asks again."""
    page = notice_page("Playground", f'<p role="status">{escape(text)}</p>')
    return HTMLResponse(page, 503, {"Refresh": str(retry_s), "Retry-After": str(retry_s)})
