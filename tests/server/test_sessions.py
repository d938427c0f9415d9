"""Sessions on the server: one environment each, on its own thread, within the capacity, closed at the end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from openenv_server import Environment, create_app

from openenv_gym import GenericEnvClient
from openenv_gym.errors import CapacityError, ConfigurationError, RemoteError, SessionLostError
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


def eventually(holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def app(kind: Callable[[], Any] = Counter, **kwargs: Any) -> Any:
    return create_app(kind, CountAction, CountObservation, **kwargs)


def test_each_session_has_an_instance_of_its_own() -> None:
    with running(app()) as url, GenericEnvClient(url) as one, GenericEnvClient(url) as other:
        one.reset(start=1)
        other.reset(start=5)
        assert one.step({"amount": 1}).observation["total"] == 2
        assert other.step({"amount": 1}).observation["total"] == 6


def test_one_thread_makes_drives_and_closes_an_environment() -> None:
    Counter.instances.clear()
    with running(app()) as url:
        clients = [GenericEnvClient(url) for _ in range(3)]
        for client in clients:
            client.reset()
            client.step({"amount": 1})
            client.state()
            client.close()
        eventually(lambda: all(counter.closed == 1 for counter in Counter.instances))
    threads = [counter.threads for counter in Counter.instances]
    assert len(threads) == 3
    assert all(len(seen) == 1 for seen in threads)
    assert threading.get_ident() not in set.union(*threads)


@pytest.mark.parametrize("ending", ["close message", "socket closed", "socket dropped", "server stopped"])
def test_close_is_called_once_at_every_end_of_a_session(ending: str) -> None:
    Counter.instances.clear()
    with running(app()) as url:
        socket = websocket.create_connection(url.replace("http", "ws") + "/ws", timeout=5)
        socket.send('{"type":"reset"}')
        socket.recv()
        if ending == "close message":
            socket.send('{"type":"close"}')
        elif ending == "socket closed":
            socket.close()
        elif ending == "socket dropped":
            socket.sock.close()
        if ending != "server stopped":
            eventually(lambda: Counter.instances[0].closed == 1)
    eventually(lambda: [counter.closed for counter in Counter.instances] == [1])


def test_a_silent_session_is_closed() -> None:
    Counter.instances.clear()
    with running(app(session_timeout_s=0.2)) as url, GenericEnvClient(url) as client:
        client.reset()
        eventually(lambda: Counter.instances[0].closed == 1)
        with pytest.raises(SessionLostError, match=r"silent for too long"):
            client.step({"amount": 1})


def test_default_capacity_is_64_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAX_CONCURRENT_ENVS", raising=False)
    assert app().state.sessions.capacity == 64
    assert app(max_concurrent_envs=3).state.sessions.capacity == 3
    monkeypatch.setenv("MAX_CONCURRENT_ENVS", "5")
    assert app().state.sessions.capacity == 5
    assert app(max_concurrent_envs=3).state.sessions.capacity == 3


def test_the_option_of_the_command_overrides_the_number_in_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_SERVE_MAX_SESSIONS", "8")
    assert app(max_concurrent_envs=1).state.sessions.capacity == 8
    with pytest.raises(ConfigurationError, match="8 concurrent sessions"):
        app(Alone, max_concurrent_envs=1)


class Alone(Counter):
    SUPPORTS_CONCURRENT_SESSIONS = False


def make_alone() -> Alone:
    return Alone()


@pytest.mark.parametrize("factory", [Alone, make_alone])
def test_an_environment_that_says_so_has_one_session(
    factory: Callable[[], Alone], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAX_CONCURRENT_ENVS", raising=False)
    assert app(factory).state.sessions.capacity == 1
    with pytest.raises(ConfigurationError, match=r"2 concurrent sessions.*Alone sets SUPPORTS_CONCURRENT"):
        app(factory, max_concurrent_envs=2)
    monkeypatch.setenv("MAX_CONCURRENT_ENVS", "2")
    with pytest.raises(ConfigurationError, match="2 concurrent sessions"):
        app(factory)


def test_a_factory_that_does_not_say_what_it_makes_is_found_out() -> None:
    with running(app(lambda: Alone())) as url, GenericEnvClient(url) as one:
        one.reset()
        with pytest.raises(CapacityError), GenericEnvClient(url) as other:
            other.reset()


def test_a_place_is_free_again_after_a_session() -> None:
    with running(app(max_concurrent_envs=2)) as url:
        for _ in range(6):
            with GenericEnvClient(url) as one, GenericEnvClient(url) as other:
                one.reset()
                other.reset()


def test_a_factory_that_raises_is_an_error_with_its_name() -> None:
    works = True

    def broken() -> Counter:
        if works:
            return Counter()
        raise OSError("no display")

    with running(app(broken)) as url, GenericEnvClient(url) as first:
        first.reset()  # with the environment that the server made when it started
        works = False
        with pytest.raises(RemoteError, match=r"broken\(\) raised OSError: no display") as caught:
            GenericEnvClient(url).reset()
        assert caught.value.code == "FACTORY_ERROR"
        assert caught.value.details["factory_name"] == "broken"


@pytest.mark.parametrize("given", [Counter(), object(), None])
def test_an_instance_instead_of_a_class_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"got an instance of .*Pass the class, create_app\("):
        create_app(given, CountAction, CountObservation)


def test_what_is_no_model_and_what_is_no_environment_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"action_cls must be a Pydantic model class"):
        create_app(Counter, dict, CountObservation)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"int is not an environment"):
        create_app(int, CountAction, CountObservation)


class OnTheLoop(Counter):
    """Resets and steps on the event loop, in the two ways that there are."""

    async def reset_async(self, seed: int | None = None, **kwargs: Any) -> CountObservation:
        await asyncio.sleep(0)
        return self.reset(seed=seed)

    async def step(self, action: CountAction) -> CountObservation:  # type: ignore[override]
        await asyncio.sleep(0.01)
        return CountObservation(total=100 + action.amount)


def test_async_methods_are_awaited() -> None:
    with running(app(OnTheLoop)) as url, GenericEnvClient(url) as client:
        assert client.reset(seed=4).observation["total"] == 4
        assert client.step({"amount": 2}).observation["total"] == 102


class Seedless(Counter):
    def reset(self) -> CountObservation:  # type: ignore[override]
        return super().reset()


def test_a_seed_that_is_not_taken_is_said_and_not_dropped_in_silence() -> None:
    with running(app(Seedless)) as url, GenericEnvClient(url) as client:
        assert client.reset().metadata == {"fresh": True}
        assert client.reset(seed=4, episode_id="e").metadata == {"fresh": True, "seed_ignored": True}


class Plain:
    """An environment of no base class at all."""

    def __init__(self) -> None:
        self.state = {"step_count": 0}

    def reset(self) -> CountObservation:
        return CountObservation(total=0)

    def step(self, action: CountAction) -> CountObservation:
        self.state["step_count"] += 1
        return CountObservation(total=action.amount)


def test_any_class_with_reset_step_and_state_will_do() -> None:
    with running(app(Plain)) as url, GenericEnvClient(url) as client:
        client.reset()
        assert client.step({"amount": 3}).observation["total"] == 3
        assert client.state() == {"step_count": 1}


class Wrong(Counter):
    def step(self, action: CountAction) -> Any:
        match action.amount:
            case 1:
                return {"total": 1}
            case 2:
                return CountObservation(total=1, metadata={"thing": object()})
            case 3:
                raise SystemExit(3)
            case 4:
                raise StopIteration
            case 5:
                return CountObservation(total=1, reward=float("nan"), metadata={"x": float("inf")})
        return super().step(action)


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (1, "returned dict, not an observation"),
        (2, "metadata.thing is of the type object, which JSON lacks"),
        (3, "raised SystemExit: 3"),
        (4, "raised StopIteration"),
    ],
)
def test_what_an_environment_does_wrong_is_answered_and_the_session_goes_on(
    amount: int, message: str
) -> None:
    with running(app(Wrong)) as url, GenericEnvClient(url) as client:
        client.reset()
        with pytest.raises(RemoteError, match=message) as caught:
            client.step({"amount": amount})
        assert caught.value.code == "EXECUTION_ERROR"
        assert client.step({"amount": 6}).observation["total"] == 6


def test_nan_and_infinity_arrive_as_null() -> None:
    with running(app(Wrong)) as url, GenericEnvClient(url) as client:
        client.reset()
        result = client.step({"amount": 5})
        assert (result.reward, result.metadata) == (None, {"x": None})


BAD_MESSAGES = [
    ("nope", "INVALID_JSON"),
    ("[1]", "VALIDATION_ERROR"),
    ('{"data":{}}', "UNKNOWN_TYPE"),
    ('{"type":"fly"}', "UNKNOWN_TYPE"),
    ('{"type":"step","data":{}}', "VALIDATION_ERROR"),
    ('{"type":"step","data":{"amount":1,"more":2}}', "VALIDATION_ERROR"),
    ('{"type":"step","data":{"amount":"x"}}', "VALIDATION_ERROR"),
    ('{"type":"reset","data":{"start":"x"}}', "EXECUTION_ERROR"),
]


def test_bad_messages_are_answered_with_a_code_and_the_session_goes_on() -> None:
    with running(app()) as url:
        socket = websocket.create_connection(url.replace("http", "ws") + "/ws", timeout=5)
        for message, code in BAD_MESSAGES:
            socket.send(message)
            answer = json.loads(socket.recv())
            assert (answer["type"], answer["data"]["code"]) == ("error", code), message
        socket.send('{"type":"step","data":{}}')
        assert json.loads(socket.recv())["data"]["errors"][0]["loc"] == ["amount"]
        socket.send('{"type":"step","data":{"amount":Infinity}}')
        assert json.loads(socket.recv(), parse_constant=pytest.fail)["data"]["errors"][0]["loc"] == ["amount"]
        socket.send('{"type":"reset","data":{"seed":1},"unknown":"is ignored"}')
        assert json.loads(socket.recv())["data"]["observation"]["total"] == 1
        socket.close()


def test_base_class_flags_are_nobodys_choice() -> None:
    assert Environment.SUPPORTS_CONCURRENT_SESSIONS is False
    assert Counter.SUPPORTS_CONCURRENT_SESSIONS is False
    assert app().state.sessions.capacity == 64
