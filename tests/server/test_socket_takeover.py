"""Every internal of uvicorn and websockets that the server relies on, by name.

If this fails with a newer uvicorn, adapt `openenv_server.socket_takeover`, `openenv_server.http_protocol` and
`openenv_server.serving`, then raise the upper bound in pyproject.toml.
"""

from __future__ import annotations

import inspect
from importlib.metadata import requires, version

import pytest
import uvicorn
from openenv_server.http_protocol import LimitedProtocol
from openenv_server.serving import Server
from openenv_server.socket_takeover import TakeoverProtocol
from packaging.requirements import Requirement
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets import websockets_sansio_impl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.server import ServerProtocol


@pytest.mark.parametrize(
    "name",
    [
        "data_received",
        "handle_bytes",
        "handle_cont",
        "handle_parser_exception",
        "handle_ping",
        "handle_pong",
        "handle_text",
        "receive",
        "run_asgi",
        "send",
        "shutdown",
        "start_keepalive",
        "stop_keepalive",
    ],
)
def test_the_protocol_has_the_methods_that_are_overridden_or_called(name: str) -> None:
    assert callable(getattr(WebSocketsSansIOProtocol, name))


@pytest.mark.parametrize("name", ["receive", "run_asgi", "send"])
def test_the_protocol_awaits_what_is_overridden(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(WebSocketsSansIOProtocol, name))
    assert inspect.iscoroutinefunction(getattr(TakeoverProtocol, name))


@pytest.mark.parametrize(
    "name",
    [
        "close_sent",
        "conn",
        "frames",
        "handshake_complete",
        "queue",
        "read_paused",
        "scheme",
        "scope",
        "transport",
        "writable",
    ],
)
def test_the_protocol_sets_the_attributes_that_are_read(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(WebSocketsSansIOProtocol)


@pytest.mark.parametrize(
    "name",
    [
        "connection_made",
        "connection_lost",
        "data_received",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
        "handle_websocket_upgrade",
        "pause_writing",
        "resume_writing",
    ],
)
def test_the_http_protocol_has_the_methods_that_are_overridden(name: str) -> None:
    overridden, own = getattr(HttpToolsProtocol, name), getattr(LimitedProtocol, name)
    assert inspect.signature(overridden).parameters.keys() == inspect.signature(own).parameters.keys()
    assert not inspect.iscoroutinefunction(overridden)


@pytest.mark.parametrize("name", ["transport", "client", "cycle", "loop", "server_state"])
def test_the_http_protocol_sets_the_attributes_that_are_read(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(HttpToolsProtocol)


def test_the_http_protocol_has_what_else_is_read() -> None:
    assert "self.response_complete" in inspect.getsource(httptools_impl.RequestResponseCycle)
    assert "self.default_headers" in inspect.getsource(uvicorn.server.ServerState)
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")


def test_the_parser_has_what_is_called_and_read() -> None:
    parser = ServerProtocol()
    assert parser.close_sent is None
    assert parser.data_to_send() == []
    parser.receive_data(b"GET")
    assert parser.reader.buffer == b"GET"
    parser.fail(1008, "reason")


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
