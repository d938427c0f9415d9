"""A server makes its first environment when it starts, and says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openenv_server import create_app
from openenv_server.app import EnvironmentServer
from openenv_server.sessions import capacity

from openenv_gym import GenericEnvClient
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running, status_of

OPENENV = [sys.executable, "-m", "openenv_cli"]
APP = """
import os
from openenv_server import create_app
from tests.support.environments import CountAction, Counter, CountObservation
print("imported")
def make_counter():
    FAILURE
    print("made")
    return Counter()
app = create_app(make_counter, CountAction, CountObservation)
"""


def app(factory: Any = Counter) -> FastAPI:
    return create_app(factory, CountAction, CountObservation)


def run(folder: Path, *command: str, failure: str) -> subprocess.CompletedProcess[str]:
    (folder / "counting.py").write_text(APP.replace("FAILURE", failure))
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [*command, "--port", "0"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ('os.environ["MY_KEY"]', "7: KeyError: 'MY_KEY'. Set the environment variable MY_KEY."),
        ('open("/no/such/map.json")', "7: FileNotFoundError: [Errno 2] No such file or directory"),
        ("raise SystemExit(3)", "7: SystemExit: 3"),
    ],
)
def test_serve_ends_and_says_what_the_factory_lacks(tmp_path: Path, failure: str, said: str) -> None:
    done = run(tmp_path, *OPENENV, "serve", "--app", "counting:app", failure=failure)
    assert done.returncode == 2
    assert f"make_counter() failed at {tmp_path / 'counting.py'}:{said}" in done.stderr
    assert done.stdout == ""


def test_workers_and_plain_uvicorn_end_too(tmp_path: Path) -> None:
    failure = 'os.environ["MY_KEY"]'
    serve = [*OPENENV, "serve", "--app", "counting:app", "--workers", "2"]
    uvicorn = [sys.executable, "-m", "uvicorn", "counting:app"]
    for command in (serve, uvicorn):
        done = run(tmp_path, *command, failure=failure)
        assert done.returncode != 0
        assert "Set the environment variable MY_KEY." in done.stderr


def test_the_first_line_of_standard_output_is_the_url(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(APP.replace("FAILURE", "os.system('echo from a child')"))
    server = subprocess.Popen(
        [*OPENENV, "serve", "--app", "counting:app", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline().startswith("http://127.0.0.1:")
    server.terminate()
    rest, log = server.communicate(timeout=20)
    assert rest == ""
    assert {"imported", "made", "from a child"} <= set(log.splitlines())


def test_the_first_session_gets_the_environment_that_was_made_and_others_get_their_own() -> None:
    Counter.instances.clear()
    with running(app()) as url:
        assert len(Counter.instances) == 1
        assert status_of(f"{url}/health")[1]["active_sessions"] == 0
        with GenericEnvClient(url) as one:
            one.reset()
            assert len(Counter.instances) == 1
            with GenericEnvClient(url) as other:
                other.reset()
                assert len(Counter.instances) == 2
    assert [counter.closed for counter in Counter.instances] == [1, 1]


def test_without_a_session_it_is_closed_when_the_server_stops() -> None:
    Counter.instances.clear()
    with running(app()):
        pass
    assert [counter.closed for counter in Counter.instances] == [1]


def test_a_slow_factory_delays_the_first_session_and_not_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "TRIAL_S", 0.05)
    Counter.instances.clear()

    def slow() -> Counter:
        time.sleep(1)
        return Counter()

    with running(app(slow)) as url:
        assert Counter.instances == []
        with GenericEnvClient(url) as client:
            client.reset()
    assert len(Counter.instances) == 1


def test_in_an_application_of_ones_own_its_lifespan_comes_first() -> None:
    from contextlib import asynccontextmanager

    events: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        events.append("begins")
        yield
        events.append("ends")

    def make() -> Counter:
        events.append("made")
        return Counter()

    own = FastAPI(lifespan=lifespan)
    EnvironmentServer(make, CountAction, CountObservation).register_routes(own)
    with running(own):
        pass
    assert events == ["begins", "made", "ends"]
