"""Linux, macOS and Windows: the client uses nothing that one of them lacks."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from openenv_server import create_app

from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "openenv_gym").rglob("*.py"))

# These take file descriptors or signals, which Windows has not; mypy does not know that.
UNIX_KEYWORDS = {"pass_fds", "preexec_fn", "process_group"}
# They start servers, and `check_can_start` comes first.
STARTS_SERVERS = {"supervised_process.py", "supervisor.py"}

# Removes what Windows lacks, then uses the client like a trainer.
WITHOUT_UNIX = """
import asyncio, os, signal, socket, subprocess, sys, time
from types import SimpleNamespace

for module, names in {
    os: ("fork", "killpg", "register_at_fork", "sched_getaffinity", "wait", "getpgid"),
    signal: ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "pthread_sigmask"),
    socket: ("MSG_DONTWAIT", "SO_REUSEPORT", "TCP_KEEPIDLE", "TCP_KEEPINTVL"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

def missing(*_, **__):
    raise AttributeError("not on Windows")

socket.socket.sendmsg = socket.socket.recvmsg = missing  # of a type in C, so they cannot be deleted
os.kill = missing

import numpy as np
import openenv_gym
from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ConfigurationError
from openenv_gym.transport import unix_socket

unix_socket.sys = SimpleNamespace(platform="win32")
base_url, pinging = sys.argv[1:]

env = RemoteEnv(base_url)
env.reset()
assert env.step(np.int64(3))[0] == 3
envs = RemoteVectorEnv(base_url, 3)
envs.reset()
envs.send(np.array([1, 2, 3]))
while (ready := envs.recv(min_ready=3)).slots.size < 3:
    pass
assert envs.step(np.ones(3, np.int64))[0].tolist() == [2, 3, 4]

client = GenericEnvClient(base_url)
client.reset(episode_id="x" * 3_000_000)
assert len(client.state()["episode_id"]) == 3_000_000

idle = GenericEnvClient(pinging)  # its server gives up on clients that answer no ping
idle.reset()
time.sleep(3.5)
assert idle.step({"amount": 2}).observation["total"] == 2

async def drive():
    async with GenericEnvClient(base_url) as client:
        await client.reset()
        assert (await client.step({"amount": 4})).observation["total"] == 4

asyncio.run(drive())
for thing in (env, envs, client, idle):
    thing.close()
try:
    RemoteEnv(gym="CartPole-v1")
except ConfigurationError as error:
    assert "openenv serve" in str(error), error
    print("done")
"""


class Sharing(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = True


def test_the_client_works_without_what_windows_lacks(tmp_path: Path) -> None:
    app = create_app(Sharing, CountAction, CountObservation)
    # The published server pings from the event loop, as this one does without takeover.
    pings = {"ws": "websockets-sansio", "ws_ping_interval": 1.0, "ws_ping_timeout": 1.0}
    with running(app) as base_url, running(app, **pings) as pinging:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_UNIX, base_url, pinging],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_name_that_windows_lacks_is_used_unguarded() -> None:
    """mypy knows what the standard library lacks there, and understands the guards."""
    cache = ROOT / ".mypy_cache" / "win32"
    command = [sys.executable, "-m", "mypy", "--platform", "win32", "--cache-dir", cache, "openenv_gym"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stdout


@pytest.mark.unit
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_keyword_and_no_signal_that_windows_lacks(path: Path) -> None:
    if path.name in STARTS_SERVERS:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert not UNIX_KEYWORDS.intersection(keyword.arg or "" for keyword in node.keywords), node.lineno
            # Signal 0 is Ctrl-C there; `is_running` tells whether a process exists.
            assert ast.unparse(node.func) != "os.kill", node.lineno
