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
from openenv_server.routes.http import http_routes
from openenv_server.routes.websocket import websocket_routes
from openenv_server.sessions import Sessions, decide_capacity
from openenv_server.settings import Settings
from openenv_server.web.landing import landing_page


def create_app(
    env: Callable[[], Any],
    action_cls: type[BaseModel],
    observation_cls: type[BaseModel],
    env_name: str | None = None,
    max_concurrent_envs: int | None = None,
    *,
    session_timeout_s: float | None = None,
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
            ``SESSION_TIMEOUT``; else never.
        state_cls: The Pydantic model of the state.

    Returns:
        The application; run it with uvicorn, or with ``openenv serve``.

    Raises:
        ConfigurationError: An instance instead of a class, something that is not a model, or more sessions
            than the environment allows.
    """
    _check_factory(env)
    for argument, model in (("action_cls", action_cls), ("observation_cls", observation_cls)):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise ConfigurationError(f"{argument} is a Pydantic model's class, not {model!r}")
    settings = Settings()
    kind = class_behind(env)
    name = env_name or (kind.__name__ if kind else "environment")
    description = describe(kind).description if kind else f"The environment {name}"
    sessions = Sessions(env, decide_capacity(env, max_concurrent_envs or settings.max_concurrent_envs))

    app = FastAPI(title=name, description=description, version="1.0.0")
    app.state.sessions = sessions
    app.include_router(http_routes(sessions, action_cls, observation_cls, state_cls, env_name))
    app.include_router(websocket_routes(sessions, action_cls, session_timeout_s or settings.session_timeout))

    @app.get("/", include_in_schema=False)
    async def landing() -> HTMLResponse:
        return HTMLResponse(landing_page(name, description))

    return app


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
