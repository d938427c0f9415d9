"""Large messages in the memory that a client and a server on one machine share."""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import SessionLostError
from openenv_gym.transport import blocking, shared_memory
from openenv_gym.transport.blocking import BlockingConnection, run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.transport.shared_memory import REFERENCE_SIZE, SMALLEST, SharedMemory
from openenv_gym.wire.framing import BadFrameError
from tests.support.processes import serving
from tests.support.servers import running
from tests.support.tls import cutting_proxy
from tests.support.vectors import assert_equal
from tests.support.waiting import wait_for

if sys.platform != "linux":
    pytest.skip("Linux only", allow_module_level=True)

import fcntl

LARGE = 40_000
MOST = 2**28


class Side:
    """Both sides of one memory; the server sends."""

    def __init__(self) -> None:
        descriptor = SharedMemory.create()
        self.server = SharedMemory(descriptor, is_client=False)
        self.client = SharedMemory(descriptor, is_client=True)
        os.close(descriptor)

    def pass_on(self, *parts: bytes) -> memoryview | None:
        """What the client reads of a message that the server writes; None if it has to go over the socket."""
        reference = self.server.write(parts, sum(map(len, parts)))
        return None if reference is None else self.client.read(*reference, MOST)


@pytest.fixture
def sides() -> Side:
    return Side()


# --- areas ------------------------------------------------------------------------------------------------


@pytest.mark.unit
def test_a_message_arrives_in_both_directions(sides: Side) -> None:
    assert sides.pass_on(b"a" * LARGE, b"", b"b" * LARGE) == b"a" * LARGE + b"b" * LARGE
    reference = sides.client.write([b"c" * LARGE], LARGE)
    assert reference is not None
    assert sides.server.read(*reference, MOST) == b"c" * LARGE


@pytest.mark.unit
def test_huge_messages_go_over_the_socket(sides: Side) -> None:
    assert sides.pass_on(*[bytes(2**20)] * 65) is None


@pytest.mark.unit
@pytest.mark.parametrize(("size", "sent"), [(100, 100), (SMALLEST - 1, SMALLEST - 1), (SMALLEST, 16)])
def test_only_large_messages_go_through_the_memory(sides: Side, size: int, sent: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames = FrameSocket(ours, is_client=False, max_size=MOST, memory=sides.server)
        frames.send(b"a" * (size - 10), b"b" * 10)
        head = 2 if sent < 126 else 4
        assert len(theirs.recv(2 * SMALLEST)) == head + sent


@pytest.mark.unit
def test_only_references_are_taken_for_references(sides: Side) -> None:
    reference = sides.server.write([bytes(LARGE)], LARGE)
    assert reference is not None
    assert len(reference[0]) == REFERENCE_SIZE
    assert sides.client.is_reference(*reference)
    for payload in (bytes(REFERENCE_SIZE), b"\x0c\x00\x00\x00" + b"\xff" * (REFERENCE_SIZE - 4)):
        assert not sides.client.is_reference(payload)


@pytest.mark.unit
@pytest.mark.parametrize("payload", [b"", b"\xff" * 15, b"\xff" * 17, bytes(16)])
def test_other_messages_arrive_as_they_are(sides: Side, payload: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = FrameSocket(ours, is_client=False, max_size=MOST, memory=sides.server)
        receiver = FrameSocket(theirs, is_client=True, max_size=MOST, memory=sides.client)
        sender.send(payload)
        assert receiver.receive()[1] == payload


@pytest.mark.unit
def test_a_message_stays_while_something_refers_to_it(sides: Side) -> None:
    held = []
    for number in range(8):
        message = sides.pass_on(bytes([number]) * LARGE)
        assert message is not None
        held.append(np.frombuffer(message[8:], np.uint8)[5:])
        del message
    assert sides.pass_on(bytes(LARGE)) is None  # over the socket: all areas are in use
    assert [set(array.tolist()) for array in held] == [{number} for number in range(8)]
    del held[3]
    assert sides.pass_on(b"x" * LARGE) == b"x" * LARGE
    assert [int(array[0]) for array in held] == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.unit
def test_arrays_outlive_the_connection(sides: Side) -> None:
    message = sides.pass_on(b"a" * LARGE)
    assert message is not None
    array = np.frombuffer(message, np.uint8)
    del sides.server, sides.client, message
    gc.collect()
    assert (array == ord("a")).all()


@pytest.mark.unit
def test_what_a_forked_child_drops_is_still_in_use(sides: Side) -> None:
    message = sides.pass_on(b"a" * LARGE)
    if (pid := os.fork()) == 0:
        try:
            del message
            gc.collect()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert sides.pass_on(b"b" * LARGE) == b"b" * LARGE
    assert message == b"a" * LARGE


@pytest.mark.unit
def test_memory_is_taken_when_it_is_written_and_given_back_at_the_end() -> None:
    def shared_kb() -> int:
        return int(Path("/proc/self/status").read_text().partition("RssShmem:")[2].split()[0])

    before = shared_kb()
    sides = Side()
    assert shared_kb() - before < 1000
    sides.pass_on(bytes(2**25))
    assert shared_kb() - before > 2**15 - 1000
    del sides
    gc.collect()
    assert shared_kb() - before < 1000


@pytest.mark.unit
def test_a_message_goes_over_the_socket_if_memory_is_short(
    sides: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(begin: int, size: int) -> None:
        raise OSError(14, "Bad address")

    monkeypatch.setattr(sides.server, "_populate", fail)
    assert sides.pass_on(bytes(LARGE)) is None


# --- hostile peers ----------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(
    ("area", "size", "reason"),
    [
        (8, LARGE, "outside of the shared memory"),
        (2**32 - 1, LARGE, "outside of the shared memory"),
        (0, 0, "outside of the shared memory"),
        (0, 2**26 + 1, "outside of the shared memory"),
        (0, 2**64 - 1, "outside of the shared memory"),
        (1, LARGE, "has no new message"),
        (0, 2 * LARGE, "exceeds the limit of 50,000"),
    ],
)
def test_a_wrong_reference_is_refused(sides: Side, area: int, size: int, reason: str) -> None:
    sides.server.write([bytes(LARGE)], LARGE)  # in area 0
    with pytest.raises(BadFrameError, match=reason):
        sides.client.read(struct.pack("<IIQ", 2**32 - 1, area, size), 50_000)


@pytest.mark.unit
def test_a_message_cannot_be_sent_twice_while_it_is_read(sides: Side) -> None:
    reference = sides.server.write([bytes(LARGE)], LARGE)
    assert reference is not None
    message = sides.client.read(*reference, MOST)
    with pytest.raises(BadFrameError, match="has no new message"):
        sides.client.read(*reference, MOST)
    assert message == bytes(LARGE)


@pytest.mark.unit
def test_the_memory_can_not_be_taken_away() -> None:
    descriptor = SharedMemory.create()
    for size in (0, 2**40):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(descriptor)


@pytest.mark.unit
@pytest.mark.parametrize("kind", ["small", "not sealed", "a file", "not readable"])
def test_other_memory_is_refused(kind: str, tmp_path: Path) -> None:
    size = 4096 if kind == "small" else shared_memory._SIZE
    if kind == "a file":
        descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    elif kind == "not readable":
        descriptor = os.pipe()[0]
    else:
        descriptor = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    if kind != "not readable":
        os.ftruncate(descriptor, size)
    with pytest.raises(OSError):  # noqa: PT011 - the reasons are the kernel's, or ours
        SharedMemory(descriptor, is_client=True)
    os.close(descriptor)


# --- environments -----------------------------------------------------------------------------------------


class Mirror(gym.Env[Any, Any]):
    """Observes its action; both are large."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = spaces.Box(-9.0, 9.0, (100, 50), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.uniform(-9, 9, (100, 50)), {}

    def step(self, action: Any) -> Any:
        return action.copy(), float(action.sum()), bool(action[0, 0] > 7), False, {}


@pytest.fixture(scope="module")
def mirrors() -> Iterator[str]:
    factory, models = gymnasium_factory(Mirror)
    with running(create_app(factory, models.action, models.observation)) as base_url:
        yield base_url


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each large message, of both sides, went through the memory."""
    through: list[bool] = []
    write = SharedMemory.write

    def noting(memory: SharedMemory, parts: Any, size: int) -> Any:
        reference = write(memory, parts, size)
        if size >= LARGE:
            through.append(reference is not None)
        return reference

    monkeypatch.setattr(SharedMemory, "write", noting)
    return through


@pytest.mark.parametrize("copy", [True, False])
def test_actions_and_observations_go_through_the_memory(
    mirrors: str, copy: bool, written: list[bool]
) -> None:
    local = gym.vector.SyncVectorEnv([Mirror] * 4)
    remote = RemoteVectorEnv(mirrors, 4, copy=copy)
    assert_equal(local.reset(seed=3), remote.reset(seed=3))
    local.action_space.seed(1)
    for number in range(30):
        actions = local.action_space.sample()
        expected = local.step(actions)
        if number % 2:
            remote.send(actions)
            actions[:] = 0.0  # the caller's own
            ready = remote.recv(min_ready=4)
            assert ready.observations.tobytes() == expected[0].tobytes()
        else:
            assert_equal(expected, remote.step(actions), f"step {number}")
    remote.close()
    local.close()
    assert len(written) >= 61
    assert all(written)


def test_one_environment_does_so_as_well(mirrors: str, written: list[bool]) -> None:
    with RemoteEnv(mirrors) as env:
        first, _ = env.reset(seed=1)
        kept = first.copy()
        for _ in range(10):
            action = env.action_space.sample()
            assert np.array_equal(env.step(action)[0], action)
        assert np.array_equal(first, kept)
    assert all(written)


def test_who_keeps_many_observations_gets_the_others_over_the_socket(
    mirrors: str, written: list[bool]
) -> None:
    envs = RemoteVectorEnv(mirrors, 4, copy=False)
    envs.reset(seed=1)
    kept = []
    for _ in range(20):
        actions = envs.action_space.sample() * 0.7  # no episode ends
        kept.append(envs.step(actions)[0])
        assert np.array_equal(kept[-1], actions)
    envs.close()
    assert not all(written)


def test_two_halves_in_flight_do_not_disturb_each_other(mirrors: str) -> None:
    envs = RemoteVectorEnv(mirrors, 4)
    envs.reset(seed=1)
    halves = [np.array([0, 1]), np.array([2, 3])]
    sent: list[Any] = [None, None]
    for number, half in enumerate(halves):
        sent[number] = envs.action_space.sample()[:2] * 0.7  # no episode ends
        envs.send(sent[number], half)
    for turn in range(40):
        number = turn % 2
        ready = envs.recv(slots=halves[number])
        assert np.array_equal(ready.observations, sent[number])
        sent[number] = envs.action_space.sample()[:2] * 0.7  # no episode ends
        envs.send(sent[number], halves[number])
    envs.close()


@pytest.mark.faults
@pytest.mark.parametrize("mode", gym.vector.AutoresetMode)
def test_a_run_through_cuts_is_identical_to_an_uncut_one(
    mirrors: str, mode: gym.vector.AutoresetMode, written: list[bool]
) -> None:
    local = gym.vector.SyncVectorEnv([Mirror] * 3, autoreset_mode=mode)
    faults: Any = {"cut": 600, "half_close": 6000, "split": 500}  # a step has 300 bytes
    with cutting_proxy(mirrors, "Unix", faults=faults, seed=2) as proxy:
        remote = RemoteVectorEnv(mirrors, 3, autoreset_mode=mode)
        local.action_space.seed(1)
        assert_equal(local.reset(seed=9), remote.reset(seed=9))
        for number in range(200):
            actions = local.action_space.sample()
            expected = local.step(actions)
            assert_equal(expected, remote.step(actions), f"step {number}")
            if mode is gym.vector.AutoresetMode.DISABLED and expected[2].any():
                mask = {"reset_mask": expected[2].copy()}
                assert_equal(local.reset(options=dict(mask)), remote.reset(options=dict(mask)))
        cuts = proxy.counts["cut"]
        remote.close()
        local.close()
    assert cuts > 15
    assert sum(written) > 300


KILLED = """
import os, signal, sys
from openenv_gym import RemoteVectorEnv
envs = RemoteVectorEnv(sys.argv[1], 16, copy=False)
envs.reset(seed=0)
observations = envs.step(envs.action_space.sample())[0]
print("ready", flush=True)
input()
os.kill(os.getpid(), signal.SIGKILL)
"""


def shared_by(pid: int) -> int:
    """How many of these memories a process has."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:openenv")


@pytest.mark.faults
def test_kill_9_of_either_side_frees_the_memory(tmp_path: Path) -> None:
    with serving(tmp_path / "closed", "--gym", "benchmarks.environments:Frames-v0") as server:
        client = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.base_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        assert shared_by(client.pid) == shared_by(server.process.pid) == 1
        client.communicate("\n", timeout=10)
        assert client.returncode == -signal.SIGKILL
        wait_for(lambda: not shared_by(server.process.pid), 5)

        before = shared_by(os.getpid())  # of other tests
        envs = RemoteVectorEnv(server.base_url, 16, copy=False)
        envs.reset(seed=0)
        observations = envs.step(envs.action_space.sample())[0]
        kept = observations.copy()
        server.signal(signal.SIGKILL)
        server.ends()
        with pytest.raises(SessionLostError):
            envs.step(envs.action_space.sample())
        assert np.array_equal(observations, kept)  # they are still the client's
        envs.close()
        del observations, envs
        gc.collect()
        assert shared_by(os.getpid()) <= before


def connect(base_url: str) -> BlockingConnection:
    return BlockingConnection(Endpoint(base_url), connect_timeout_s=5, offers_v2=True)


def test_a_client_with_a_wrong_reference_is_told(mirrors: str) -> None:
    connection = connect(mirrors)
    run(connection.send([struct.pack("<IIQ", 2**32 - 1, 3, LARGE)], timeout_s=5, operation="step 1"))
    with pytest.raises(SessionLostError, match="area 3 of the shared memory, which has no new message"):
        run(connection.receive(timeout_s=5, operation="step 1"))


def test_a_process_without_room_for_the_memory_stays_with_tcp(
    mirrors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        raise OSError(12, "Cannot allocate memory")

    receive: Callable[..., Any] = blocking.unix_socket.receive_memory
    monkeypatch.setattr(blocking.unix_socket, "receive_memory", lambda raw: (receive(raw), fail())[0])
    with RemoteEnv(mirrors) as env:
        env.reset(seed=1)
        action = env.action_space.sample()
        assert np.array_equal(env.step(action)[0], action)


def test_a_server_without_memory_sends_all_over_the_unix_socket(
    mirrors: str, monkeypatch: pytest.MonkeyPatch, written: list[bool]
) -> None:
    def fail() -> Any:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(SharedMemory, "create", fail)
    with RemoteEnv(mirrors) as env:
        env.reset(seed=1)
        action = env.action_space.sample()
        assert np.array_equal(env.step(action)[0], action)
    assert written == []
