"""Cut the connection while several requests are in flight: the results are those of an uncut run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteVectorEnv
from tests.support.proxy import FaultProxy
from tests.support.servers import running
from tests.support.tls import WAYS, cutting_proxy
from tests.support.vectors import assert_equal

pytestmark = pytest.mark.integration
SLOTS = 4
STEPS = 60  # for each slot
SLOW = 9  # an action that takes some milliseconds
Requests = list[list[int]]  # the slots of each


class Walk(gym.Env[Any, Any]):
    """A random walk on which every action leaves a trace."""

    chance_of_end: ClassVar[float] = 0.0

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (20,), np.float64)
        self.action_space = spaces.Discrete(10)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._place = self.np_random.normal(size=20)
        return self._place.copy(), {}

    def step(self, action: Any) -> Any:
        self._place += self.np_random.normal(size=20) * (1 + action)
        return (
            self._place.copy(),
            float(self._place[0]),
            bool(self.np_random.random() < self.chance_of_end),
            False,
            {},
        )


class Local(Walk):
    """The walk that is compared with: counts its steps."""

    done: ClassVar[int] = 0

    def step(self, action: Any) -> Any:
        Local.done += 1
        return super().step(action)


class Served(Walk):
    """The walk that is served: counts its steps, and holds them up while `gate` is closed."""

    gate: ClassVar[threading.Event] = threading.Event()
    counting: ClassVar[threading.Lock] = threading.Lock()
    begun: ClassVar[int] = 0
    done: ClassVar[int] = 0

    def step(self, action: Any) -> Any:
        with self.counting:
            Served.begun += 1
        assert self.gate.wait(20)
        if action == SLOW:
            time.sleep(0.003)
        result = super().step(action)
        with self.counting:
            Served.done += 1
        return result


@pytest.fixture(params=WAYS)
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    factory, models = gymnasium_factory(Served)
    Served.gate.set()
    Served.begun = Served.done = Local.done = 0
    with running(create_app(factory, models.action, models.observation)) as base_url:
        with cutting_proxy(base_url, request.param) as proxy:
            yield proxy
        Served.gate.set()


class Pair:
    """A remote vector environment, and for each slot a local one that takes the same steps."""

    def __init__(self, base_url: str, mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> None:
        self._mode = mode
        self.remote = RemoteVectorEnv(base_url, SLOTS, autoreset_mode=mode)
        self._local = [gym.vector.SyncVectorEnv([Local], autoreset_mode=mode) for _ in range(SLOTS)]
        self._actions = np.zeros(SLOTS, np.int64)
        observations, _ = self.remote.reset(seed=9)
        for slot, local in enumerate(self._local):
            assert_equal(
                local.reset(seed=9 + slot)[0], observations[slot : slot + 1], f"reset of slot {slot}"
            )

    def send(self, slots: list[int], actions: list[int]) -> None:
        """Send one request that has an action for each of these slots."""
        self._actions[slots] = actions
        self.remote.send(np.array(actions), slots)

    def recv(self, min_ready: int = 1) -> list[int]:
        """Receive what is ready, and compare it with what the local environments do."""
        ready = self.remote.recv(min_ready)
        for place, slot in enumerate(ready.slots.tolist()):
            expected = self._local[slot].step(self._actions[[slot]])
            for name, one in zip(("observations", "rewards", "terminations"), expected, strict=False):
                actual = getattr(ready, name)[place : place + 1]
                assert_equal(one, actual, f"{name} of slot {slot}")
            if self._mode is AutoresetMode.DISABLED and ready.terminations[place]:
                self._reset(slot)
        return list(ready.slots.tolist())

    def _reset(self, slot: int) -> None:
        mask = np.arange(SLOTS) == slot
        observations, _ = self.remote.reset(seed=0, options={"reset_mask": mask})  # slot i gets seed + i
        expected = self._local[slot].reset(seed=slot)[0]
        assert_equal(expected, observations[[slot]], f"reset of slot {slot}")


def wait_until(name: str, number: int) -> None:
    """Wait until so many steps are ``begun`` or ``done`` on the server."""
    deadline = time.monotonic() + 10
    while getattr(Served, name) < number:
        assert time.monotonic() < deadline, f"{getattr(Served, name)} steps are {name}, not {number}"
        time.sleep(0.002)


Cut = Callable[[Pair, FaultProxy, Requests, int], None]


def cut_after_the_answers(pair: Pair, proxy: FaultProxy, requests: Requests, action: int) -> None:
    """The server has taken all steps, and every answer is lost."""
    proxy.pause("down")
    before = Served.done
    for slots in requests:
        pair.send(slots, [action] * len(slots))
    wait_until("done", before + sum(map(len, requests)))
    time.sleep(0.02)  # for the answers to leave
    proxy.cut()
    proxy.resume()


def cut_in_the_steps(pair: Pair, proxy: FaultProxy, requests: Requests, action: int) -> None:
    """The server is in the first step at least."""
    Served.gate.clear()
    before = Served.begun
    for slots in requests:
        pair.send(slots, [action] * len(slots))
    wait_until("begun", before + 1)
    proxy.cut()
    threading.Timer(0.05, Served.gate.set).start()


def cut_before_the_requests(pair: Pair, proxy: FaultProxy, requests: Requests, action: int) -> None:
    """The server has received none."""
    proxy.pause("up")
    for slots in requests:
        pair.send(slots, [action] * len(slots))
    proxy.cut()
    proxy.resume()


def cut_between_two_requests(pair: Pair, proxy: FaultProxy, requests: Requests, action: int) -> None:
    """The answer to the first request is lost, and the server has not received the others."""
    proxy.pause("down")
    before = Served.done
    for number, slots in enumerate(requests):
        pair.send(slots, [action] * len(slots))
        if number == 0:
            wait_until("done", before + len(slots))
            proxy.pause("up")
    time.sleep(0.02)
    proxy.cut()
    proxy.resume()


@pytest.mark.parametrize("requests", [[[0], [1]], [[1], [0]], [[0, 1], [2]], [[0], [1], [3]]], ids=str)
@pytest.mark.parametrize(
    "cut", [cut_after_the_answers, cut_in_the_steps, cut_before_the_requests, cut_between_two_requests]
)
def test_no_request_in_flight_is_lost_or_done_twice(proxy: FaultProxy, cut: Cut, requests: Requests) -> None:
    pair = Pair(proxy.base_url)
    slots = sorted(slot for request in requests for slot in request)
    for turn in range(8):  # the server gives slow steps to other threads, and at first takes any for slow
        cut(pair, proxy, requests, turn)
        received: list[int] = []
        while len(received) < len(slots):
            received += pair.recv()
        assert sorted(received) == slots
    assert Served.done == Local.done
    pair.remote.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_slots_go_on_at_their_own_pace_across_cuts(
    proxy: FaultProxy, mode: AutoresetMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Walk, "chance_of_end", 0.1)
    rng = np.random.default_rng(5)
    pair = Pair(proxy.base_url, mode)
    left = dict.fromkeys(range(SLOTS), STEPS)
    pair.send(list(left), [0] * SLOTS)
    in_flight = set(left)
    cuts = 0
    while in_flight:
        if rng.random() < 0.3:
            cuts += 1
            proxy.cut()
        for slot in pair.recv(min_ready=int(rng.integers(1, len(in_flight) + 1))):
            in_flight.remove(slot)
            left[slot] -= 1
        for slot in sorted(set(left) - in_flight):
            if left[slot] and (rng.random() < 0.8 or not in_flight):
                pair.send([slot], [int(rng.integers(10))])
                in_flight.add(slot)
    assert cuts >= STEPS // 3
    assert Served.done == Local.done
    pair.remote.close()
