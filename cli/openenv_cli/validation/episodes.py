"""Episodes of sampled actions, and whether two of them are the same."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from openenv_gym.env import RemoteEnv

SEED = 42
STEPS = 20


class Moment(NamedTuple):
    """What a reset or a step gave; a reset gives no reward and ends nothing."""

    observation: Any
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


class Episode(NamedTuple):
    """The first steps of an episode.

    Attributes:
        moments: That of the reset, and one a step.
        seed_is_ignored: Whether the server says that it cannot use the seed.
    """

    moments: list[Moment]
    seed_is_ignored: bool

    @property
    def ended(self) -> bool:
        """Whether the episode ended within these steps."""
        return self.moments[-1].terminated or self.moments[-1].truncated


def play(env: RemoteEnv) -> Episode:
    """Plays an episode of sampled actions, `STEPS` at most; environment and actions are seeded."""
    env.action_space.seed(SEED)
    observation, info = env.reset(seed=SEED)
    moments = [Moment(observation)]
    while len(moments) <= STEPS and not (moments[-1].terminated or moments[-1].truncated):
        moments.append(Moment(*env.step(env.action_space.sample())[:4]))
    return Episode(moments, bool(info.get("seed_ignored")))


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
    elif isinstance(a, tuple | list) and isinstance(b, tuple | list) and len(a) == len(b):
        parts = ((x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
    elif _same(a, b):
        return ""
    else:
        return f"{path.lstrip('.')} is {_excerpt(a)} once and {_excerpt(b)} then"
    return next((place for part in parts if (place := _differs(*part))), "")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=np.issubdtype(a.dtype, np.inexact))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
