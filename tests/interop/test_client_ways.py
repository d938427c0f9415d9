"""The published client and ours, in every way that published code uses them, on servers of both."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.peer import peer_python as make_peer_python

pytestmark = [pytest.mark.timeout(300)]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs" / "published-clients.md"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENENV_")}


@contextmanager
def served(python: Path) -> Iterator[list[str]]:
    """Serve the environments of `client_servers` with the `openenv` of an interpreter; give the base URLs."""
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(3)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        ports = [str(each.getsockname()[1]) for each in bound]
    command = [str(python), "-P", "-W", "ignore", str(HERE / "client_servers.py"), *ports]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            wait_until_healthy(url, process)
        yield urls
    finally:
        process.kill()
        process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        assert process.poll() is None, "the servers have ended"
        assert time.monotonic() < deadline, "the servers do not start"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except OSError:
            threading.Event().wait(0.1)


def run(python: Path, program: Path, *arguments: str, **variables: str) -> Any:
    done = subprocess.run(
        [str(python), "-P", "-W", "ignore", str(program), *arguments],
        env={**ENVIRONMENT, **variables},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def servers(peer_python: Path) -> Iterator[dict[str, list[str]]]:
    with served(peer_python) as theirs, served(Path(sys.executable)) as ours:
        yield {"theirs": theirs, "ours": ours}


def test_each_way_has_the_result_that_the_document_says(
    servers: dict[str, list[str]], peer_python: Path
) -> None:
    pythons = {"theirs": peer_python, "ours": Path(sys.executable)}
    program = HERE / "client_ways.py"
    with ThreadPoolExecutor(4) as pool:
        runs = {
            (client, server): pool.submit(run, python, program, *urls)
            for client, python in pythons.items()
            for server, urls in servers.items()
        }
        results = {kind: done.result() for kind, done in runs.items()}
    documented = dict(re.findall(r"^\| (.+) \| (equal|differs .)\s* \|$", DOCUMENT.read_text(), re.MULTILINE))
    ways = list(results["ours", "ours"])
    assert list(documented) == ways
    wrong = {}
    for way in ways:
        found = {kind: result[way] for kind, result in results.items()}
        shown = {json.dumps(result, sort_keys=True) for result in found.values()}
        if (len(shown) == 1) != (documented[way] == "equal") or '"raised ' in "".join(shown):
            wrong[way] = found
        ours = [found["ours", server] for server in servers]
        assert ours[0] == ours[1], f"{way}: ours differs between the servers"
    assert not wrong, json.dumps({way: list(map(str, found.items())) for way, found in wrong.items()})
    notes = re.findall(r"differs (.)", "".join(documented.values()))
    assert notes == re.findall(r"^([¹²³⁴-⁹]) ", DOCUMENT.read_text(), re.MULTILINE), "each has its reason"


def test_published_providers_start_servers_for_both_clients(
    servers: dict[str, list[str]], tmp_path: Path
) -> None:
    """They run with the published package in one environment; what they rent is replaced by a server here."""
    python = make_peer_python("openenv-openshell", "openenv-sprites", "gymnasium", "msgspec", "platformdirs")
    (tmp_path / "openenv_gym").symlink_to(ROOT / "openenv_gym")
    results = run(python, HERE / "provider_program.py", servers["ours"][0], PYTHONPATH=str(tmp_path))
    assert results["openenv_gym"] == results["openenv"]
    assert set(results["openenv"]) == {"sprites", "sprites, connect", "openshell"}
    for result in results["openenv"].values():
        assert result["totals"] == [3, 7]
        assert result["ended"]
