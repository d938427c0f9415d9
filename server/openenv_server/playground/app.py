"""The playground as an application: asks for the server's key where it has one, then shows the page."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openenv_gym.errors import ConfigurationError, OpenEnvError, UnauthorizedError
from openenv_gym.transport.endpoint import Endpoint
from openenv_server.playground.custom_tab import CustomTab
from openenv_server.playground.notices import notice_page
from openenv_server.playground.proxy import PREFIX_HEADER
from openenv_server.playground.server_facts import read_facts
from openenv_server.playground.visits import Visits

PATH = "/web"
_KEY_PATH = f"{PATH}/key"
_COOKIE = "openenv-playground"
# The request that Gradio keeps open for each tab.
_CONNECTION_PATH = f"{PATH}/gradio_api/heartbeat/"
# A browser asks the host for one otherwise.
_ICON = (
    '<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 '
    "viewBox=%220 0 16 16%22%3E%3Crect width=%2216%22 height=%2216%22 rx=%224%22 fill=%22%231d4ed8%22/%3E"
    '%3Cpath d=%22M6 4.5l5 3.5-5 3.5z%22 fill=%22white%22/%3E%3C/svg%3E">'
)
_STYLE = Path(__file__).with_name("style.css")
# The browser itself refuses calls to other hosts, such as those of a README's images.
_ONLY_THIS_HOST = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:"
)


class PlaygroundApp:
    """An ASGI application with the playground at ``/web``.

    The page is built for the first visitor whom the server admits, because it follows the server's schemas.

    Args:
        endpoint_for: Returns the server, for a key; "" is none.
        base_url: The server's address, for the code; None if the page is below it.
        custom: A tab of the environment's own.
    """

    def __init__(
        self,
        endpoint_for: Callable[[str], Endpoint],
        *,
        base_url: str | None = None,
        custom: CustomTab | None = None,
    ) -> None:
        self._endpoint_for = endpoint_for
        self._base_url = base_url
        self._custom = custom
        self._keys: dict[str, str] = {}  # of the visitors, by their cookies
        self._asks_for_key = False
        self._page: ASGIApp | None = None
        self._visits: Visits | None = None
        self._building = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            prefix = Headers(scope=scope).get(PREFIX_HEADER, "")
            scope = {**scope, "root_path": prefix, "path": prefix + scope["path"]}
            respond = await self._answer(Request(scope, receive))
            with self._connection(scope["path"]):
                await respond(scope, receive, self._with_policy(send))

    def _connection(self, path: str) -> AbstractContextManager[None]:
        """Note the tab that a request keeps connected."""
        _, is_connection, tab = path.partition(_CONNECTION_PATH)
        return self._visits.connection(tab) if is_connection and self._visits else nullcontext()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._open.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request) -> ASGIApp:
        """The page, if the visitor may see it; else what to send instead."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path in ("/", PATH):
            return RedirectResponse(f"{request.scope.get('root_path', '')}{PATH}/")
        if request.method == "POST" and path == _KEY_PATH:
            return await self._take_key(request)
        is_known = request.cookies.get(_COOKIE, "") in self._keys
        if self._page is None or (self._asks_for_key and not is_known):
            refusal = await self._admit("")
            if refusal is not None:
                return refusal
        assert self._page is not None
        return self._page

    async def _take_key(self, request: Request) -> Response:
        """Check the key that a visitor has entered, and remember it by a cookie."""
        fields = parse_qs((await request.body()).decode(errors="replace"))
        key = fields.get("key", [""])[0].strip()
        refusal = await self._admit(key)
        if refusal is not None:
            return refusal
        token = secrets.token_urlsafe()
        self._keys[token] = key
        response = RedirectResponse("./", 303)
        is_secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        # Also in a page of the Hub, which shows a Space inside of it.
        response.set_cookie(
            _COOKIE, token, httponly=True, secure=is_secure, samesite="none" if is_secure else "lax"
        )
        return response

    async def _admit(self, key: str) -> Response | None:
        """Check a key with the server; return what to show if it refuses it or does not answer."""
        try:
            await self._build(key)
        except UnauthorizedError:
            return _door("The server refuses this key." if key else "")
        except ConfigurationError:
            return _door("This is no key: a key has printable ASCII characters and no spaces.")
        except OpenEnvError as error:
            return _broken(error)
        return None

    async def _build(self, key: str) -> None:
        """Check a key, and build the page if it is not built.

        Raises:
            UnauthorizedError: The server refuses the key.
            OpenEnvError: It cannot be reached, or has no schemas; or ``gradio_builder`` failed.
        """
        facts = await read_facts(self._endpoint_for(key))
        async with self._building:
            if self._page is None:
                self._asks_for_key = bool(key)
                visits = Visits(self._endpoint_of, renders=facts.renders)
                self._open.push_async_callback(visits.close)
                page = await asyncio.to_thread(_mounted, facts, visits, self._base_url, self._custom)
                await self._open.enter_async_context(page.router.lifespan_context(page))
                self._page, self._visits = page, visits

    def _endpoint_of(self, request: Any) -> Endpoint:
        return self._endpoint_for(self._keys.get(request.cookies.get(_COOKIE, ""), ""))

    def _with_policy(self, send: Send) -> Send:
        if self._custom is not None:
            return send  # which may show what it wants

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _ONLY_THIS_HOST
            await send(message)

        return send_with_policy


def _mounted(facts: Any, visits: Visits, base_url: str | None, custom: CustomTab | None) -> FastAPI:
    """The page, at its path of an application."""
    import gradio as gr

    from openenv_server.playground.form import HEAD
    from openenv_server.playground.page import Page
    from openenv_server.playground.theme import theme

    page = Page(facts, visits, base_url, custom).build()
    page.queue(default_concurrency_limit=None, max_size=None, api_open=False)
    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        PATH,
        footer_links=[],
        run_history=False,
        max_file_size="10mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=_STYLE.read_text("utf-8"),
        head=_ICON + HEAD,
    )
    return app


def _door(problem: str) -> HTMLResponse:
    """The page that asks for the key."""
    shown = f'<p role="alert" class="bad">{escape(problem)}</p>' if problem else ""
    form = (
        '<form method="post" action="key"><label for="key">API key</label>'
        '<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>'
        "<button>Play</button></form>"
    )
    body = f"<p>This server needs a key.</p>{shown}{form}"
    return HTMLResponse(notice_page("Enter the key", body), 401)


def _broken(error: OpenEnvError) -> HTMLResponse:
    """The page shown while the server cannot be reached. It tries again by itself."""
    body = f'<p role="alert" class="bad">{escape(str(error))}</p><p>This page tries again in 3 seconds.</p>'
    return HTMLResponse(notice_page("No playground yet", body), 503, {"Refresh": "3"})
