"""The contenders: each takes a number of steps and returns how long they took."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import gymnasium as gym
import numpy as np
import websocket

from openenv_gym import RemoteEnv
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.session.link_speed import LinkSpeed
from tests.support.peer import both_python, package_python, peer_python
from tests.support.peer import peer_server as serve_peer
from tests.support.proxy import FaultProxy
from tests.trainers.venvs import envpool_python, torch_python, trainers_python

_PEER = Path(__file__).parent / "peer"


class Contender(Protocol):
    """Takes steps."""

    def run(self, steps: int) -> float:
        """Take some steps; return the seconds that they took."""


class VectorSteps:
    """Steps of a vector environment, with the same actions each time."""

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self.envs = envs
        envs.reset(seed=0)
        self._actions = envs.action_space.sample()
        self.run(5)  # by then the server has measured its environments

    def run(self, steps: int) -> float:
        step, actions = self.envs.step, self._actions
        begin = time.perf_counter()
        for _ in range(steps):
            step(actions)
        return time.perf_counter() - begin


class UncompressedSteps(VectorSteps):
    """The same for a client that asks for nothing compressed."""

    def run(self, steps: int) -> float:
        with mock.patch.object(LinkSpeed, "is_slow", return_value=False):
            return super().run(steps)


class SingleSteps:
    """Steps of one `RemoteEnv`. Resets do not count, because the peer's environment resets itself."""

    def __init__(self, env: RemoteEnv) -> None:
        self._env = env
        env.reset(seed=0)
        self.round_trips_s: list[float] = []
        self.run(10)

    def run(self, steps: int) -> float:
        took = 0.0
        for number in range(steps):
            begin = time.perf_counter()
            _, _, terminated, truncated, _ = self._env.step(number % 2)
            step_took = time.perf_counter() - begin
            took += step_took
            self.round_trips_s.append(step_took)
            if terminated or truncated:
                self._env.reset()
        return took


class Echoes:
    """Round trips to a bare WebSocket server."""

    def __init__(self, url: str, size: int) -> None:
        self._socket = websocket.create_connection(
            url, sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)], skip_utf8_validation=True
        )
        self._payload = bytes(size)
        self.round_trips_s: list[float] = []

    def run(self, steps: int) -> float:
        send, receive, payload = self._socket.send_binary, self._socket.recv, self._payload
        took = 0.0
        for _ in range(steps):
            begin = time.perf_counter()
            send(payload)
            receive()
            round_trip = time.perf_counter() - begin
            took += round_trip
            self.round_trips_s.append(round_trip)
        return took


class PeerSteps:
    """Steps of another library's client, in a separate process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._read() == "ready"
        self.run(5)

    def run(self, steps: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the client has exited"
        return line


class BesideTabs:
    """Steps of another contender, while tabs of the server's playground autoplay."""

    def __init__(self, contender: Contender, tabs: subprocess.Popen[str]) -> None:
        self._contender, self._tabs = contender, tabs

    def run(self, steps: int) -> float:
        self._turn("on")
        took = self._contender.run(steps)
        self._turn("off")
        return took

    def _turn(self, how: str) -> None:
        assert self._tabs.stdin is not None
        assert self._tabs.stdout is not None
        self._tabs.stdin.write(f"{how}\n")
        self._tabs.stdin.flush()
        assert self._tabs.stdout.readline().strip() == how, "the tabs have gone"


class Sleeps:
    """Sleeps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def run(self, steps: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            time.sleep(self._seconds)
        return time.perf_counter() - begin


@contextlib.contextmanager
def serving(
    gym_id: str, *, max_sessions: int = 1100, workers: int = 1, vectorized: bool = False
) -> Iterator[str]:
    """Serve a Gymnasium environment with our server; yields its base URL."""
    provider = ProcessProvider(gym=gym_id, max_sessions=max_sessions, workers=workers, vectorized=vectorized)
    with provider as server:
        yield server.base_url


@contextlib.contextmanager
def remote_vector(
    base_url: str, count: int, *, steps: type[VectorSteps] = VectorSteps, **keywords: Any
) -> Iterator[VectorSteps]:
    """Make our vector environment."""
    envs = gym.make_vec("openenv/remote", count, base_url=base_url, **keywords)
    try:
        yield steps(envs)
    finally:
        envs.close()


@contextlib.contextmanager
def slow_link(base_url: str, bits_per_s: float) -> Iterator[str]:
    """Forward to a server over a slow network; yields the base URL there."""
    with FaultProxy(base_url, faults={}, bytes_per_s=bits_per_s / 8) as proxy:
        yield proxy.base_url


@contextlib.contextmanager
def envpool_server(env_id: str, count: int) -> Iterator[str]:
    """Serve environments of EnvPool; yields the base URL."""
    options = ("--envpool", env_id, "--max-sessions", str(count), "--port", "PORT")
    command = (str(envpool_python()), "-m", "openenv_cli", "serve", *options)
    with serve_peer(*command, stdout=subprocess.DEVNULL) as base_url:
        yield base_url


@contextlib.contextmanager
def envpool_local(env_id: str, count: int) -> Iterator[PeerSteps]:
    """Run EnvPool's own environments, in its synchronous mode."""
    with _steps_of(envpool_python(), "envpool_steps.py", env_id, str(count)) as steps:
        yield steps


@contextlib.contextmanager
def ppo(kind: str, base_url: str) -> Iterator[PeerSteps]:
    """Train with PPO: ``sync``, ``remote`` or ``halves``. A step is an update."""
    with _steps_of(torch_python(), "ppo.py", kind, base_url) as steps:
        yield steps


@contextlib.contextmanager
def local_vector(gym_id: str, count: int, kind: str, **keywords: Any) -> Iterator[VectorSteps]:
    """Make Gymnasium's own vector environment: ``sync``, ``async``, or the ``vector_entry_point``."""
    envs = gym.make_vec(gym_id, count, kind, **keywords)
    try:
        yield VectorSteps(envs)
    finally:
        envs.close()


@contextlib.contextmanager
def remote_single(base_url: str) -> Iterator[SingleSteps]:
    """Make our environment of one session."""
    env = RemoteEnv(base_url)
    try:
        yield SingleSteps(env)
    finally:
        env.close()


@contextlib.contextmanager
def peer_server(kind: str) -> Iterator[str]:
    """Run the published package's server; yields its base URL."""
    with serve_peer(peer_python("gymnasium"), _PEER / "server.py", kind, "PORT") as base_url:
        yield base_url


@contextlib.contextmanager
def both_server(kind: str) -> Iterator[str]:
    """Run the published package's CartPole with both packages installed; yields its base URL.

    Args:
        kind: Whose server it is, ``ours`` or ``published``.
    """
    options = ("--app", "app:app", "--server", kind, "--port", "PORT")
    command = (str(both_python()), "-m", "openenv_cli", "serve", *options)
    with serve_peer(*command, cwd=_PEER, stdout=subprocess.DEVNULL) as base_url:
        yield base_url


@contextlib.contextmanager
def peer_client(base_url: str, sessions: int) -> Iterator[PeerSteps]:
    """Run the published package's client."""
    with _steps_of(peer_python("gymnasium"), "client.py", base_url, str(sessions)) as steps:
        yield steps


@contextlib.contextmanager
def remote_gym_client() -> Iterator[PeerSteps]:
    """Run the client and the server of the package remote-gym, with the older packages that it works with."""
    python = package_python(
        *("remote-gym==0.7.3", "gymnasium<1", "dm-env-rpc==1.1.6"),
        *("numpy<2", "opencv-python<4.12", "setuptools<81"),
    )
    with _steps_of(python, "remotegym.py", str(_free_port())) as steps:
        yield steps


@contextlib.contextmanager
def async_clients(kind: str, base_url: str, sessions: int) -> Iterator[PeerSteps]:
    """Run many clients in one event loop, each in its own task.

    Args:
        kind: Whose clients, ``ours`` or ``published``.
        base_url: The server.
        sessions: The number of clients.
    """
    python, package = {
        "ours": (Path(sys.executable), "openenv_gym"),
        "published": (peer_python("gymnasium"), "openenv.core"),
    }[kind]
    with _steps_of(python, "clients.py", package, base_url, str(sessions)) as steps:
        yield steps


@contextlib.contextmanager
def sb3_vec_env(kind: str, count: int, base_url: str) -> Iterator[PeerSteps]:
    """Run a vector environment of Stable-Baselines3: ``remote``, ``dummy`` or ``subproc``."""
    with _steps_of(trainers_python(), "sb3.py", kind, str(count), base_url) as steps:
        yield steps


@contextlib.contextmanager
def _steps_of(python: Path, program: str, *arguments: str) -> Iterator[PeerSteps]:
    command = [str(python), str(_PEER / program), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield PeerSteps(process)
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextlib.contextmanager
def playground_tabs(base_url: str, count: int, steps_per_s: float) -> Iterator[subprocess.Popen[str]]:
    """Open tabs of a server's playground, which autoplay beside a `BesideTabs`."""
    command = [sys.executable, "-m", "benchmarks.playground", base_url, str(count), str(steps_per_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready", "the playground has no tabs"
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextlib.contextmanager
def echo_server(size: int) -> Iterator[Echoes]:
    """Run a WebSocket echo server in a separate process; yields its client."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.echo", str(port)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                client = Echoes(f"ws://127.0.0.1:{port}/", size)
                break
            except OSError:
                assert process.poll() is None, "the echo server has exited"
                assert time.monotonic() < deadline, "the echo server did not start"
                time.sleep(0.1)
        client.run(50)
        yield client
    finally:
        process.terminate()
        process.wait(timeout=20)


def percentile_us(seconds: list[float], percent: float) -> float:
    """Return a percentile of durations, in microseconds."""
    return float(np.percentile(seconds, percent)) * 1e6


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
