"""Episodes of sampled actions, and whether two of them are the same."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

from openenv_cli.validation.observed import Judge, shown
from openenv_cli.validation.server import TURN_TIMEOUT_S, Server
from openenv_gym.client import GenericEnvClient
from openenv_gym.session.recovery import retry
from openenv_gym.spaces import compile_action
from openenv_gym.transport.http import get_schemas

SEED = 42
STEPS = 20
# What leaves its bounds often does so late: as much is looked at, whichever comes first.
MOST_STEPS = 1000
MOST_TIME_S = 2.0


class Moment(NamedTuple):
    """What a reset or a step gave; a reset gives no reward and ends nothing.

    The observation is that of the message, in which a choice is its label and not an index.
    """

    observation: dict[str, Any]
    reward: float | None = None
    done: bool = False
    truncated: bool | None = False


class Episode(NamedTuple):
    """The first steps of an episode.

    Attributes:
        moments: That of the reset, and one a step.
        seed_is_ignored: Whether the server says that it cannot use the seed.
    """

    moments: list[Moment]
    seed_is_ignored: bool


class Player:
    """Plays sampled actions in a session of its own, and looks at each observation.

    Args:
        server: The server.

    Attributes:
        steps: How many steps were taken.
        episodes: How many episodes were begun.
        where: What was asked for last, in words.

    Raises:
        OpenEnvError: What `get_schemas` raises, or the schemas become no spaces.
    """

    def __init__(self, server: Server) -> None:
        action, observation = get_schemas(server.endpoint, timeout_s=server.timeout_s)
        self._action = compile_action(action).codec
        self._judge = Judge(observation)
        self._turn_timeout_s = min(TURN_TIMEOUT_S, server.timeout_s)
        self._client: GenericEnvClient = server.client()
        self.steps = self.episodes = 0
        self.where = ""
        self._seed_is_ignored = False

    def close(self) -> None:
        """Ends the session."""
        self._client.close()

    def reset(self, seed: int) -> Moment:
        """Begins an episode; the sampled actions are seeded too. Raises what a client's reset does."""
        self._action.space.seed(seed)
        self.where = f"the reset with seed {seed}"
        result = retry(lambda: self._client.reset(seed=seed), self._turn_timeout_s)
        self._seed_is_ignored = bool(result.metadata.get("seed_ignored"))
        self.episodes += 1
        return Moment(result.observation)

    def step(self, number: int) -> Moment:
        """Takes a sampled action, the one of this number in its episode. Raises what a client's step does."""
        action = self._action.encode(self._action.space.sample())
        self.where = f"episode {self.episodes}, step {number}, after the action {shown(action)}"
        result = self._client.step(action)
        self.steps += 1
        return Moment(result.observation, result.reward, result.done, result.truncated)

    def objection(self, moment: Moment) -> str:
        """What is wrong with an observation, and where; empty where nothing is."""
        wrong = self._judge.objection(moment.observation)
        return f"{self.where}: {wrong}" if wrong else ""

    def play(self) -> Episode:
        """Plays an episode, `STEPS` at most, the same each time as far as the environment heeds its seed."""
        moments = [self.reset(SEED)]
        while len(moments) <= STEPS and not moments[-1].done:
            moments.append(self.step(len(moments)))
        return Episode(moments, self._seed_is_ignored)

    def play_long(self) -> str:
        """Plays `MOST_STEPS` or `MOST_TIME_S`, until an observation is not as its schema and space say.

        Each episode gets half of what is left, so that there is a long one, and there are several.

        Returns:
            The objection; empty where there is none.
        """
        end = time.monotonic() + MOST_TIME_S
        while self.steps < MOST_STEPS and (begin := time.monotonic()) < end:
            last_step = self.steps + (MOST_STEPS - self.steps + 1) // 2
            until = begin + (end - begin) / 2
            moment, number = self.reset(SEED + self.episodes), 0
            while not (wrong := self.objection(moment)) and not moment.done:
                # An episode has one step at least, however slow its reset is.
                if number and (self.steps >= last_step or time.monotonic() >= until):
                    break
                number += 1
                moment = self.step(number)
            if wrong:
                return wrong
        return ""


def first_difference(one: Episode, other: Episode) -> str:
    """Where two episodes differ, in words; empty where they do not."""
    for number, (a, b) in enumerate(zip(one.moments, other.moments, strict=False)):
        if place := _differs(a._asdict(), b._asdict(), ""):
            return f"{f'step {number}' if number else 'the reset'}: {place}"
    if len(one.moments) != len(other.moments):
        return f"one ends after {len(one.moments) - 1} steps, the other after {len(other.moments) - 1}"
    return ""


def _differs(a: Any, b: Any, path: str) -> str:
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        parts = ((a[key], b[key], f"{path}.{key}") for key in a)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        parts = ((x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
    elif _same(a, b):
        return ""
    else:
        return f"{path.lstrip('.')} is {shown(a)} once and {shown(b)} then"
    return next((place for part in parts if (place := _differs(*part))), "")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)
