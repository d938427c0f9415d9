"""The undocumented names of Gradio that the playground uses. A new release may change them."""

from __future__ import annotations

from contextvars import ContextVar

import pytest
from fastapi import FastAPI
from starlette.routing import Match

gr = pytest.importorskip("gradio")


def test_the_request_of_a_running_handler_is_known() -> None:
    from gradio.context import LocalContext

    assert isinstance(LocalContext.request, ContextVar)


def test_a_tab_has_a_request_that_stays_open() -> None:
    from openenv_server.playground.app import _CONNECTION_PATH, PATH

    with gr.Blocks(analytics_enabled=False) as page:
        page.unload(lambda: None)
    app = gr.mount_gradio_app(FastAPI(), page, PATH)
    mounted = next(route.app for route in app.routes if getattr(route, "path", "") == PATH)
    path = f"{_CONNECTION_PATH.removeprefix(PATH)}some-tab"
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    assert any(route.matches(scope)[0] == Match.FULL for route in mounted.routes)
    assert page.config["connect_heartbeat"]


def test_a_component_has_the_id_of_its_events() -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        box = gr.Textbox("drawn")
        box.change(None, box, box, js="(value) => value")
    assert page.config["dependencies"][0]["targets"] == [(box._id, "change")]
    assert box.value == "drawn"
