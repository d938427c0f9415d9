"""First calls run alone, so that imports and libraries that start at first use are not raced."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import Action, Environment, Observation, State, create_app, gymnasium_factory
from openenv_server.sessions import first_calls
from openenv_server.sessions.first_calls import FirstCalls

from openenv_gym import RemoteEnv
from tests.support.servers import running, without_v2


class Library:
    """Starts when it is first used, and breaks if two threads start it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.starts = self.most = 0
        self.is_started = False

    def use(self) -> None:
        if self.is_started:
            return
        with self.lock:
            self.starts += 1
            self.most = max(self.most, self.starts)
        time.sleep(0.05)
        self.is_started = True


LIBRARIES: dict[str, Library] = {}


@pytest.fixture(autouse=True)
def _unused() -> None:
    LIBRARIES.update((call, Library()) for call in ("make", "reset", "step", "render", "state"))


class Lazy(gym.Env[Any, Any]):
    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 30}
    render_mode = "rgb_array"
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        LIBRARIES["make"].use()

    def reset(self, **_: Any) -> Any:
        LIBRARIES["reset"].use()
        return 0, {}

    def step(self, action: Any) -> Any:
        LIBRARIES["step"].use()
        return 0, 0.0, False, False, {}

    def render(self) -> Any:
        LIBRARIES["render"].use()
        return np.zeros((2, 2, 3), np.uint8)


class Go(Action):
    there: bool = False


class Seen(Observation):
    it: int = 0


class LazyModel(Environment[Go, Seen, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        LIBRARIES["make"].use()

    def reset(self, **_: Any) -> Seen:
        LIBRARIES["reset"].use()
        return Seen()

    def step(self, action: Go, **_: Any) -> Seen:
        LIBRARIES["step"].use()
        return Seen()

    @property
    def state(self) -> State:
        LIBRARIES["state"].use()
        return State()


def app_of(kind: type) -> Any:
    if kind is LazyModel:
        return create_app(LazyModel, Go, Seen, max_concurrent_envs=8)
    factory, models = gymnasium_factory(kind)
    return create_app(factory, *models)


@pytest.mark.parametrize("version", ["version 1", "version 2"])
@pytest.mark.parametrize("kind", [Lazy, LazyModel])
def test_sessions_that_begin_together_start_a_library_once(kind: type, version: str) -> None:
    app = app_of(kind)
    count = 6
    renders = kind is Lazy and version == "version 2"
    ready = threading.Barrier(count)

    def play(base_url: str) -> None:
        with closing(RemoteEnv(base_url, render_mode="rgb_array" if renders else None)) as env:
            for call in (env.reset, lambda: env.step(0), *([env.render] if renders else [])):
                ready.wait(20)
                call()

    with (
        running(app if version == "version 2" else without_v2(app)) as base_url,
        ThreadPoolExecutor(count) as pool,
    ):
        for done in [pool.submit(play, base_url) for _ in range(count)]:
            done.result()
    called = ("make", "reset", *(["render"] if renders else []))
    assert [LIBRARIES[call].most for call in called] == [1] * len(called)


def test_later_calls_run_in_parallel() -> None:
    calls, together = FirstCalls(), threading.Barrier(2)
    with calls.alone("step"):
        pass

    def call() -> None:
        with calls.alone("step"):
            together.wait(5)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(call) for _ in range(2)]:
            done.result()


def test_a_first_call_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_calls, "_WAIT_S", 0.05)
    calls, hangs = FirstCalls(), threading.Event()

    def hang() -> None:
        with calls.alone("step"):
            hangs.wait(20)

    stuck = threading.Thread(target=hang)
    stuck.start()
    time.sleep(0.02)
    with calls.alone("reset"):
        pass
    hangs.set()
    stuck.join()


def test_a_first_call_that_raises_does_not_count() -> None:
    calls = FirstCalls()
    with pytest.raises(ImportError), calls.alone("step"):
        raise ImportError
    with calls.alone("step"):
        assert calls._lock.locked(), "alone again"
