"""`create_app`: an environment class in, a FastAPI application out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from openenv_gym.errors import ConfigurationError
from openenv_server.calls import class_behind
from openenv_server.connections.adapters import adapter_for
from openenv_server.connections.worker import Connections
from openenv_server.environment import describe
from openenv_server.operations.graceful_shutdown import GracefulShutdown
from openenv_server.routes.http import http_routes
from openenv_server.routes.landing import landing_page
from openenv_server.routes.websocket import websocket_routes
from openenv_server.security.guard import Guard
from openenv_server.sessions.capacity import Sessions, decide_capacity
from openenv_server.settings import read_settings
from openenv_server.tools.routes import ToolSessions, mcp_routes


def create_app(
    env: Callable[[], Any],
    action_cls: type[BaseModel],
    observation_cls: type[BaseModel],
    env_name: str | None = None,
    max_concurrent_envs: int | None = None,
    *,
    session_timeout_s: float | None = None,
    step_timeout_s: float | None = None,
    resume_grace_s: float | None = None,
    state_cls: type[BaseModel] | None = None,
    reset_observation_cls: type[BaseModel] | None = None,
) -> FastAPI:
    """Make the server of one environment.

    Args:
        env: The environment's class, or a function without arguments that makes one. Each session gets its
            own instance. Any class with ``reset``, ``step`` and ``state`` will do.
        action_cls: The Pydantic model of an action.
        observation_cls: The Pydantic model of an observation.
        env_name: The name to show. Default: the class's name.
        max_concurrent_envs: The most sessions at a time. Default: ``MAX_CONCURRENT_ENVS``; else 1 if the
            class itself sets ``SUPPORTS_CONCURRENT_SESSIONS = False``, and 64 if it does not.
        session_timeout_s: Seconds without a message after which a session is closed. Default:
            ``SESSION_TIMEOUT``; else an hour. A session inside a step does not count as silent.
        step_timeout_s: Seconds that a reset or a step may take; then its session is closed. Default:
            ``STEP_TIMEOUT``; else unlimited.
        resume_grace_s: Seconds for which the sessions of a broken connection are kept, so that the client can
            resume. Default: ``RESUME_GRACE``; else 60.
        state_cls: The Pydantic model of the state. Default: that of the class, from
            ``Environment[MyAction, MyObservation, MyState]`` or the annotation of ``state``.
        reset_observation_cls: The Pydantic model of the observation after a reset, if it is another one.

    Returns:
        The application; run it with uvicorn, or with ``openenv serve``.

    Raises:
        ConfigurationError: An instance instead of a class, something other than a model, more sessions than
            the environment allows, or an invalid environment variable.
    """
    server = EnvironmentServer(
        env,
        action_cls,
        observation_cls,
        max_concurrent_envs,
        env_name=env_name,
        session_timeout_s=session_timeout_s,
        step_timeout_s=step_timeout_s,
        resume_grace_s=resume_grace_s,
        state_cls=state_cls,
        reset_observation_cls=reset_observation_cls,
    )
    app = FastAPI(title=server.name, description=server.description, version="1.0.0")
    server.register_routes(app)
    app.state.tries_factory = True  # nothing of the author's runs between this and the server's start
    return app


class EnvironmentServer:
    """The routes of one environment, for your own application.

    The arguments and exceptions are those of `create_app`.
    """

    def __init__(
        self,
        env: Callable[[], Any],
        action_cls: type[BaseModel],
        observation_cls: type[BaseModel],
        max_concurrent_envs: int | None = None,
        *,
        env_name: str | None = None,
        session_timeout_s: float | None = None,
        step_timeout_s: float | None = None,
        resume_grace_s: float | None = None,
        state_cls: type[BaseModel] | None = None,
        reset_observation_cls: type[BaseModel] | None = None,
    ) -> None:
        _check_factory(env)
        first_cls = observation_cls if reset_observation_cls is None else reset_observation_cls
        models = {
            "action_cls": action_cls,
            "observation_cls": observation_cls,
            "reset_observation_cls": first_cls,
        }
        for argument, model in models.items():
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise ConfigurationError(f"{argument} must be a Pydantic model class, got {model!r}")
        settings = self._settings = read_settings()
        if max_concurrent_envs is None:
            max_concurrent_envs = settings.max_concurrent_envs
        if session_timeout_s is None:
            session_timeout_s = settings.session_timeout
        kind = class_behind(env)
        self.name = env_name or (kind.__name__ if kind else "environment")
        self.description = describe(kind).description if kind else f"The environment {self.name}"
        if step_timeout_s is None:
            step_timeout_s = settings.step_timeout
        if resume_grace_s is None:
            resume_grace_s = settings.resume_grace
        self.sessions = Sessions(env, decide_capacity(env, max_concurrent_envs), step_timeout_s)
        self.shutdown = GracefulShutdown(self.sessions)
        adapter = adapter_for(kind, action_cls, observation_cls)
        connections = Connections(self.sessions, adapter, settings.max_slots_per_socket, resume_grace_s)
        self.shutdown.on_begin(connections.leave)  # also those that wait for a client to resume
        tool_sessions = ToolSessions(self.sessions, session_timeout_s)
        self.shutdown.on_begin(tool_sessions.close_all)
        self._routers = (
            http_routes(self.sessions, action_cls, observation_cls, first_cls, state_cls, env_name),
            websocket_routes(
                self.sessions,
                self.shutdown,
                action_cls,
                connections,
                tool_sessions,
                session_timeout_s,
                settings.max_message_bytes,
            ),
            mcp_routes(self.sessions, tool_sessions, self.shutdown),
        )

    def register_routes(self, app: FastAPI) -> None:
        """Add all routes, the landing page, and the guard in front of the whole of ``app``."""
        app.state.sessions = self.sessions
        app.state.graceful_shutdown = self.shutdown
        app.router.lifespan_context = self._lifespan_within(app.router.lifespan_context)
        app.add_middleware(Guard, settings=self._settings)
        for router in self._routers:
            app.include_router(router)
        page = landing_page(self.name, self.description)

        async def landing() -> HTMLResponse:
            return HTMLResponse(page)

        for path in ("/", "/web") if self._settings.enable_web_interface else ("/",):
            app.get(path, include_in_schema=False)(landing)

    def _lifespan_within(self, outer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The application's lifespan, and in it the environment of the first session."""

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            async with outer(app) as state:
                await asyncio.to_thread(self.sessions.try_factory)
                try:
                    yield state
                finally:
                    await self.sessions.close_first()

        return lifespan


def try_factory(app: FastAPI) -> None:
    """Make the environment of the first session before the server starts.

    If the application is the author's own, its lifespan has to begin first, and this is done there.

    Raises:
        ConfigurationError: The factory raised.
    """
    if getattr(app.state, "tries_factory", False):
        app.state.sessions.try_factory()


def _check_factory(env: Any) -> None:
    """Refuse an instance, which all sessions would share."""
    if isinstance(env, type) and not callable(getattr(env, "step", None)):
        raise ConfigurationError(f"{env.__name__} is not an environment: it has no step method")
    if not callable(env) or (not isinstance(env, type) and hasattr(env, "reset") and hasattr(env, "step")):
        name = type(env).__name__
        raise ConfigurationError(
            f"create_app got an instance of {name}, which all sessions would share.",
            advice=f"Pass the class, create_app({name}, …), or a function that returns a new instance.",
        )
