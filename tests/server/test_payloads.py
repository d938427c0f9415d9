"""Observations as payloads: version 2 sends what version 1 would, with arrays as binary arrays."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import pytest
import websocket
from openenv_server import Action, Environment, Observation, State, create_app, gymnasium_factory
from pydantic import ConfigDict, Field

from openenv_gym import EnvClient, GenericEnvClient, StepResult
from openenv_gym.types import Array
from openenv_gym.wire import v2
from tests.support.servers import running, without_v2
from tests.support.v2_client import V2Client


class Look(Action):
    reward: int | float | None = None


class Seen(Observation):
    model_config = ConfigDict(serialize_by_alias=True, arbitrary_types_allowed=True)

    at: datetime = Field(serialization_alias="seenAt")
    pixels: Annotated[np.ndarray[Any, Any], Array(np.uint8, (2, 3))] = Field(serialization_alias="px")
    heat: Annotated[np.ndarray[Any, Any], Array(np.float32, (2,))]
    words: tuple[str, ...] = ("a", "b")


class Looking(Environment[Look, Seen, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def _seen(self, **fields: Any) -> Seen:
        pixels, heat = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([0.5, 1.5], np.float32)
        return Seen(at=datetime(2025, 1, 2, tzinfo=UTC), pixels=pixels, heat=heat, **fields)

    def reset(self, seed: int | None = None, **kwargs: Any) -> Seen:
        return self._seen(reward=seed, done=seed == 3, metadata={"seed": seed})

    def step(self, action: Look) -> Seen:
        return self._seen(reward=action.reward, done=True, truncated=True, metadata={"n": 1})

    @property
    def state(self) -> State:
        return State()


def ask_v1(base_url: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    socket = websocket.create_connection(base_url.replace("http", "ws") + "/ws", timeout=10)
    answers = []
    for request in requests:
        socket.send(json.dumps(request))
        answers.append(json.loads(socket.recv())["data"])
    socket.close()
    return answers


def as_json(payload: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in payload.items()}


@pytest.mark.parametrize("seed", [None, 2, 3])
@pytest.mark.parametrize("reward", [None, 1, 0.5])
def test_an_author_s_observations_are_those_of_version_1(seed: int | None, reward: Any) -> None:
    with running(create_app(Looking, Look, Seen)) as base_url:
        resetting = {"type": "reset", "data": {} if seed is None else {"seed": seed}}
        expected = ask_v1(base_url, resetting, {"type": "step", "data": {"reward": reward}})
        lane = V2Client(base_url)
        opened = lane.ask(v2.Open(id=1, slots=[0], payloads=True), "open")
        assert isinstance(opened, v2.Opened)
        assert opened.payloads
        lane.slots.add(0)
        results = [
            lane.ask(v2.Reset(id=2, slots=[0], seeds=[seed]), "reset"),
            lane.ask(v2.Step(id=3, slots=[0], actions=[{"reward": reward}]), "step"),
        ]
        for result, v1 in zip(results, expected, strict=True):
            assert isinstance(result, v2.Result)
            (payload,) = result.observations
            assert isinstance(payload["px"], np.ndarray)
            assert payload["heat"].dtype == np.float32
            assert {**as_json(payload), "metadata": v1["metadata"]} == v1["observation"]
            assert result.rewards == [v1["reward"]]
            assert type(result.rewards[0]) is type(v1["reward"])
            ended = [bool(flags is not None and flags[0]) for flags in (result.terminated, result.truncated)]
            assert (any(ended), ended[1]) == (v1["done"], v1.get("truncated", False))
            assert dict(result.infos)[0] == v1["metadata"]
        lane.close()


def test_a_gymnasium_environment_s_observations_are_those_of_version_1() -> None:
    factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
    with running(create_app(factory, models.action, models.observation)) as base_url:
        resetting = {"type": "reset", "data": {"seed": 1}}
        expected = ask_v1(base_url, resetting, {"type": "step", "data": {"action": 1}})
        lane = V2Client(base_url)
        lane.ask(v2.Open(id=1, slots=[0], payloads=True), "open")
        lane.slots.add(0)
        for result, v1 in zip(
            [
                lane.ask(v2.Reset(id=2, slots=[0], seeds=[1]), "reset"),
                lane.ask(v2.Step(id=3, slots=[0], actions=[{"action": 1}]), "step"),
            ],
            expected,
            strict=True,
        ):
            assert isinstance(result, v2.Result)
            assert result.observations == [{"observation": v1["observation"]["observation"]}]
            assert result.rewards == [v1["reward"]]
        lane.close()


def test_without_it_observations_are_columns() -> None:
    factory, models = gymnasium_factory(lambda: gym.make("CartPole-v1"))
    with running(create_app(factory, models.action, models.observation)) as base_url:
        lane = V2Client(base_url)
        opened = lane.ask(v2.Open(id=1, slots=[0]), "open")
        assert isinstance(opened, v2.Opened)
        assert not opened.payloads
        result = lane.ask(v2.Reset(id=2, slots=[0], seeds=[1]), "reset")
        assert isinstance(result, v2.Result)
        assert result.observations["observation"].shape == (1, 4)
        assert result.rewards == [0.0]
        lane.slots.add(0)
        lane.close()


class LookClient(EnvClient[Look, dict[str, Any], State]):
    def _step_payload(self, action: Look) -> dict[str, Any]:
        return {"reward": action.reward}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[dict[str, Any]]:
        return StepResult(payload["observation"], payload["reward"], payload["done"])

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)


def test_typed_clients_get_arrays_and_generic_ones_the_json_of_version_1() -> None:
    app = create_app(Looking, Look, Seen)
    with running(app) as base_url, running(without_v2(app)) as v1_url:
        with GenericEnvClient(base_url) as client, GenericEnvClient(v1_url) as v1_client:
            assert client.reset(seed=7) == v1_client.reset(seed=7)
            assert client.step({"reward": None}) == v1_client.step({"reward": None})
        with LookClient(base_url) as client:
            result = client.reset(seed=7)
            assert isinstance(result.observation["px"], np.ndarray)
            assert (result.observation["px"].dtype, result.reward) == (np.uint8, 7)


class Brief(Observation):
    text: str = ""
    note: str | None = None

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        return super().model_dump(**{"exclude_none": True, **kwargs})


class Short(Environment[Look, Brief, State]):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self) -> Brief:
        return Brief(text="a")

    def step(self, action: Look) -> Brief:
        return Brief(text="b", note="c")

    @property
    def state(self) -> State:
        return State()


def test_an_observation_s_own_model_dump_decides_what_is_sent() -> None:
    with running(create_app(Short, Look, Brief)) as base_url:
        envs = gym.make_vec("openenv/remote", num_envs=2, base_url=base_url)
        envs.reset()
        assert envs.observation_space.contains(envs.step(envs.action_space.sample())[0])
        envs.close()
        with GenericEnvClient(base_url) as client:
            assert client.reset().observation == {"text": "a", "metadata": {}}
            assert client.step({}).observation == {"text": "b", "note": "c", "metadata": {}}
        reset, step = ask_v1(base_url, {"type": "reset"}, {"type": "step", "data": {}})
        assert reset["observation"] == {"text": "a", "metadata": {}}
        assert step["observation"] == {"text": "b", "note": "c", "metadata": {}}
