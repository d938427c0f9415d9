"""Checks that a server is still healthy."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from openenv_gym import GenericEnvClient, RemoteEnv
from openenv_gym.providers.process import ProcessProvider

# What it logs if the server itself, and not an environment, has failed.
_OWN_FAILURES = ("Exception in", "never retrieved", "never awaited", "Fatal error")


@contextmanager
def forgetful(server: ProcessProvider) -> Iterator[ProcessProvider]:
    """Runs a server that keeps no sessions of broken sockets: what is left behind is left for good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESUME_GRACE", "0")
        server.launch()
    try:
        yield server
    finally:
        server.stop()


def active_sessions(base_url: str) -> int:
    with urllib.request.urlopen(f"{base_url}/health", timeout=5) as answer:
        return int(json.load(answer)["active_sessions"])


def assert_good_clients_work(base_url: str) -> None:
    env = RemoteEnv(base_url)
    env.reset(seed=1)
    with GenericEnvClient(base_url) as client:
        client.reset(seed=1)
        assert client.state()["step_count"] == 0
    env.close()


def assert_all_sessions_end(base_url: str) -> None:
    deadline = time.monotonic() + 5
    while active := active_sessions(base_url):
        assert time.monotonic() < deadline, f"{active} sessions are left behind"
        time.sleep(0.02)


def assert_no_failure_of_its_own(server: ProcessProvider) -> None:
    log = server.logs()
    assert not any(failure in log for failure in _OWN_FAILURES), log
