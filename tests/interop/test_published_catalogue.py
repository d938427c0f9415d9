"""The environments of the published catalogue: on both servers, with `gym.make` and with their client.

Set ``OPENENV_UPDATE_DOCS=1`` to write the table in docs/published-environments.md again, and read the diff.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import openenv_gym  # noqa: F401  # registers openenv/remote
from openenv_gym.errors import CapacityError, OpenEnvError
from tests.interop.published_envs.folders import write
from tests.interop.published_envs.table import ENVIRONMENTS, Published
from tests.support.servers import status_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "published-environments.md"
PROGRAMS = Path(__file__).parent / "published_envs"
SERVERS = ("theirs", "ours")
STEPS = 3
START_S = 120.0

pytestmark = [pytest.mark.timeout(600)]

VALUES = {
    "int": 1,
    "str": "a",
    "list[int]": [1],
    "list[float]": [0.5],
    "List[float]": [0.5],
    "MoveAction": "UP",
    "Literal": "ListToolsAction",
}

Outcome = tuple[str, Any]  # "yes" or why not, and what was seen
Outcomes = dict[tuple[str, str, str], Outcome]  # by environment, server and way


@contextmanager
def served(python: Path | str, folders: list[Path], log: Path) -> Iterator[dict[str, str]]:
    """Serve folders with the package that an interpreter has; give their addresses by name."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(python), str(PROGRAMS / "serve_all.py"), *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdin is not None
            ports = json.loads(process.stdout.readline())
            try:
                yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
            finally:
                process.stdin.close()


def wait_until_healthy(addresses: list[str], logs: list[Path]) -> None:
    deadline = time.monotonic() + START_S
    for address in addresses:
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                written = "\n".join(log.read_text()[-3000:] for log in logs)
                assert time.monotonic() < deadline, f"{address} did not start:\n{written}"
                time.sleep(0.2)


def play(base_url: str) -> list[Any]:
    env = gym.make("openenv/remote", base_url=base_url)
    try:
        env.action_space.seed(1)
        observation, _ = env.reset(seed=1)
        seen: list[Any] = [observation]
        for _ in range(STEPS):
            assert env.observation_space.contains(observation)
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            seen.append([observation, reward, terminated, truncated])
        return [repr(part) for part in seen]
    finally:
        env.close()


def play_two(base_url: str) -> None:
    envs = gym.make_vec("openenv/remote", num_envs=2, base_url=base_url)
    try:
        envs.action_space.seed(1)
        observations, _ = envs.reset(seed=1)
        for _ in range(STEPS):
            assert envs.observation_space.contains(observations)
            observations, rewards, *_ = envs.step(envs.action_space.sample())
            assert rewards.shape == (2,)
    finally:
        envs.close()


def outcome_of(play: Callable[[str], Any], base_url: str) -> Outcome:
    try:
        return "yes", play(base_url)
    except CapacityError:
        return "one session", None
    except OpenEnvError as error:
        return f"no: {type(error).__name__}", str(error)


def play_with_their_client(python: Path, servers: dict[str, dict[str, str]]) -> Outcomes:
    asked = [
        (published, server, [servers[server][published.name], payload_of(published)])
        for published in ENVIRONMENTS
        for server in SERVERS
    ]
    done = subprocess.run(
        [str(python), str(PROGRAMS / "their_client.py")],
        input=json.dumps([given for *_, given in asked]),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    outcomes: Outcomes = {}
    for (published, server, _), answer in zip(asked, json.loads(done.stdout), strict=True):
        said = answer.get("error", "")
        outcomes[published.name, server, "client"] = (
            (f"no: {said.partition(':')[0]}", said) if said else ("yes", answer["played"])
        )
    return outcomes


def payload_of(published: Published) -> dict[str, Any] | None:
    """An action of the required fields; None where tools are called."""
    if published.name == "agent_world_model_env":
        return {"type": "call_tool", "tool_name": "add_user", "arguments": {"name": "Eve"}}
    if published.tools:
        return None
    required = re.findall(r"^(\w+): ([^=]+?)(?: = Field\(\.\.\..*)?$", published.action, flags=re.MULTILINE)
    return {name: VALUES[kind.partition('["')[0]] for name, kind in required}


def disabled_routes(base_url: str) -> list[int]:
    """The statuses of what agent_world_model_env's application does away with, and of what it adds."""
    return [
        status_of(f"{base_url}{path}", body)[0]
        for path, body in (("/reset", {}), ("/step", {}), ("/stats", None))
    ]


@pytest.fixture(scope="module")
def outcomes(peer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    parent = tmp_path_factory.mktemp("envs")
    folders = [write(published, parent) for published in ENVIRONMENTS]
    logs = [parent / "theirs.log", parent / "ours.log"]
    found: Outcomes = {}
    with served(peer_python, folders, logs[0]) as theirs, served(sys.executable, folders, logs[1]) as ours:
        servers = {"theirs": theirs, "ours": ours}
        wait_until_healthy([*theirs.values(), *ours.values()], logs)
        for published in ENVIRONMENTS:
            for server in SERVERS:
                address = servers[server][published.name]
                found[published.name, server, "make"] = outcome_of(play, address)
                found[published.name, server, "make_vec"] = outcome_of(play_two, address)
        for server in SERVERS:
            address = servers[server]["agent_world_model_env"]
            found["agent_world_model_env", server, "routes"] = "yes", disabled_routes(address)
        return found | play_with_their_client(peer_python, servers)


def table(outcomes: Outcomes) -> str:
    lines = [
        "| environment | | theirs: `make` | `make_vec` | client | ours: `make` | `make_vec` | client |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for published in ENVIRONMENTS:
        shape = {
            "tools": bool(published.tools),
            "rubric": "rubric" in published.made_with,
            "transform": "transform" in published.made_with,
            "no manifest": not published.has_manifest,
            "no JSON Schema": "core_schema" in published.models,
            "own base models": published.imports == "none",
        }
        cells = [
            outcomes[published.name, server, way][0]
            for server in SERVERS
            for way in ("make", "make_vec", "client")
        ]
        marks = ", ".join(mark for mark, holds in shape.items() if holds)
        lines.append(f"| {' | '.join([published.name, marks, *cells])} |")
    return "\n".join(lines) + "\n"


def test_what_happens_is_what_the_documentation_says(outcomes: Outcomes) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    written = re.search(r"^\| environment \|.*\n(?:\|.*\n)+", document, flags=re.MULTILINE)
    assert written is not None
    if os.environ.get("OPENENV_UPDATE_DOCS"):
        DOCUMENT.write_text(document.replace(written[0], table(outcomes)), encoding="utf-8")
    else:
        assert written[0] == table(outcomes), {
            key: value for key, value in outcomes.items() if value[0] != "yes"
        }


def test_nothing_fails_on_our_server(outcomes: Outcomes) -> None:
    failed = {key: value for key, value in outcomes.items() if key[1] == "ours" and value[0] != "yes"}
    limited = {
        name for (name, _, way), (said, _) in failed.items() if (way, said) == ("make_vec", "one session")
    }
    assert limited == {"maze_env", "unity_env"}  # which say so themselves
    assert len(failed) == len(limited), failed


def test_episodes_are_the_same_on_both_servers(outcomes: Outcomes) -> None:
    for published in ENVIRONMENTS:
        for way in ("make", "client"):
            theirs, ours = (outcomes[published.name, server, way] for server in SERVERS)
            assert theirs[0] != "yes" or without_scores(ours) == theirs, (published.name, way)


def test_an_application_changes_its_routes(outcomes: Outcomes) -> None:
    for server in SERVERS:
        assert outcomes["agent_world_model_env", server, "routes"] == ("yes", [400, 400, 200])


def without_scores(seen: Any) -> Any:
    """What was seen, without the scores of a rubric's parts, which only our server has."""
    if isinstance(seen, dict):
        return {name: without_scores(part) for name, part in seen.items() if name != "rubric_scores"}
    return type(seen)(map(without_scores, seen)) if isinstance(seen, list | tuple) else seen
