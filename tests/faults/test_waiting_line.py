"""A full server: whoever has waited longest gets the next free sessions."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from openenv_server.sessions.waiting_line import FORGET_S, MOST_WAITING

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ActionRefusedError, CapacityError
from openenv_gym.integrations.shared_sessions import SharedSessions
from openenv_gym.session.channel import Timeouts
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2
from tests.faults.test_losses import sleepers
from tests.support.servers import running, without_v2
from tests.support.v2_client import V2Client
from tests.support.waiting import wait_for

WAIT_S = 30.0
WAITER = """
import sys
from openenv_gym import RemoteEnv
RemoteEnv(sys.argv[1], capacity_timeout_s=60).reset()
"""


def waiting(base_url: str) -> int:
    """How many clients wait in line, as the server reports it."""
    with urllib.request.urlopen(f"{base_url}/metrics") as response:
        lines = response.read().decode().splitlines()
    (value,) = [line.split()[-1] for line in lines if line.startswith("openenv_clients_waiting{")]
    return int(float(value))


def env_session(base_url: str) -> Callable[[], object]:
    env = RemoteEnv(base_url, capacity_timeout_s=WAIT_S)
    env.reset()
    return env.close


def vector_session(base_url: str) -> Callable[[], object]:
    envs = RemoteVectorEnv(base_url, 1, capacity_timeout_s=WAIT_S)
    envs.reset()
    return envs.close


def shared_session(base_url: str) -> Callable[[], object]:
    sessions = SharedSessions(Endpoint.parse(base_url), Timeouts())
    sessions.session(WAIT_S).reset({})
    return sessions.close


@contextmanager
def newcomer(base_url: str, got: list[Any]) -> Iterator[None]:
    """A client that never waits and asks all the time; appends "newcomer" whenever it gets a session."""
    stop = threading.Event()

    def poll() -> None:
        env = RemoteEnv(base_url)
        while not stop.is_set():
            try:
                env.reset()
            except CapacityError:
                continue
            got.append("newcomer")
            env.close()
            env = RemoteEnv(base_url)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_sessions_are_given_in_the_order_in_which_clients_began_to_wait() -> None:
    got: list[Any] = []
    opens = [env_session, vector_session, shared_session] * 2

    def wait(number: int) -> None:
        close = opens[number](base_url)
        got.append(number)
        time.sleep(0.05)
        close()

    with running(sleepers(max_concurrent_envs=1)) as base_url, ThreadPoolExecutor(len(opens)) as pool:
        close = env_session(base_url)
        waits = []
        for number in range(len(opens)):
            waits.append(pool.submit(wait, number))
            wait_for(lambda number=number: waiting(base_url) == number + 1)  # type: ignore[misc]
        with newcomer(base_url, got):
            time.sleep(1.0)
            begin = time.monotonic()
            close()
            for future in waits:
                future.result()
            took = time.monotonic() - begin
    assert got[: len(opens)] == list(range(len(opens)))
    assert took < 0.5 * len(opens)  # the next one notices a free session soon


def test_the_error_says_how_many_wait_before() -> None:
    with running(sleepers(max_concurrent_envs=2)) as base_url:
        user = RemoteVectorEnv(base_url, 2)
        user.reset()
        clients = [V2Client(base_url) for _ in range(2)]
        for number, client in enumerate(clients):
            client.ask(v2.Open(id=client.next_id(), slots=[0], ticket=v2.Ticket(str(number), 60.0)), "open")
        with pytest.raises(CapacityError, match="capacity of 2 sessions; 2 clients wait before this one"):
            RemoteEnv(base_url, capacity_timeout_s=0.3).reset()
        user.close()
        with pytest.raises(CapacityError, match=r"0 of the server's 2 .* in use; 2 clients wait before"):
            RemoteEnv(base_url).reset()
        with pytest.raises(CapacityError, match=r"has 0 of the 2 requested sessions\. 0 of the server's 2"):
            RemoteVectorEnv(base_url, 2, capacity_timeout_s=0.3).reset()


def test_a_client_whose_time_is_over_leaves_the_line_at_once() -> None:
    with running(sleepers(max_concurrent_envs=1)) as base_url:
        close = env_session(base_url)
        for open_session in (RemoteEnv, lambda *a, **k: RemoteVectorEnv(a[0], 1, **k)):
            with pytest.raises(CapacityError, match="Retried for"):
                open_session(base_url, capacity_timeout_s=0.3).reset()
        assert waiting(base_url) == 0
        close()
        RemoteEnv(base_url).reset()


def test_a_vector_env_gets_all_slots_while_single_sessions_come_and_go() -> None:
    stop = threading.Event()

    def come_and_go() -> int:
        count = 0
        while not stop.is_set():
            close = env_session(base_url)
            time.sleep(0.1)
            close()
            count += 1
        return count

    with running(sleepers(max_concurrent_envs=8)) as base_url, ThreadPoolExecutor(12) as pool:
        singles = [pool.submit(come_and_go) for _ in range(12)]
        try:
            wait_for(lambda: waiting(base_url) > 2)
            envs = RemoteVectorEnv(base_url, 8, capacity_timeout_s=WAIT_S)
            begin = time.monotonic()
            envs.reset()
            assert time.monotonic() - begin < 5
            envs.close()
            time.sleep(1.0)
        finally:
            stop.set()
        counts = [single.result() for single in singles]
    assert min(counts) > 0


def test_two_vector_envs_that_each_want_all_sessions_take_turns() -> None:
    got: list[int] = []

    def use(number: int) -> None:
        for _ in range(4):
            envs = RemoteVectorEnv(base_url, 8, capacity_timeout_s=WAIT_S)
            envs.reset()
            got.append(number)
            envs.step(envs.action_space.sample() * 0)
            wait_for(lambda: waiting(base_url) == 1 or got.count(1 - number) == 4)
            envs.close()

    with running(sleepers(max_concurrent_envs=8)) as base_url, ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(use, number) for number in range(2)]:
            future.result()
    assert got in ([0, 1] * 4, [1, 0] * 4)


def test_a_client_that_dies_first_in_line_holds_up_the_others_for_seconds_only() -> None:
    with running(sleepers(max_concurrent_envs=1)) as base_url, ThreadPoolExecutor(1) as pool:
        close = env_session(base_url)
        dying = subprocess.Popen([sys.executable, "-c", WAITER, base_url])
        wait_for(lambda: waiting(base_url) == 1)
        second = pool.submit(env_session, base_url)
        wait_for(lambda: waiting(base_url) == 2)
        dying.kill()
        dying.wait()
        begin = time.monotonic()
        close()
        second.result()()
        assert time.monotonic() - begin < FORGET_S + 1


def test_tickets_do_not_grow_without_bound() -> None:
    with running(sleepers(max_concurrent_envs=1)) as base_url:
        close = env_session(base_url)
        attacker = V2Client(base_url)
        begin = time.monotonic()
        for number in range(MOST_WAITING + 100):
            ticket = v2.Ticket(str(number), 60.0)
            attacker.ask(v2.Open(id=attacker.next_id(), slots=[0], ticket=ticket), "open")
        assert waiting(base_url) <= MOST_WAITING
        with pytest.raises(ActionRefusedError, match="length <= 64"):
            attacker.ask(v2.Open(id=9999, slots=[0], ticket=v2.Ticket("x" * 65, 60.0)), "open")
        close()
        last = time.monotonic()
        env_session(base_url)()
        print(f"{MOST_WAITING + 100} tickets in {last - begin:.1f} s, then {time.monotonic() - last:.1f} s")
        assert time.monotonic() - last < FORGET_S + 2


def test_clients_of_version_1_are_newcomers() -> None:
    app = sleepers(max_concurrent_envs=1)
    with running(app) as base_url, running(without_v2(app)) as v1_url:
        waiter = V2Client(base_url)
        close = env_session(base_url)
        waiter.ask(v2.Open(id=waiter.next_id(), slots=[0], ticket=v2.Ticket("first", 60.0)), "open")
        close()
        with pytest.raises(CapacityError, match="1 client waits before this one"):
            RemoteEnv(v1_url).reset()
        waiter.ask(v2.Open(id=waiter.next_id(), slots=[0], ticket=v2.Ticket("first", 60.0)), "open")
        waiter.close()
