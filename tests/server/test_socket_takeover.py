"""Every internal of uvicorn and websockets that the server relies on, by name.

If this fails with a newer uvicorn, adapt `openenv_server.socket_takeover` and `openenv_server.serving`, then
raise the upper bound in pyproject.toml.
"""

from __future__ import annotations

import inspect
from importlib.metadata import requires, version

import pytest
import uvicorn
from openenv_server.serving import Server
from openenv_server.socket_takeover import TakeoverProtocol
from packaging.requirements import Requirement
from uvicorn.protocols.websockets import websockets_sansio_impl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState


@pytest.mark.parametrize("name", ["run_asgi", "send", "shutdown", "stop_keepalive", "start_keepalive"])
def test_the_protocol_has_the_methods_that_are_overridden_or_called(name: str) -> None:
    assert callable(getattr(WebSocketsSansIOProtocol, name))


@pytest.mark.parametrize("name", ["run_asgi", "send"])
def test_the_protocol_awaits_what_is_overridden(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(WebSocketsSansIOProtocol, name))
    assert inspect.iscoroutinefunction(getattr(TakeoverProtocol, name))


@pytest.mark.parametrize("name", ["scheme", "scope", "transport", "queue", "handshake_complete"])
def test_the_protocol_sets_the_attributes_that_are_read(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(WebSocketsSansIOProtocol)


def test_the_protocol_offers_extensions_in_its_scope() -> None:
    assert '"extensions"' in inspect.getsource(websockets_sansio_impl)


def test_closing_twice_raises_what_is_caught() -> None:
    assert issubclass(InvalidState, Exception)


@pytest.mark.parametrize("name", ["startup", "shutdown", "capture_signals", "handle_exit", "run"])
def test_the_server_has_the_methods_that_are_overridden_or_called(name: str) -> None:
    assert callable(getattr(uvicorn.Server, name))
    assert callable(getattr(Server, name))


@pytest.mark.parametrize("name", ["started", "should_exit"])
def test_the_server_sets_the_attributes_that_are_read(name: str) -> None:
    assert hasattr(uvicorn.Server(uvicorn.Config(lambda: None)), name)


def test_the_version_of_uvicorn_is_bounded() -> None:
    (requirement,) = {
        str(parsed.specifier)
        for parsed in map(Requirement, requires("openenv-gym") or [])
        if parsed.name == "uvicorn"
    }
    assert "<" in requirement
    assert version("uvicorn") in Requirement(f"uvicorn{requirement}").specifier
