"""What a person sees when something is wrong: what happened, where, and what to do next."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fastapi import FastAPI
from openenv_server import create_app

from openenv_gym import GenericEnvClient, RemoteEnv, RemoteVectorEnv, errors
from tests.support.environments import CountAction, Counter, CountObservation
from tests.support.servers import running


@pytest.fixture
def counter() -> Iterator[RemoteEnv]:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        env = RemoteEnv(base_url)
        yield env
        env.close()


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "", "http://host:99999", "http://host:port", 8000]
)
def test_a_wrong_url(url: Any) -> None:
    with pytest.raises(
        errors.InvalidEndpointError, match=r"base_?\s?(url|URL).*It looks like http://localhost:8000"
    ):
        gym.make("openenv/remote", base_url=url)


def test_no_url_at_all() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"needs the server.*base_url="):
        gym.make("openenv/remote")


def test_a_port_with_nothing_behind_it() -> None:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        with pytest.raises(
            errors.EndpointUnreachableError, match=rf"Nothing answers at http://127.0.0.1:{port}.*refused"
        ):
            gym.make("openenv/remote", base_url=f"http://127.0.0.1:{port}")


def test_a_server_that_is_not_openenv() -> None:
    with (
        running(FastAPI()) as base_url,
        pytest.raises(errors.NotAnOpenEnvServerError, match=r"is not an OpenEnv server.*404.*GET /schema"),
    ):
        gym.make("openenv/remote", base_url=base_url)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives the same answer to whatever comes first, and hangs up; its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(timeout=10)


def test_a_server_that_does_not_speak_http() -> None:
    with (
        answering(b"220 mail.example ready\r\n") as base_url,
        pytest.raises(errors.NotAnOpenEnvServerError, match="not HTTP"),
    ):
        gym.make("openenv/remote", base_url=base_url)


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("schemas", "message"),
    [
        (b'{"action": {"properties": []}, "observation": {}}', "properties must be an object, got"),
        (b'{"action": {"properties": {"type": [1]}}, "observation": {}}', "type: a schema is an object, not"),
        (
            b'{"action": {"$defs": 3}, "observation": {}, "reset_observation": {"properties": 3}}',
            "properties must",
        ),
        (
            b'{"action": {"x-openenv-tools": [3]}, "observation": {}}',
            "x-openenv-tools must be a list of tools",
        ),
        (
            b'{"action": {"enum": [%s1]}, "observation": {}}' % (b"1," * 3_000_000),
            "more than 2,097,152 values",
        ),
    ],
)
def test_schemas_that_are_none(schemas: bytes, message: str) -> None:
    with answering(http(schemas)) as base_url, pytest.raises(errors.SchemaError, match=message):
        RemoteEnv(base_url)


@pytest.mark.parametrize(
    ("schemas", "message"),
    [
        (
            b'{"action": {"enum": [%s1]}, "observation": {}}' % (b'"a",' * 5_000_000),
            "more than 16,777,216 bytes",
        ),
        (b'{"action": %s, "observation": {}}' % (b"[" * 100_000), "is not JSON"),
    ],
)
def test_schemas_that_are_not_even_read(schemas: bytes, message: str) -> None:
    with answering(http(schemas)) as base_url, pytest.raises(errors.NotAnOpenEnvServerError, match=message):
        RemoteEnv(base_url)


def test_what_a_server_says_of_episodes_is_checked() -> None:
    served = {
        "max_episode_steps": "9",
        "reward_threshold": [],
        "nondeterministic": 3,
        "metadata": {"render_fps": -1},
    }
    field = {"type": "object", "properties": {"x": {"type": "boolean"}}}
    schemas = {
        "action": field,
        "observation": {**field, "x-gymnasium-env": served, "x-openenv-server-renders": ["rgb_array"]},
    }
    with answering(http(json.dumps(schemas).encode())) as base_url, RemoteEnv(base_url) as env:
        assert env.metadata["render_fps"] == 30
        assert env.metadata["render_modes"] == []
        assert set(env._env_spaces.served.spec.values()) == {None}


def test_a_connection_that_breaks_in_an_answer() -> None:
    with (
        answering(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"action": {"ty') as base_url,
        pytest.raises(errors.EndpointUnreachableError, match="broke in the answer to GET /schema"),
    ):
        gym.make("openenv/remote", base_url=base_url)


def test_a_connection_that_breaks_in_the_handshake() -> None:
    with (
        answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgra") as base_url,
        pytest.raises(errors.EndpointUnreachableError, match="broke in the handshake"),
    ):
        GenericEnvClient(base_url).reset()


def test_a_server_that_does_not_answer() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(errors.DeadlineExceededError, match=r"did not answer GET /schema within 0\.3 s"),
    ):
        RemoteEnv(f"http://127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=0.3)


def test_an_action_outside_the_space(serve_gym: Callable[[str], str]) -> None:
    env = RemoteEnv(serve_gym("CartPole-v1"))
    env.reset(seed=1)
    for action in (2, -1, 0.5, "left", None, np.array([0, 1])):
        with pytest.raises(errors.ActionOutsideSpaceError, match=r"not in Discrete\(2\).*sample"):
            env.step(action)
    assert env.step(1)[0] in env.observation_space
    env.close()


def test_an_action_that_the_model_refuses() -> None:
    class Even(Counter):
        pass

    class EvenAction(CountAction):
        def model_post_init(self, context: Any) -> None:
            if self.amount % 2:
                raise ValueError("only even amounts")

    with running(create_app(Even, EvenAction, CountObservation)) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
        with pytest.raises(
            errors.ActionRefusedError, match=r"step 1.*only even amounts.*session continues"
        ) as caught:
            env.step(np.array(3, np.int64))
        assert caught.value.code == "VALIDATION_ERROR"
        assert env.step(np.array(4, np.int64))[0] == 4
        env.close()


def test_step_before_reset(counter: RemoteEnv) -> None:
    with pytest.raises(errors.ResetNeededError, match="call reset before step"):
        counter.step(np.array(1, np.int64))
    assert issubclass(errors.ResetNeededError, gym.error.ResetNeeded)


def test_step_and_reset_after_close(counter: RemoteEnv) -> None:
    counter.reset()
    counter.close()
    counter.close()
    for call in (lambda: counter.step(np.array(1, np.int64)), counter.reset):
        with pytest.raises(errors.ClosedError, match="was closed; make a new one"):
            call()


def test_an_environment_that_raises_in_step_keeps_its_session(counter: RemoteEnv) -> None:
    counter.reset(options={"start": 1})
    counter.step(np.array(2, np.int64))
    with pytest.raises(errors.RemoteEnvironmentError, match=r"step 2.*raised RuntimeError: too much"):
        counter.step(np.array(12, np.int64))
    assert counter.step(np.array(3, np.int64))[0] == 6


def test_an_environment_that_raises_in_reset_keeps_its_session(counter: RemoteEnv) -> None:
    with pytest.raises(errors.RemoteEnvironmentError, match=r"reset.*raised ValueError: told to fail"):
        counter.reset(options={"fail": True})
    with pytest.raises(errors.ResetNeededError):
        counter.step(np.array(1, np.int64))
    instances = len(Counter.instances)
    assert counter.reset(options={"start": 4})[0] == 4
    assert len(Counter.instances) == instances, "the session was not the same one"


def test_an_option_that_reset_does_not_take(counter: RemoteEnv) -> None:
    observation, info = counter.reset(options={"strat": 4, "start": 2})
    assert (observation, info["ignored_options"]) == (2, ["strat"])


@pytest.mark.parametrize("options", [{1: 2}, {"start": 1, None: 2}, {("a",): 1}, {b"start": 1}])
def test_options_whose_keys_are_no_names(counter: RemoteEnv, options: dict[Any, Any]) -> None:
    envs = RemoteVectorEnv(counter.endpoint.base_url, 1)
    for env in (counter, envs):
        with pytest.raises(errors.ConfigurationError, match="options= must have strings as keys"):
            env.reset(options=options)
        with pytest.raises(errors.ConfigurationError, match="options= must be a dict, got"):
            env.reset(options=[1])  # type: ignore[arg-type]
    envs.close()


def test_a_server_at_capacity() -> None:
    with running(create_app(Counter, CountAction, CountObservation, max_concurrent_envs=1)) as base_url:
        first, second = RemoteEnv(base_url), RemoteEnv(base_url)
        first.reset()
        with pytest.raises(
            errors.CapacityError, match=r"capacity of 1 session\b.*MAX_CONCURRENT_ENVS"
        ) as caught:
            second.reset()
        assert caught.value.details.items() >= {"active_sessions": 1, "max_sessions": 1}.items()
        assert (caught.value.asked_for, caught.value.available) == (1, 0)
        assert first.step(np.array(1, np.int64))[0] == 1
        first.close()
        assert second.reset()[0] == 0
        second.close()


def test_a_name_that_is_not_registered() -> None:
    with pytest.raises(errors.UnknownNameError) as caught:
        gym.make("openenv/no-such-env")
    message = str(caught.value)
    assert "openenv/remote" in message
    assert 'openenv_gym.register("no-such-env", base_url=' in message
    assert "OPENENV_NO_SUCH_ENV_URL" in message
    assert isinstance(caught.value, gym.error.NameNotFound)


def test_other_namespaces_keep_gymnasiums_own_error() -> None:
    with pytest.raises(gym.error.NameNotFound, match="CartPol"):
        gym.make("CartPol-v1")


def test_an_answer_that_comes_too_late_is_never_read() -> None:
    import time

    class Slow(Counter):
        def step(self, action: CountAction) -> CountObservation:
            if action.amount == 9:
                time.sleep(0.6)
            return super().step(action)

    with running(create_app(Slow, CountAction, CountObservation)) as base_url:
        env = RemoteEnv(base_url, step_timeout_s=0.3)
        env.reset()
        with pytest.raises(errors.DeadlineExceededError, match=r"did not answer step 1 within 0\.3 s"):
            env.step(np.array(9, np.int64))
        with pytest.raises(errors.ResetNeededError):
            env.step(np.array(1, np.int64))
        assert env.reset()[0] == 0
        assert env.step(np.array(1, np.int64))[0] == 1
        env.close()


def test_a_connection_that_breaks_is_said_aloud() -> None:
    with running(create_app(Counter, CountAction, CountObservation)) as base_url:
        env = RemoteEnv(base_url)
        env.reset()
    with pytest.raises((errors.SessionLostError, errors.RemoteError)):
        env.step(np.array(1, np.int64))
    with pytest.raises(errors.ResetNeededError):
        env.step(np.array(1, np.int64))


def test_remote_errors_pickle() -> None:
    import pickle

    error = errors.CapacityError("full", code="CAPACITY_REACHED", details={"max_sessions": 1})
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), twin.code, twin.details) == (
        errors.CapacityError,
        "full",
        "CAPACITY_REACHED",
        {"max_sessions": 1},
    )
