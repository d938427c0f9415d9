"""The keywords with which published code makes a server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from openenv_server import create_app

from openenv.core.env_server import HTTPEnvServer, create_fastapi_app, create_web_interface_app
from openenv.core.env_server.types import ConcurrencyConfig, ServerMode, State
from openenv_gym.errors import ConfigurationError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of


class CountState(State):
    total: int = 0


class First(CountObservation):
    greeting: str = "hello"


MODELS = (CountAction, CountObservation)


@pytest.mark.parametrize(
    ("make", "arguments", "name", "most"),
    [
        (create_app, ("counter", 3), "counter", 3),
        (create_app, ("counter", None, ConcurrencyConfig(max_concurrent_envs=5)), "counter", 5),
        (create_fastapi_app, (3, None, "counter"), "counter", 3),
        (create_fastapi_app, (None, ConcurrencyConfig()), "Counter", 1),
        (create_web_interface_app, ("counter", 3), "counter", 3),
    ],
)
def test_the_order_of_the_arguments(
    make: Callable[..., FastAPI], arguments: tuple[Any, ...], name: str, most: int
) -> None:
    with running(make(Counter, *MODELS, *arguments)) as url:
        assert status_of(f"{url}/health")[1]["max_sessions"] == most
        assert status_of(f"{url}/list_environments")[1] == [name]


@pytest.mark.parametrize("make", [create_app, create_web_interface_app])
def test_all_keywords(
    make: Callable[..., FastAPI], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openenv_server.playground.mount.has_gradio", lambda: False)
    with caplog.at_level(logging.WARNING):
        app = make(
            env=Counter,
            action_cls=CountAction,
            observation_cls=CountObservation,
            env_name="counter",
            concurrency_config=ConcurrencyConfig(max_concurrent_envs=2, session_timeout=90.0),
            gradio_builder=lambda *arguments: None,
            custom_tab_name="Count",
            custom_tab_primary=True,
            show_default_tab=False,
            title_override="Counting",
            state_cls=CountState,
            mode=ServerMode.SIMULATION,
            reset_observation_cls=First,
        )
    assert [record.getMessage() for record in caplog.records] == [
        "/web is a plain page, because Gradio is not installed. For the playground: "
        "pip install 'openenv-gym[web]'"
    ]
    assert app.title == "Counting"
    with running(app) as url:
        schema = status_of(f"{url}/schema")[1]
        assert "total" in schema["state"]["properties"]
        assert "greeting" in schema["reset_observation"]["properties"]
        assert "greeting" not in schema["observation"]["properties"]


def test_keywords_with_an_effect_are_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        create_app(Counter, *MODELS, title_override="x", custom_tab_name="Custom", show_default_tab=True)
    assert not caplog.records


def test_two_numbers_of_sessions_are_refused() -> None:
    with pytest.raises(ValueError, match="max_concurrent_envs and concurrency_config both set"):
        create_app(Counter, *MODELS, max_concurrent_envs=1, concurrency_config=ConcurrencyConfig())


def test_a_server_in_an_application_of_the_author_s() -> None:
    server = HTTPEnvServer(Counter, *MODELS, 4, None, "counter", State, reset_observation_cls=First)
    assert (server.active_sessions, server.max_concurrent_envs, server.is_concurrency_safe) == (0, 4, True)
    assert server.concurrency_config.max_concurrent_envs == 4
    assert server.get_capacity_status().available_slots == 4
    app = FastAPI(title="mine")

    @app.post("/reset")
    def reset() -> str:
        return "mine"

    with pytest.raises(ConfigurationError, match="Unknown mode"):
        server.register_routes(app, mode="other")
    server.register_routes(app, mode="production")
    with running(app) as url:
        assert status_of(f"{url}/reset", {}) == (200, "mine")
        assert status_of(f"{url}/state")[0] == 404
        assert status_of(f"{url}/health")[1]["max_sessions"] == 4
