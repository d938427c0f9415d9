"""Environments that misbehave: what the client sees, and that others do not notice. ``docs/failures.md``."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from openenv_server import Action, Environment, Observation, State, create_app

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ProtocolError, RemoteEnvironmentError, RemoteError, StepTimeoutError
from tests.support.servers import running, without_v2

LARGE = 200_000_000


class Do(Action):
    what: str


class Seen(Observation):
    value: float
    data: Any = None


class Other(Observation):
    nothing: int = 1


class Unspeakable:
    def __repr__(self) -> str:
        raise KeyError("no words")


class Unruly(Environment[Do, Seen, State]):
    """Does what it is told, and counts its steps."""

    is_to_be_made = True

    def __init__(self) -> None:
        super().__init__()
        if not self.is_to_be_made:
            raise OSError("no display")
        self._steps = 0

    def reset(self, seed: int | None = None) -> Seen:
        self._steps = 0
        return Seen(value=0.0)

    def step(self, action: Do) -> Any:
        self._steps += 1
        match action.what:
            case "raise":
                raise ValueError("no such door")
            case "exit":
                sys.exit(3)
            case "no model":
                return {"value": 1.0}
            case "another model":
                return Other()
            case "a lock":
                return Seen(value=1.0, data=threading.Lock())
            case "no text":
                return Seen(value=1.0, metadata={"why": Unspeakable()})
            case "nan":
                return Seen(value=math.nan, reward=math.nan)
            case "large":
                return Seen(value=1.0, data="x" * LARGE)
            case "for ever":
                time.sleep(3600)
            case "threads":
                for _ in range(100):
                    threading.Thread(target=time.sleep, args=(0.5,)).start()
        return Seen(value=float(self._steps))

    @property
    def state(self) -> State:
        return State(step_count=self._steps)


class Served(NamedTuple):
    app: Any
    base_url: str
    is_v2: bool


@pytest.fixture(params=["v1", "v2"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    app = create_app(Unruly, Do, Seen, step_timeout_s=5)
    is_v2 = request.param == "v2"
    with running(app if is_v2 else without_v2(app)) as base_url:
        yield Served(app, base_url, is_v2)


@pytest.fixture
def env(served: Served) -> Iterator[RemoteEnv]:
    """A session beside which another one steps, before and after."""
    other, env = RemoteEnv(served.base_url), RemoteEnv(served.base_url)
    other.reset()
    env.reset()
    assert other.step("go")[0]["value"] == 1
    yield env
    assert other.step("go")[0]["value"] == 2
    other.close()
    env.close()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise", r"step 1: the environment raised ValueError: no such door\..*error_id [0-9a-f]{8}"),
        ("exit", r"step 1: the environment raised .*SystemExit: 3"),
        ("no model", r"returned dict, not an observation"),
        ("a lock", r"of the type lock, which JSON lacks"),
        ("no text", r"of the type Unspeakable, which JSON lacks|no words"),
    ],
)
def test_what_it_does_wrong_is_said_and_its_session_goes_on(env: RemoteEnv, what: str, message: str) -> None:
    with pytest.raises(RemoteEnvironmentError, match=message):
        env.step(what)
    assert env.step("go")[0]["value"] == 2


def test_another_model_is_no_observation(env: RemoteEnv) -> None:
    with pytest.raises(ProtocolError, match="does not fit the server's own schema"):
        env.step("another model")


def test_nan_arrives(env: RemoteEnv, served: Served) -> None:
    observation, reward, *_ = env.step("nan")
    assert math.isnan(observation["value"])
    assert math.isnan(reward) if served.is_v2 else reward == 0.0


def test_200_megabytes_arrive_and_others_step_meanwhile(env: RemoteEnv, served: Served) -> None:
    other = RemoteEnv(served.base_url)
    other.reset()
    longest_s, steps, is_done = 0.0, 0, threading.Event()

    def step_on() -> None:
        nonlocal longest_s, steps
        while not is_done.is_set():
            begin = time.perf_counter()
            other.step("go")
            longest_s, steps = max(longest_s, time.perf_counter() - begin), steps + 1

    thread = threading.Thread(target=step_on)
    thread.start()
    observation = env.step("large")[0]
    is_done.set()
    thread.join()
    assert len(observation["data"]) == LARGE + 2  # as JSON text, in quotes
    assert steps > 1
    assert longest_s < 10
    assert env.step("go")[0]["value"] == 2
    other.close()


def test_a_step_without_an_end_ends_its_session_and_is_counted(env: RemoteEnv, served: Served) -> None:
    sessions = served.app.state.sessions
    active = sessions.active
    with pytest.raises(StepTimeoutError, match=r"step 1: .* more than 5 s"):
        env.step("for ever")
    assert (sessions.abandoned_threads, sessions.active) == (1, active - 1)


def test_threads_of_its_own_are_let_be(env: RemoteEnv) -> None:
    assert env.step("threads")[0]["value"] == 1
    assert env.step("go")[0]["value"] == 2


def test_in_a_vector_environment_only_the_slot_in_question_fails(served: Served) -> None:
    envs = RemoteVectorEnv(served.base_url, 3)
    envs.reset()
    with pytest.raises(RemoteEnvironmentError, match="step 1 of slot 1: the environment raised ValueError"):
        envs.step(("go", "raise", "go"))
    ready = envs.recv(min_ready=2)
    assert ready.slots.tolist() == [0, 2]
    assert envs.step(("go", "go", "go"))[0]["value"].tolist() == [2, 2, 2]
    envs.close()


def test_an_environment_that_cannot_be_made_is_an_error_and_the_next_reset_retries(served: Served) -> None:
    with RemoteEnv(served.base_url) as first:
        first.reset()  # perhaps with the environment that the server made when it started
    env = RemoteEnv(served.base_url)
    Unruly.is_to_be_made = False
    try:
        with pytest.raises(RemoteError, match=r"Unruly\(\) raised OSError: no display") as failed:
            env.reset()
        assert failed.value.code == "FACTORY_ERROR"
    finally:
        Unruly.is_to_be_made = True
    env.reset()
    assert env.step("go")[0]["value"] == 1
    env.close()
