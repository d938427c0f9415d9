"""The HTTP routes."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import pytest
from openenv_server import create_app

from openenv_gym.contract import ServerMode
from openenv_gym.errors import ConfigurationError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(create_app(Counter, CountAction, CountObservation, env_name="the counter")) as base_url:
        yield base_url


def ask(url: str, body: Any = None, *, raw: bytes | None = None) -> tuple[int, Any]:
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_health_metadata_and_schema(url: str) -> None:
    status, health = ask(f"{url}/health")
    assert (status, health["status"], health["reasons"]) == (200, "healthy", [])
    assert (health["active_sessions"], health["max_sessions"], health["abandoned_threads"]) == (0, 64, 0)
    assert health["version"] == version("openenv-gym")
    assert health["uptime_s"] > 0
    metadata = ask(f"{url}/metadata")[1]
    assert metadata["name"] == "the counter"
    assert metadata["description"].startswith("Adds up.")
    schema = ask(f"{url}/schema")[1]
    assert schema["action"] == CountAction.model_json_schema()
    assert set(schema["observation"]["properties"]) == {"done", "reward", "truncated", "metadata", "total"}
    assert "step_count" in schema["state"]["properties"]


def test_reset_step_and_state_are_stateless(url: str) -> None:
    before = len(Counter.instances)
    assert ask(f"{url}/reset", {"seed": 3, "start": 1}) == (
        200,
        {
            "observation": {"total": 4, "metadata": {"fresh": True}},
            "reward": None,
            "done": False,
            "metadata": {"fresh": True},
        },
    )
    assert ask(f"{url}/reset", raw=b"")[0] == 200
    assert ask(f"{url}/state")[1]["step_count"] == 0
    assert [counter.closed for counter in Counter.instances[before:]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/step", {"action": {}}, 422),
        ("/step", {"action": {"amount": 1, "more": 1}}, 422),
        ("/step", {}, 422),
        ("/step", {"action": {"amount": 1}, "timeout_s": -1}, 422),
        ("/reset", {"seed": "x"}, 422),
        ("/reset", {"fail": True}, 500),
    ],
)
def test_what_is_refused(url: str, path: str, body: Any, status: int) -> None:
    answered, content = ask(f"{url}{path}", body)
    assert answered == status
    assert content["message"]
    assert content["code"] == ("VALIDATION_ERROR" if status == 422 else "EXECUTION_ERROR")


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 422, "VALIDATION_ERROR"),
        (b'{"action": {"amount": Infinity}}', 422, "VALIDATION_ERROR"),
        (b'{"action": {"amount": "\\ud800"}}', 422, "VALIDATION_ERROR"),
        (b"\xff", 400, "INVALID_JSON"),
        (b"[" * 10_000, 400, "INVALID_JSON"),
    ],
)
def test_what_is_not_for_json_is_refused_in_json(url: str, raw: bytes, status: int, code: str) -> None:
    answered, content = ask(f"{url}/step", raw=raw)
    assert (answered, content["code"]) == (status, code)
    assert content["message"]
    assert content["detail"]  # where clients of FastAPI's own look


def test_step_over_http() -> None:
    class Ready(Counter):
        def __init__(self) -> None:
            super().__init__()
            self.reset()

    with running(create_app(Ready, CountAction, CountObservation)) as url:
        status, content = ask(f"{url}/step", {"action": {"amount": 4}, "timeout_s": 5, "request_id": "r"})
        assert (status, content["observation"]["total"], content["reward"]) == (200, 4, 4.0)


def test_a_full_server_still_answers_single_requests() -> None:
    from openenv_gym import GenericEnvClient
    from openenv_gym.errors import CapacityError

    app = create_app(Counter, CountAction, CountObservation, max_concurrent_envs=1)
    with running(app) as url, GenericEnvClient(url) as client:
        client.reset(seed=1)
        assert ask(f"{url}/health")[1]["active_sessions"] == 1
        assert ask(f"{url}/reset", {"seed": 3})[1]["observation"]["total"] == 3
        assert ask(f"{url}/state")[1]["step_count"] == 0
        assert ask(f"{url}/metadata")[0] == 200
        assert ask(f"{url}/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})[0] == 200
        with ThreadPoolExecutor(4) as threads:
            answers = [*threads.map(lambda seed: ask(f"{url}/reset", {"seed": seed})[1], range(8))]
        assert [answer["observation"]["total"] for answer in answers] == [*range(8)]
        with pytest.raises(CapacityError):
            GenericEnvClient(url).reset()
        assert ask(f"{url}/health")[1]["active_sessions"] == 1
        assert client.step({"amount": 2}).observation["total"] == 3, "the session goes on"


def test_further_fields_of_a_step_reach_the_environment() -> None:
    class Named(Counter):
        def step(
            self, action: CountAction, timeout_s: float | None = None, **kwargs: Any
        ) -> CountObservation:
            return CountObservation(total=0, metadata={"timeout_s": timeout_s, **kwargs})

    with running(create_app(Named, CountAction, CountObservation)) as url:
        body = {"action": {"amount": 1}, "timeout_s": 3, "request_id": "r", "trace": [1]}
        assert ask(f"{url}/step", body)[1]["metadata"] == {"timeout_s": 3, "request_id": "r", "trace": [1]}


def test_a_server_in_production_has_no_routes_for_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def statuses(url: str) -> list[int]:
        return [ask(f"{url}/reset", {})[0], ask(f"{url}/step", {"action": {"amount": 1}})[0]] + [
            ask(f"{url}{path}")[0] for path in ("/state", "/schema", "/metadata", "/health")
        ]

    with running(create_app(Counter, CountAction, CountObservation, mode="Production")) as url:
        assert statuses(url) == [404, 404, 404, 200, 200, 200]
    monkeypatch.setenv("OPENENV_MODE", "production")
    with running(create_app(Counter, CountAction, CountObservation)) as url:
        assert statuses(url) == [404, 404, 404, 200, 200, 200]
    with running(create_app(Counter, CountAction, CountObservation, mode=ServerMode.SIMULATION)) as url:
        assert statuses(url)[:3] == [200, 500, 200]
    with pytest.raises(ConfigurationError, match="Unknown mode 'test': it is simulation or production"):
        create_app(Counter, CountAction, CountObservation, mode="test")


def test_the_page_is_shown_where_the_application_has_none() -> None:
    app = create_app(Counter, CountAction, CountObservation, title_override="Adding up")

    @app.get("/web")
    def page() -> dict[str, str]:
        return {"page": "mine"}

    with running(app) as url:
        assert ask(f"{url}/web") == (200, {"page": "mine"})
        with urllib.request.urlopen(f"{url}/", timeout=10) as response:
            assert "<h1>Adding up</h1>" in response.read().decode()
        assert ask(f"{url}/elsewhere")[0] == 404
        assert ask(f"{url}/openapi.json")[1]["info"]["title"] == "Adding up"


def test_the_documentation_has_the_models_of_the_answers(url: str) -> None:
    paths = ask(f"{url}/openapi.json")[1]["paths"]

    def answer(path: str, method: str) -> str:
        content = paths[path][method]["responses"]["200"]["content"]["application/json"]
        return str(content["schema"]["$ref"].rpartition("/")[2])

    assert [answer("/reset", "post"), answer("/step", "post")] == ["ResetResponse", "StepResponse"]
    assert answer("/state", "get") == "State"


def test_mcp_without_tools_answers_in_json_rpc(url: str) -> None:
    assert ask(f"{url}/mcp", {}) == (
        200,
        {
            "jsonrpc": "2.0",
            "id": None,
            "error": {"code": -32600, "message": "Not a request of JSON-RPC 2.0", "data": None},
        },
    )
    assert ask(f"{url}/mcp", {"id": "\ud800"})[1]["id"] == "\ud800"
    answer = ask(f"{url}/mcp", {"jsonrpc": "2.0", "id": 4, "method": "tools/list"})[1]
    assert (answer["id"], answer["error"]["code"]) == (4, -32601)


def test_the_landing_page_and_the_documentation(url: str) -> None:
    with urllib.request.urlopen(f"{url}/", timeout=10) as response:
        page = response.read().decode()
    assert "<h1>the counter</h1>" in page
    assert 'href="docs"' in page
    for path in ("/docs", "/redoc"):
        with urllib.request.urlopen(f"{url}{path}", timeout=10) as response:
            scripts = re.findall(r'(?:src|href)="([^"]+)"', response.read().decode())
        assert scripts
        for script in scripts:  # all of them from here
            assert script.startswith("/")
            with urllib.request.urlopen(f"{url}{script}", timeout=10) as response:
                assert response.status == 200
    paths = set(ask(f"{url}/openapi.json")[1]["paths"])
    assert paths >= {"/reset", "/step", "/state", "/health", "/metrics", "/metadata", "/schema", "/mcp"}


def test_without_gradio_a_page_is_where_spaces_look_for_it_unless_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("openenv_server.playground.mount.has_gradio", lambda: False)
    app = create_app(Counter, CountAction, CountObservation)
    assert not caplog.records
    with running(app) as url, urllib.request.urlopen(f"{url}/web", timeout=10) as response:
        assert b"pip install &#x27;openenv-gym[web]&#x27;" in response.read()
    monkeypatch.setenv("ENABLE_WEB_INTERFACE", "true")
    create_app(Counter, CountAction, CountObservation)
    assert "pip install 'openenv-gym[web]'" in caplog.text
    monkeypatch.setenv("ENABLE_WEB_INTERFACE", "false")
    with running(create_app(Counter, CountAction, CountObservation)) as url:
        assert ask(f"{url}/web")[0] == 404


def test_a_name_cannot_smuggle_html_into_the_page() -> None:
    app = create_app(Counter, CountAction, CountObservation, env_name="<script>alert(1)</script>")
    with running(app) as url, urllib.request.urlopen(f"{url}/", timeout=10) as response:
        assert b"<script>alert" not in response.read()


def test_an_application_finds_its_routes_by_path_and_replaces_them() -> None:
    app = create_app(Counter, CountAction, CountObservation)
    app.routes[:] = [
        route for route in app.routes if getattr(route, "path", None) not in ("/reset", "/health")
    ]

    @app.post("/reset")
    def reset() -> dict[str, str]:
        return {"use": "/ws"}

    with running(app) as url:
        assert ask(f"{url}/reset", {}) == (200, {"use": "/ws"})
        assert ask(f"{url}/health")[0] == 404
        assert ask(f"{url}/schema")[0] == 200
