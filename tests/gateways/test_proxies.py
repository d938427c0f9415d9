"""The configurations of docs/proxies.md in real gateways."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import create_app
from openenv_server.connections import transports

import openenv_gym
from openenv_gym import GenericEnvClient
from openenv_gym.errors import CapacityError, SessionLostError, UnauthorizedError
from tests.gateways.conftest import CountingServer
from tests.gateways.document import GATEWAYS, PASSWORD, PATH, USER, VARIABLES, DocumentedGateway, Nginx
from tests.gateways.gateway import program, running
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.fork_server import ForkedServer, ForkServer
from tests.support.servers import running as serving
from tests.support.waiting import wait_for

KEY, HEADER = "sesame-4711", "X-API-Key"
# A client of another machine, as far as a gateway on loopback can tell.
ELSEWHERE = "127.0.0.9"
# The interval of pings, a gateway's limit, and how long nothing else is sent; by hand as they are: 20,60,65.
PING_S, IDLE_S, SILENT_S = map(float, os.environ.get("OPENENV_TEST_PINGS", "0.3,1,2").split(","))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            kind, id=name, marks=pytest.mark.skipif(program(name) is None, reason=f"{name} is not installed")
        )
        for name, kind in GATEWAYS.items()
    ],
)
def kind(request: pytest.FixtureRequest) -> type[DocumentedGateway]:
    found: type[DocumentedGateway] = request.param
    return found


@pytest.fixture(scope="module")
def behind(
    kind: type[DocumentedGateway], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DocumentedGateway, CountingServer]]:
    """A gateway, and the server behind it."""
    folder = tmp_path_factory.mktemp("gateway")
    server = CountingServer(folder, **VARIABLES, LOG_LEVEL="info", LOG_FORMAT="json")
    server.start()
    try:
        with running(kind(folder, [server.base_url])) as gateway:
            yield gateway, server
    finally:
        server.stop()


def metric(base_url: str, name: str, **labels: str) -> float:
    """The sum of a metric of a server, over all samples that have these labels."""
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    samples = re.findall(rf"^{name}({{.*}}) (\S+)$", text, re.MULTILINE)
    assert samples
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(value) for shown, value in samples if all(label in shown for label in wanted))


def ask(
    gateway: DocumentedGateway, path: str, *, method: str = "GET", body: str = "", **headers: str
) -> tuple[int, str, Any]:
    """Send a request from elsewhere to env.example.com; return the status, the body, and the headers."""
    context = ssl.create_default_context(cafile=str(gateway.ca_file))
    connection = http.client.HTTPSConnection(
        "127.0.0.1", gateway.port, context=context, timeout=10, source_address=(ELSEWHERE, 0)
    )
    given = {"Host": f"env.example.com:{gateway.port}", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, given)
    response = connection.getresponse()
    answer = response.status, response.read().decode(), response.headers
    connection.close()
    return answer


def has_cut(base_url: str, count: int) -> bool:
    """Whether so many sessions of a server have been cut."""
    return metric(base_url, "openenv_sessions_cut_total") == count


def test_a_cut_of_all_clients_is_resumed(behind: tuple[DocumentedGateway, CountingServer]) -> None:
    gateway, server = behind
    trust: dict[str, Any] = {"base_url": gateway.base_url, "ca_file": gateway.ca_file}
    env = gym.make("openenv/remote", **trust)
    envs = gym.make_vec("openenv/remote", 3, **trust)
    client = GenericEnvClient(**trust)
    env.reset()
    envs.reset()
    client.reset()

    def step(number: int) -> None:
        assert env.step({"number": np.int64(number), "sleep_s": np.array(0.0)})[0]["number"] == number
        batch = {"number": np.arange(number + 1, number + 4), "sleep_s": np.zeros(3)}
        assert envs.step(batch)[0]["number"].tolist() == batch["number"].tolist()
        assert client.step({"number": number + 4}).observation["number"] == number + 4

    step(0)
    cuts: list[Callable[[], None]] = [gateway.reload, gateway.restart]
    for count, cut in enumerate(cuts, start=1):
        cut()
        wait_for(partial(has_cut, server.base_url, 5 * count), 10)
        step(5 * count)
    threading.Timer(0.2, gateway.restart, kwargs={"away_s": 1.0}).start()
    wait_for(partial(has_cut, server.base_url, 15), 10)
    step(15)  # while nothing listens
    env.close()
    envs.close()
    client.close()
    assert metric(server.base_url, "openenv_sessions_resumed_total") == 15
    assert sorted(server.steps_done()) == list(range(20))
    assert metric(server.base_url, "openenv_request_seconds_count", version="v1") == 0
    assert metric(server.base_url, "openenv_request_seconds_count", version="v2") > 0


def test_the_pages_and_routes_of_a_server_lead_back_through_the_gateway(
    behind: tuple[DocumentedGateway, CountingServer],
) -> None:
    gateway, server = behind
    assert ask(gateway, f"{PATH}/")[0] == 200
    status, page, _ = ask(gateway, f"{PATH}/docs")
    found = re.search(r"url: '(\S+)'", page)
    assert status == 200
    assert found is not None
    description = json.loads(ask(gateway, found[1])[1])
    [api] = description["servers"]
    assert "/reset" in description["paths"]
    assert ask(gateway, f"{api['url']}/reset", method="POST", body="{}")[0] == 200
    status, _, headers = ask(gateway, f"{PATH}/docs/")
    assert (status, headers["Location"]) == (307, f"https://env.example.com:{gateway.port}{PATH}/docs")
    assert metric(server.base_url, "openenv_draining") == 0  # without the path, too


def test_the_server_sees_its_clients_and_what_they_cannot_invent(
    behind: tuple[DocumentedGateway, CountingServer],
) -> None:
    gateway, server = behind
    assert ask(gateway, f"{PATH}/schema?mine", X_Forwarded_For="6.6.6.6")[0] == 200
    wait_for(lambda: "/schema?mine" in server.log(), 5)
    [line] = [line for line in server.log().splitlines() if "/schema?mine" in line]
    assert ELSEWHERE in line
    assert "6.6.6.6" not in line


def test_large_messages_pass_and_nginx_limits_bodies(
    kind: type[DocumentedGateway], behind: tuple[DocumentedGateway, CountingServer]
) -> None:
    gateway, _ = behind
    with GenericEnvClient(gateway.base_url, ca_file=gateway.ca_file) as client:
        client.reset()
        step = {"number": 30, "metadata": {"pad": "x" * 8_000_000}}
        assert client.step(step).observation["number"] == 30
    body = json.dumps({"action": {"number": 31, "metadata": {"pad": "x" * 2_000_000}}})
    status = ask(gateway, f"{PATH}/step", method="POST", body=body)[0]
    assert status == (413 if kind is Nginx else 200)


def test_pings_keep_a_connection_open_that_is_silent_or_in_a_long_step(
    kind: type[DocumentedGateway], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Counter):
        def step(self, action: CountAction) -> CountObservation:
            time.sleep(SILENT_S)
            return super().step(action)

    monkeypatch.setattr(transports, "PING_INTERVAL_S", PING_S)
    with (
        serving(create_app(Slow, CountAction, CountObservation)) as base_url,
        running(kind(tmp_path, [base_url], idle_s=IDLE_S)) as gateway,
        GenericEnvClient(gateway.base_url, ca_file=gateway.ca_file) as client,
    ):
        client.reset()
        time.sleep(SILENT_S)
        client.step({"amount": 1}, timeout_s=SILENT_S + 10)
        assert metric(base_url, "openenv_sessions_cut_total") == 0


def test_basic_auth_and_a_key_go_together(
    kind: type[DocumentedGateway], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENENV_API_KEY_HEADER", HEADER)
    basic = {"Authorization": f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}
    with monkeypatch.context() as patch:
        patch.setenv("OPENENV_API_KEY", KEY)
        app = create_app(Counter, CountAction, CountObservation)
    with (
        serving(app) as base_url,
        running(kind(tmp_path, [base_url], has_basic_auth=True)) as gateway,
    ):
        trust: dict[str, Any] = {"base_url": gateway.base_url, "ca_file": gateway.ca_file}
        for make in (openenv_gym.RemoteEnv, GenericEnvClient):
            for wrong in (
                {"api_key": KEY},
                {"headers": basic},
                {"api_key": "sesame-4712", "headers": basic},
            ):
                with pytest.raises(UnauthorizedError):
                    make(**trust, **wrong).reset()
            client = make(**trust, api_key=KEY, headers=basic)
            client.reset()
            client.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ForkedServer]]:
    with ForkServer() as forks:
        yield [
            ForkedServer(forks, tmp_path / "done", MAX_CONCURRENT_ENVS="64", **VARIABLES) for _ in range(2)
        ]


def active(servers: list[ForkedServer]) -> list[int]:
    """How many sessions each server has."""
    return [int(metric(server.base_url, "openenv_sessions_active")) for server in servers]


def _deeds(number: int) -> dict[str, Any]:
    """The actions of three slots."""
    return {
        "number": np.arange(number, number + 3),
        "seconds": np.zeros(3),
        "ends": np.zeros(3, np.int8),
        "reset_seconds": np.zeros(3),
    }


def cut(gateway: DocumentedGateway, turn: int) -> None:
    """Restart a gateway; in each second turn, a request comes before those that reconnect."""
    gateway.restart()
    if turn % 2:
        ask(gateway, f"{PATH}/schema")


def test_a_client_comes_back_to_its_server_through_a_sticky_balancer(
    kind: type[DocumentedGateway], servers: list[ForkedServer], tmp_path: Path
) -> None:
    with running(kind(tmp_path, [server.base_url for server in servers])) as gateway:
        trust: dict[str, Any] = {"base_url": gateway.base_url, "ca_file": gateway.ca_file}
        envs = gym.make_vec("openenv/remote", 3, **trust)
        clients = [GenericEnvClient(**trust) for _ in range(3)]
        envs.reset()
        for client in clients:
            client.reset()
        assert sum(active(servers)) == 6
        for turn in range(4):
            cut(gateway, turn)
            assert envs.step(_deeds(0))[0].tolist() == [turn + 1] * 3
            for client in clients:
                assert client.step({"number": 0}).observation["steps"] == turn + 1
        envs.close()
        for client in clients:
            client.close()


def test_round_robin_breaks_what_is_resumed_and_no_more(
    kind: type[DocumentedGateway], servers: list[ForkedServer], tmp_path: Path
) -> None:
    addresses = [server.base_url for server in servers]
    with running(kind(tmp_path, addresses, is_sticky=False)) as gateway:
        trust: dict[str, Any] = {"base_url": gateway.base_url, "ca_file": gateway.ca_file}
        with pytest.raises(CapacityError):
            gym.make_vec("openenv/remote", 65, **trust).reset()
        envs = gym.make_vec("openenv/remote", 3, on_session_lost="truncate", **trust)
        envs.reset()
        assert sorted(active(servers)) == [0, 3]
        losses = 0
        for turn in range(10):
            assert envs.step(_deeds(0))[0].shape == (3,)
            cut(gateway, turn)
            losses += envs.step(_deeds(0))[3].all()
        assert 0 < losses < 10
        envs.close()
        messages = []
        with GenericEnvClient(**trust) as client:
            for turn in range(10):
                client.reset()
                cut(gateway, turn)
                try:
                    client.step({"number": 0})
                except SessionLostError as lost:
                    messages.append(str(lost))
            client.reset()
            client.step({"number": 0})
        assert 0 < len(messages) < 10
        assert all("a load balancer chose another server" in message for message in messages)
        for path, body in {"/reset": {}, "/step": {"action": {"number": 0}}}.items():
            for _ in servers:
                assert ask(gateway, PATH + path, method="POST", body=json.dumps(body))[0] == 200
