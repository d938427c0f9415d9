"""The published package's clients drive our servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openenv_server import create_app

from openenv_gym import GenericEnvClient
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running

pytestmark = [pytest.mark.timeout(300)]

GENERIC = """
import json, sys
from openenv.core import GenericEnvClient
seen = []
with GenericEnvClient(base_url=sys.argv[1]).sync() as client:
    for kind, data in json.loads(sys.argv[2]):
        try:
            result = client.reset(**data) if kind == "reset" else client.step(data)
            seen.append([result.observation, result.reward, result.done])
        except Exception as error:
            seen.append(["error", str(error)])
    state = client.state()
    seen.append(state if isinstance(state, dict) else state.model_dump())
print(json.dumps(seen))
"""

TYPED = """
import json, sys
from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.types import Action, Observation, State

class Add(Action):
    amount: int

class Total(Observation):
    total: int

class Client(EnvClient[Add, Total, State]):
    def _step_payload(self, action):
        return {"amount": action.amount}
    def _parse_result(self, payload):
        fields = payload["observation"]
        observation = Total(total=fields["total"], done=payload["done"], reward=payload["reward"])
        return StepResult(observation=observation, reward=payload["reward"], done=payload["done"])
    def _parse_state(self, payload):
        return State(**payload)

with Client(base_url=sys.argv[1]).sync() as client:
    client.reset(seed=2)
    result = client.step(Add(amount=9))
    print(json.dumps([result.observation.total, result.reward, result.done, client.state().step_count]))
"""


def in_peer(python: Path, code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [str(python), "-P", "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def drive_ours(base_url: str, calls: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    seen = []
    with GenericEnvClient(base_url) as client:
        for kind, data in calls:
            result = client.reset(**data) if kind == "reset" else client.step(data)
            seen.append([result.observation, result.reward, result.done])
    return seen


def test_a_gymnasium_environment(peer_python: Path, serve_gym: Callable[[str], str]) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [("reset", {"seed": 7})]
    calls += [("step", {"action": i % 2}) for i in range(12)]
    base_url = serve_gym("CartPole-v1")
    *theirs, state = in_peer(peer_python, GENERIC, base_url, json.dumps(calls))
    assert theirs == drive_ours(base_url, calls)
    assert state["step_count"] == 12


def test_a_typed_environment_that_raises_and_goes_on(peer_python: Path) -> None:
    calls = [
        ("reset", {"seed": 1}),
        ("step", {"amount": 4}),
        ("step", {"amount": 10}),
        ("step", {}),
        ("step", {"amount": 5}),
    ]
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        seen = in_peer(peer_python, GENERIC, base_url, json.dumps(calls))
    first, second, raised, refused, third, state = seen
    assert (first[0]["total"], first[0]["metadata"], first[1:]) == (1, {"fresh": True}, [None, False])
    assert (second[0]["total"], second[1:]) == (5, [4.0, False])
    assert raised[0] == "error"
    assert "RuntimeError: too much" in raised[1]
    assert refused[0] == "error"
    assert "amount: Field required" in refused[1]
    assert (third[0]["total"], third[1:]) == (10, [5.0, True])
    assert state["step_count"] == 2


def test_a_client_with_its_own_types(peer_python: Path) -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        assert in_peer(peer_python, TYPED, base_url) == [11, 9.0, True, 1]


WITH_KEY = """
import json, sys
from openenv.core import GenericEnvClient
seen = []
for headers in (None, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sesame"}):
    try:
        with GenericEnvClient(base_url=sys.argv[1], headers=headers).sync() as client:
            seen.append(client.reset(start=3).observation["total"])
    except Exception as error:
        seen.append("401" if "401" in str(error) else repr(error))
print(json.dumps(seen))
"""


def test_their_client_shows_a_key_and_no_origin(peer_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_API_KEY", "sesame")
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        assert in_peer(peer_python, WITH_KEY, base_url) == ["401", "401", 3]
