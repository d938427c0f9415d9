"""The session of a tab, with calls that overlap."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from openenv_server import create_app
from openenv_server.playground.episode import Episode

from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.types import Action, Observation, State
from tests.support.servers import running


class Slow:
    """Takes a moment for each step."""

    def reset(self, seed: int | None = None) -> Observation:
        return Observation()

    def step(self, action: Action) -> Observation:
        time.sleep(0.2)
        return Observation(reward=1.0)

    @property
    def state(self) -> State:
        return State()


def test_it_is_busy_until_the_last_of_its_calls_has_ended() -> None:
    async def play(url: str) -> list[Any]:
        episode = Episode(Endpoint.parse(url), renders=False)
        await episode.reset({})
        seen: list[Any] = [episode.is_busy]
        step, reset = asyncio.ensure_future(episode.step({})), asyncio.ensure_future(episode.reset({}))
        await step
        seen.append(episode.is_busy)
        await reset
        seen += [episode.is_busy, episode.steps]
        await episode.close()
        return seen

    with running(create_app(Slow, Action, Observation)) as url:
        assert asyncio.run(play(url)) == [False, True, False, 0]
