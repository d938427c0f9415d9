"""`create_app`: an environment class in, a FastAPI application out."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel

from openenv_gym.contract import ConcurrencyConfig, ServerCapacityStatus, ServerMode
from openenv_gym.errors import ConfigurationError
from openenv_gym.process_key import keep_secrets
from openenv_server.calls import class_behind, is_base_state
from openenv_server.connections.adapters import adapter_for
from openenv_server.connections.registry import Connections
from openenv_server.environment import describe
from openenv_server.operations.graceful_shutdown import GracefulShutdown
from openenv_server.operations.peers import Peers
from openenv_server.playground.custom_tab import CustomTab
from openenv_server.playground.mount import WebPages
from openenv_server.routes.http import http_routes
from openenv_server.routes.tasks import task_routes
from openenv_server.routes.websocket import websocket_routes
from openenv_server.security.guard import Guard
from openenv_server.security.keys import Keys
from openenv_server.sessions.capacity import Sessions, decide_capacity, supports_concurrency
from openenv_server.settings import MAX_SESSIONS_OPTION, read_settings
from openenv_server.tools.routes import ToolSessions, mcp_routes


def create_app(
    env: Callable[[], Any],
    action_cls: type[BaseModel],
    observation_cls: type[BaseModel],
    env_name: str | None = None,
    max_concurrent_envs: int | None = None,
    concurrency_config: ConcurrencyConfig | None = None,
    gradio_builder: Callable[..., Any] | None = None,
    custom_tab_name: str = "Custom",
    custom_tab_primary: bool = False,
    show_default_tab: bool = True,
    title_override: str | None = None,
    state_cls: type[BaseModel] | None = None,
    *,
    mode: ServerMode | str | None = None,
    reset_observation_cls: type[BaseModel] | None = None,
    session_timeout_s: float | None = None,
    step_timeout_s: float | None = None,
    resume_grace_s: float | None = None,
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
        concurrency_config: The number of sessions and their timeout in one object, instead of
            ``max_concurrent_envs``.
        gradio_builder: Builds a tab of the playground; see `CustomTab`. It runs in the server's process.
        custom_tab_name: The name of that tab.
        custom_tab_primary: Whether that tab is the first one.
        show_default_tab: Whether the playground has other tabs beside it.
        title_override: The title of the pages and of the API's documentation. Default: ``env_name``.
        state_cls: The Pydantic model of the state. Default: that of the class, from
            ``Environment[MyAction, MyObservation, MyState]`` or the annotation of ``state``.
        mode: ``"production"`` leaves out the HTTP routes ``/reset``, ``/step`` and ``/state``. Default:
            ``OPENENV_MODE``; else ``"simulation"``.
        reset_observation_cls: The Pydantic model of the observation after a reset, if it is another one.
        session_timeout_s: Seconds without a message after which a session is closed. Default:
            ``SESSION_TIMEOUT``; else an hour. A session inside a step does not count as silent.
        step_timeout_s: Seconds that a reset or a step may take; then its session is closed. Default:
            ``STEP_TIMEOUT``; else unlimited.
        resume_grace_s: Seconds for which the sessions of a broken connection are kept, so that the client can
            resume. Default: ``RESUME_GRACE``; else 60.

    Returns:
        The application; run it with uvicorn, or with ``openenv serve``.

    Raises:
        ConfigurationError: An instance instead of a class, something other than a model, more sessions than
            the environment allows, ``concurrency_config`` and ``max_concurrent_envs``, an unknown mode, or an
            invalid environment variable.
    """
    server = EnvironmentServer(
        env,
        action_cls,
        observation_cls,
        max_concurrent_envs,
        concurrency_config,
        env_name,
        state_cls,
        reset_observation_cls=reset_observation_cls,
        session_timeout_s=session_timeout_s,
        step_timeout_s=step_timeout_s,
        resume_grace_s=resume_grace_s,
    )
    if gradio_builder is not None:
        server.custom_tab = CustomTab(
            gradio_builder, custom_tab_name, custom_tab_primary, show_default_tab, title_override
        )
    server.title = title_override or server.name
    # Its documentation needs no other host.
    app = FastAPIOffline(title=server.title, description=server.description, version="1.0.0")
    server.register_routes(app, mode)
    app.state.tries_factory = True  # nothing of the author's runs between this and the server's start
    return app


def create_fastapi_app(
    env: Callable[[], Any],
    action_cls: type[BaseModel],
    observation_cls: type[BaseModel],
    max_concurrent_envs: int | None = None,
    concurrency_config: ConcurrencyConfig | None = None,
    env_name: str | None = None,
    state_cls: type[BaseModel] | None = None,
    *,
    mode: ServerMode | str | None = None,
    reset_observation_cls: type[BaseModel] | None = None,
) -> FastAPI:
    """Make the server of one environment, as `create_app` does; only the order of the arguments differs."""
    return create_app(
        env,
        action_cls,
        observation_cls,
        env_name,
        max_concurrent_envs,
        concurrency_config,
        state_cls=state_cls,
        mode=mode,
        reset_observation_cls=reset_observation_cls,
    )


class EnvironmentServer:
    """The routes of one environment, for your own application.

    The arguments and exceptions are those of `create_app`.

    Attributes:
        name: The environment's name.
        title: The title of its page; the name by default.
        description: One sentence on what it is.
        custom_tab: A tab of the playground that the environment brings; None by default.
        sessions: Its sessions.
        shutdown: Its graceful shutdown.
        peers: The processes that serve the same address.
    """

    def __init__(
        self,
        env: Callable[[], Any],
        action_cls: type[BaseModel],
        observation_cls: type[BaseModel],
        max_concurrent_envs: int | None = None,
        concurrency_config: ConcurrencyConfig | None = None,
        env_name: str | None = None,
        state_cls: type[BaseModel] | None = None,
        *,
        reset_observation_cls: type[BaseModel] | None = None,
        session_timeout_s: float | None = None,
        step_timeout_s: float | None = None,
        resume_grace_s: float | None = None,
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
        if concurrency_config is not None:
            if max_concurrent_envs is not None:
                raise ConfigurationError(
                    "max_concurrent_envs and concurrency_config both set the number of sessions.",
                    advice="Pass only one of them.",
                )
            max_concurrent_envs = concurrency_config.max_concurrent_envs
            session_timeout_s = session_timeout_s or concurrency_config.session_timeout
        settings = self._settings = read_settings()
        self._keys = Keys(settings)
        if max_concurrent_envs is None:
            max_concurrent_envs = settings.max_concurrent_envs
        if chosen := os.environ.get(MAX_SESSIONS_OPTION):
            max_concurrent_envs = int(chosen)
        if session_timeout_s is None:
            session_timeout_s = settings.session_timeout
        kind = class_behind(env)
        self.name: str = env_name or (kind.__name__ if kind else "environment")
        self.title: str = self.name
        self.description: str = describe(kind).description if kind else f"The environment {self.name}"
        self.custom_tab: CustomTab | None = None
        if step_timeout_s is None:
            step_timeout_s = settings.step_timeout
        if resume_grace_s is None:
            resume_grace_s = settings.resume_grace
        if state_cls is not None and is_base_state(state_cls):
            state_cls = None  # the class may say more
        self._session_timeout_s = session_timeout_s
        capacity = decide_capacity(env, max_concurrent_envs)
        self.sessions: Sessions = Sessions(env, action_cls, capacity, step_timeout_s)
        self.shutdown: GracefulShutdown = GracefulShutdown(self.sessions)
        self.peers: Peers = Peers()
        adapter = adapter_for(kind, action_cls, observation_cls)
        connections = Connections(
            self.sessions,
            adapter,
            settings.max_slots_per_socket,
            resume_grace_s,
            settings.max_message_bytes,
            session_timeout_s,
        )
        self.shutdown.on_begin(connections.leave)  # also those that wait for a client to resume
        tool_sessions = ToolSessions(self.sessions, session_timeout_s)
        self.shutdown.on_begin(tool_sessions.close_all)
        episodes, others = http_routes(
            self.sessions, action_cls, observation_cls, first_cls, state_cls, env_name, self.peers
        )
        self._episode_routes = episodes
        self._routers = (
            others,
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
            task_routes(self.sessions, self.name),
        )

    @property
    def active_sessions(self) -> int:
        """The sessions in use."""
        return self.sessions.active

    @property
    def max_concurrent_envs(self) -> int:
        """The most sessions at a time."""
        return self.sessions.capacity

    @property
    def is_concurrency_safe(self) -> bool:
        """Whether the environment's class allows several sessions."""
        return supports_concurrency(self.sessions.kind) is not False

    @property
    def concurrency_config(self) -> ConcurrencyConfig:
        """The number of sessions and their timeout."""
        return ConcurrencyConfig(
            max_concurrent_envs=self.sessions.capacity, session_timeout=self._session_timeout_s
        )

    def get_capacity_status(self) -> ServerCapacityStatus:
        """Return how many sessions are in use and how many are free."""
        return ServerCapacityStatus.from_counts(self.sessions.active, self.sessions.capacity)

    def register_routes(self, app: FastAPI, mode: ServerMode | str | None = None) -> None:
        """Add all routes, the pages at ``/`` and ``/web``, and the guard in front of the whole of ``app``.

        The pages are shown if the application has none itself.

        Args:
            app: The application.
            mode: As in `create_app`.
        """
        try:
            asked = str(getattr(mode, "value", mode) or self._settings.openenv_mode).lower()
            serves_episodes = ServerMode(asked) is ServerMode.SIMULATION
        except ValueError as error:
            raise ConfigurationError(
                f"Unknown mode {mode!r}: it is {' or '.join(known.value for known in ServerMode)}."
            ) from error
        app.state.sessions = self.sessions
        app.state.graceful_shutdown = self.shutdown
        app.state.peers = self.peers
        app.router.lifespan_context = self._lifespan_within(app.router.lifespan_context)
        pages = WebPages(
            self.title,
            self.description,
            is_on=self._settings.enable_web_interface,
            is_wanted="enable_web_interface" in self._settings.model_fields_set
            or self.custom_tab is not None,
            peers=self.peers,
            custom=self.custom_tab,
        )
        app.state.web_pages = pages
        self.shutdown.on_begin(pages.stop)
        app.add_middleware(
            Guard,
            settings=self._settings,
            keys=self._keys,
            counters=self.sessions.counters,
            is_open=pages.ask_for_key,
        )
        for router in (self._episode_routes, *self._routers) if serves_episodes else self._routers:
            # Not `include_router`: applications find routes by their path in `app.routes`, and replace some.
            app.router.routes.extend(router.routes)
        app.router.default = pages.before(app.router.default)

    def _lifespan_within(self, outer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The application's lifespan, and in it the environment of the first session."""

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            secrets = self._settings.secrets()
            if secrets and threading.current_thread() is threading.main_thread():
                # The process is the server's. In a thread beside a client, it would take the client's key.
                keep_secrets(secrets)
            async with outer(app) as state:
                await asyncio.to_thread(self.sessions.try_factory)
                try:
                    yield state
                finally:
                    app.state.web_pages.stop()
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
