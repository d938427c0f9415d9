"""A web page whose name resolves to this machine (DNS rebinding) gets nothing from a server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
import websocket
from fastapi.testclient import TestClient
from openenv_server.security.hosts import HostCheck, check_allowed_host, is_loopback, parse_host
from openenv_server.socket_takeover import TakeoverProtocol

from openenv_gym.errors import AccessRefusedError, ConfigurationError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json
from openenv_gym.wire import v2
from tests.server.test_security import BEARER, KEY, app, open_socket, refusal, routes, serves_others
from tests.support.servers import running

PROTOCOLS = pytest.mark.parametrize("protocol", [None, v2.SUBPROTOCOL], ids=["v1", "v2"])


def ask(
    base_url: str, *hosts: str, method: str = "GET", path: str = "/schema", **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send a request with these ``Host`` headers and no other."""
    with closing(HTTPConnection(base_url.removeprefix("http://"), timeout=10)) as connection:
        connection.putrequest(method, path, skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if response.status == 403 and body else {}


@PROTOCOLS
@pytest.mark.parametrize("ws", [TakeoverProtocol, "websockets-sansio"], ids=["socket", "event loop"])
def test_a_page_that_rebinds_its_name_is_refused(protocol: str | None, ws: Any) -> None:
    with running(app(), ws=ws) as base_url:
        port = base_url.rpartition(":")[2]
        evil = f"evil.example:{port}"
        for path, method in [*routes(), ("/web", "get"), ("/nowhere", "get"), ("/health", "head")]:
            status, answer = ask(base_url, evil, method=method.upper(), path=path)
            assert status == 403, (method, path)
            if method != "head":
                assert answer["code"] == "FORBIDDEN"
                assert f"the name {evil}" in answer["message"]
                assert "ALLOWED_HOSTS" in answer["message"]
        # As a browser does it: the page takes the server for its own origin.
        status, answer = refusal(base_url, protocol=protocol, host=evil, origin=f"http://{evil}")
        assert (status, answer["code"]) == (403, "FORBIDDEN")
        serves_others(base_url)


def test_the_client_says_what_to_set() -> None:
    endpoint = "http://localtest.openenv.invalid"
    with running(app()) as base_url:
        real = socket.getaddrinfo
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
            with pytest.raises(AccessRefusedError, match=r"403 to GET /schema.*ALLOWED_HOSTS"):
                get_json(Endpoint.parse(f"{endpoint}:{base_url.rpartition(':')[2]}"), "/schema", timeout_s=5)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8000",
        "localhost",
        "LOCALHOST:8000",
        "localhost.:8000",
        "my-env.localhost:8000",
        "[::1]:8000",
        "[::1]",
        "[fe80::1%eth0]:80",
        "192.168.1.5",
        "127.1",
        "0:8000",
        "0x7f.1",
        "host.docker.internal:8000",
        "host.containers.internal",
        "me-my-env.hf.space",
        socket.gethostname(),
        f"{socket.gethostname().upper()}:80",
    ],
)
def test_names_that_no_page_can_have_are_answered(host: str) -> None:
    assert HostCheck((), is_strict=False).allows([host], "127.0.0.1")
    assert HostCheck((), is_strict=True).allows([host], "10.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil-localhost",
        "xlocalhost",
        "hf.space.evil.example",
        "evilhf.space",
        "hf.space",
        ".hf.space",
        "docker.internal",
        "localhost:8000:evil.example",
        "localhost@evil.example",
        "evil.example/localhost",
        "evil.example?.localhost",
        "evil.example#.localhost",
        "localhost,evil.example",
        "localhost evil.example",
        "[::1].evil.example",
        "[evil]",
        "[localhost]",
        "[::1",
        "::1",
        "",
        ":8000",
        "..",
        "localhost..",
        "évil",
    ],
)
def test_all_other_names_are_refused(host: str) -> None:
    check = HostCheck((), is_strict=False)
    for address in ("127.0.0.1", "127.0.1.1", "::1", "::ffff:127.0.0.1"):
        assert not check.allows([host], address)
        assert not check.allows(["localhost", host], address), "two headers"
        assert not check.allows([host, "localhost"], address), "two headers"
    # A Space, a container and a Kubernetes service are called by names that the server cannot know.
    for address in ("10.0.0.1", "2001:db8::1", "testserver", "/run/openenv.sock", ""):
        assert check.allows([host], address)


def test_a_program_without_a_host_is_answered() -> None:
    with running(app()) as base_url:
        assert ask(base_url)[0] == 200
        assert ask(base_url, "localhost", "localhost")[0] == 200
        assert ask(base_url, "localhost", "evil.example")[0] == 403


def test_names_on_the_list_are_answered() -> None:
    with running(app(ALLOWED_HOSTS="env.example, *.Lab.example.,::2")) as base_url:
        for host in ("env.example", "ENV.example:8000", "env.example.", "a.lab.example", "a.b.lab.example"):
            assert ask(base_url, host)[0] == 200, host
            open_socket(base_url, host=host, origin=f"http://{host}").close()
        for host in ("lab.example", "a.env.example", "xlab.example", "evil.example"):
            assert ask(base_url, host)[0] == 403, host
        serves_others(base_url)
    with running(app(ALLOWED_HOSTS="*")) as base_url:
        assert ask(base_url, "evil.example")[0] == 200


def test_with_a_list_every_address_is_checked() -> None:
    assert not HostCheck(["env.example"], is_strict=True).allows(["evil.example"], "10.0.0.1")
    assert HostCheck(["env.example"], is_strict=True).allows(["env.example"], "10.0.0.1")


def test_the_hosts_of_allowed_origins_are_answered() -> None:
    with running(app(ALLOWED_ORIGINS="https://env.example")) as base_url:
        assert (
            ask(base_url, "env.example", method="POST", path="/reset", Origin="https://env.example")[0] == 200
        )
        assert ask(base_url, "evil.example")[0] == 403
    with running(app(ALLOWED_ORIGINS="*")) as base_url:
        assert ask(base_url, "evil.example")[0] == 200


def test_a_server_with_a_key_answers_to_every_name() -> None:
    with running(app(OPENENV_API_KEY=KEY)) as base_url:
        assert ask(base_url, "env.example", **BEARER)[0] == 200
        assert ask(base_url, "env.example")[0] == 401
        open_socket(base_url, BEARER, host="env.example", origin="https://env.example").close()
    with running(app(OPENENV_API_KEY=KEY, ALLOWED_HOSTS="env.example")) as base_url:
        assert ask(base_url, "env.example", **BEARER)[0] == 200
        assert ask(base_url, "other.example", **BEARER)[0] == 403
        assert ask(base_url, "other.example", path="/health")[0] == 403


def test_a_test_client_and_a_unix_socket_are_answered() -> None:
    with TestClient(app()) as client:
        assert client.get("/schema").status_code == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6() -> None:
    command = [
        sys.executable,
        "-m",
        "openenv_cli",
        "serve",
        "--gym",
        "CartPole-v1",
        "--host",
        "::1",
        "-p",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            base_url = server.stdout.readline().strip()
            assert base_url.startswith("http://[::1]:")
            port = int(base_url.rpartition(":")[2])
            for host, status in ((f"[::1]:{port}", 200), ("localhost", 200), (f"evil.example:{port}", 403)):
                connection = HTTPConnection("::1", port, timeout=10)
                connection.request("GET", "/schema", headers={"Host": host})
                assert connection.getresponse().status == status
                connection.close()
            with pytest.raises(websocket.WebSocketBadStatusException):
                open_socket(base_url, host="evil.example")
        finally:
            server.terminate()


@pytest.mark.parametrize(
    "allowed", ["https://env.example", "env.example:80", "a b", "[", "*.*.example", "a.*", "-_!", "*."]
)
def test_a_list_that_is_none_keeps_the_server_from_starting(allowed: str) -> None:
    with pytest.raises(ConfigurationError, match="ALLOWED_HOSTS"):
        app(ALLOWED_HOSTS=allowed)


def test_parts() -> None:
    assert parse_host("A.example.:80") == "a.example"
    assert check_allowed_host("A.Example.") == "a.example"
    assert [name for name in ("127.9.9.9", "::1", "0.0.0.0", "x") if is_loopback(name)] == [
        "127.9.9.9",
        "::1",
    ]
