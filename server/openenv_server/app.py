"""`create_app`: an environment class in, a FastAPI application out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from openenv_gym.errors import ConfigurationError
from openenv_gym.types import State
from openenv_server.calls import class_behind
from openenv_server.environment import describe
from openenv_server.lanes.contracts import contract_of
from openenv_server.lanes.registry import Lanes
from openenv_server.routes.http import http_routes
from openenv_server.routes.websocket import websocket_routes
from openenv_server.security.guard import Guard
from openenv_server.sessions import Sessions, decide_capacity
from openenv_server.settings import read_settings
from openenv_server.web.landing import landing_page


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
    state_cls: type[BaseModel] = State,
) -> FastAPI:
    """The server of one environment.

    Args:
        env: The environment's class, or a function without arguments that makes one. Each session gets an
            instance of its own. Any class with ``reset``, ``step`` and ``state`` will do.
        action_cls: The Pydantic model of an action.
        observation_cls: The Pydantic model of an observation.
        env_name: The name to show; the class's own where it is left out.
        max_concurrent_envs: Sessions at a time. Left out: ``MAX_CONCURRENT_ENVS``; else 1 where the
            class itself sets ``SUPPORTS_CONCURRENT_SESSIONS = False``, and 64 where it does not.
        session_timeout_s: Seconds without a message after which a session is closed. Left out:
            ``SESSION_TIMEOUT``; else an hour. A session inside a step is never closed for that.
        step_timeout_s: Seconds that a reset or a step may take; then its session is closed. Left out:
            ``STEP_TIMEOUT``; else for ever.
        resume_grace_s: Seconds for which the sessions of a broken connection are kept for a client that
            comes back. Left out: ``RESUME_GRACE``; else 60.
        state_cls: The Pydantic model of the state.

    Returns:
        The application; run it with uvicorn, or with ``openenv serve``.

    Raises:
        ConfigurationError: An instance instead of a class, something that is not a model, more sessions
            than the environment allows, or an environment variable that is not what it should be.
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
    )
    app = FastAPI(title=server.name, description=server.description, version="1.0.0")
    server.register_routes(app)
    return app


class EnvironmentServer:
    """The routes of one environment, for an application of your own.

    Takes what `create_app` takes, and raises what it raises.
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
        state_cls: type[BaseModel] = State,
    ) -> None:
        _check_factory(env)
        for argument, model in (("action_cls", action_cls), ("observation_cls", observation_cls)):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise ConfigurationError(f"{argument} is a Pydantic model's class, not {model!r}")
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
        contract = contract_of(kind, action_cls, observation_cls)
        lanes = Lanes(self.sessions, contract, settings.max_slots_per_socket, resume_grace_s)
        self._routers = (
            http_routes(self.sessions, action_cls, observation_cls, state_cls, env_name),
            websocket_routes(self.sessions, action_cls, lanes, session_timeout_s, settings.max_message_bytes),
        )

    def register_routes(self, app: FastAPI) -> None:
        """Adds all routes, the landing page, and the guard, which stands before all of `app`."""
        app.state.sessions = self.sessions
        app.add_middleware(Guard, settings=self._settings)
        for router in self._routers:
            app.include_router(router)
        page = landing_page(self.name, self.description)

        async def landing() -> HTMLResponse:
            return HTMLResponse(page)

        for path in ("/", "/web") if self._settings.enable_web_interface else ("/",):
            app.get(path, include_in_schema=False)(landing)


def _check_factory(env: Any) -> None:
    """Refuses an instance, which all sessions would share."""
    if isinstance(env, type) and not callable(getattr(env, "step", None)):
        raise ConfigurationError(f"{env.__name__} is not an environment: it has no step method")
    if not callable(env) or (not isinstance(env, type) and hasattr(env, "reset") and hasattr(env, "step")):
        name = type(env).__name__
        raise ConfigurationError(
            f"create_app was given an instance of {name}, which all sessions would share. Pass the class, "
            f"create_app({name}, …), or a function that returns a new instance."
        )
