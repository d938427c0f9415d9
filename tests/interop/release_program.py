"""Uses the server at an address in every way, with whichever release of openenv-gym is on the path.

Prints "cut" where the connections are to be cut, and goes on after a line of input; prints results as JSON at
the end. It uses only what 0.1.0 has. The server is that of `tests.support.processes.SLEEPER`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import gymnasium as gym
import numpy as np

import openenv_gym
from openenv_gym import EnvClient, GenericEnvClient, StepResult
from openenv_gym.types import Action, Observation, State


class Sleep(Action):
    seconds: float = 0.0
    fail: str = ""


class Slept(Observation):
    steps: int


class SleepClient(EnvClient[Sleep, Slept, State]):
    """A typed client."""

    def _step_payload(self, action: Sleep) -> dict[str, Any]:
        return {"seconds": action.seconds, "fail": action.fail}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[Slept]:
        observation = Slept(steps=payload["observation"]["steps"])
        return StepResult(observation=observation, reward=payload["reward"], done=payload["done"])

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)


def cut() -> None:
    print("cut", flush=True)
    sys.stdin.readline()


def number(value: Any) -> Any:
    return np.asarray(value).tolist()


def environment(base_url: str) -> list[Any]:
    env = gym.make("openenv/remote", base_url=base_url)
    action = {"seconds": np.float64(0), "fail": ""}
    seen = [number(env.reset(seed=1)[0])]
    for _ in range(2):
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append([number(observation), reward, terminated, truncated])
        cut()
    seen.append(number(env.step(action)[0]))
    env.close()
    return seen


def vector_environment(base_url: str) -> list[Any]:
    envs = gym.make_vec("openenv/remote", num_envs=3, base_url=base_url, max_episode_steps=3)
    actions = {"seconds": np.zeros(3), "fail": ("", "", "")}
    seen = [number(envs.reset(seed=[1, 2, 3])[0])]
    for step in range(5):
        observations, rewards, _, truncations, _ = envs.step(actions)
        seen.append([number(observations), number(rewards), number(truncations)])
        if step in (0, 3):
            cut()
    envs.close()
    return seen


def failure(base_url: str) -> list[Any]:
    env = gym.make("openenv/remote", base_url=base_url)
    env.reset()
    try:
        env.step({"seconds": np.float64(0), "fail": "told to"})
    except openenv_gym.errors.RemoteEnvironmentError as error:
        return [error.code, "told to" in str(error)]
    finally:
        env.close()
    return []


def typed_client(base_url: str) -> list[Any]:
    with SleepClient(base_url=base_url).sync() as client:
        seen: list[Any] = [client.reset(seed=4).observation.steps]
        result = client.step(Sleep())
        seen += [result.observation.steps, result.reward, result.done, client.state().step_count]
    return seen


async def generic_client(base_url: str) -> list[Any]:
    async with GenericEnvClient(base_url=base_url) as client:
        await client.reset()
        result = await client.step({"seconds": 0.0})
        return [result.observation["steps"], result.reward, result.done]


def main(base_url: str) -> None:
    results = {
        "environment": environment(base_url),
        "vector environment": vector_environment(base_url),
        "failure": failure(base_url),
        "typed client": typed_client(base_url),
        "generic client": asyncio.run(generic_client(base_url)),
        "from": openenv_gym.__file__,
    }
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
