"""Collect the episodes of an agent that reads and writes JSON or text: a language model, say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from openenv_gym.errors import (
    ActionOutsideSpaceError,
    ConfigurationError,
    EndpointError,
    RemoteError,
    StepTimeoutError,
)
from openenv_gym.providers.progress import shown, tell
from openenv_gym.vector import RemoteVectorEnv

# So many wrong actions in a row end an episode.
_MOST_ERRORS = 3


@dataclass
class Episode:
    """An episode, as far as it has come.

    Attributes:
        number: Its place among all episodes.
        seed: The seed of its reset.
        observation: The latest observation, as JSON values.
        steps: The steps so far: ``observation``, the ``action`` that followed, its ``reward``, and if the
            action was wrong, the ``error`` that says why. Nothing was done then, and the agent tries again.
        terminated: Whether it reached its end.
        truncated: Whether it was cut short: by the environment, by three wrong actions in a row, or since its
            session was lost.
    """

    number: int
    seed: int | None
    observation: Any
    steps: list[dict[str, Any]] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    @property
    def reward(self) -> float:
        """The sum of its rewards."""
        return float(sum(step["reward"] for step in self.steps))

    @property
    def error(self) -> str:
        """Why the last action was wrong; "" if it was not."""
        return str(self.steps[-1].get("error", "")) if self.steps else ""

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.terminated or self.truncated

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, a line of the file that `collect` writes."""
        return {
            "number": self.number,
            "seed": self.seed,
            "reward": self.reward,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "steps": self.steps,
            "observation": self.observation,
        }


Policy = Callable[[Sequence[Episode]], Sequence[str | Mapping[str, Any]]]


def collect(
    env: VectorEnv[Any, Any, Any],
    policy: Policy,
    episodes: int,
    *,
    seed: int | None = None,
    path: str | Path | None = None,
) -> list[Episode]:
    """Play episodes in all slots of a vector environment, and return them in order.

    The policy is asked for the slots that are ready; the others continue on the server meanwhile. Progress is
    shown on standard error if that is a terminal.

    Args:
        env: What ``gym.make_vec("openenv/NAME", num_envs=…)`` returns, with as many slots as episodes are to
            be played at a time.
        policy: Returns the next action of each of some episodes: a JSON object with the fields of the
            server's action model, or the text of one.
        episodes: How many to play.
        seed: Episode i has the seed ``seed + i``.
        path: A file, to which a line of JSON is appended when an episode ends; see `Episode.to_json`.

    Raises:
        ConfigurationError: ``env`` is another vector environment, or resets in the same step.
        OpenEnvError: A reset failed. A step that fails ends its episode, or is an error for the policy.

    Example:
        >>> envs = gym.make_vec("openenv/my-env", num_envs=16)
        >>> played = collect(envs, policy, 100, seed=1, path="episodes.jsonl")
        >>> print(sum(episode.reward for episode in played) / len(played))
    """
    remote = env.unwrapped
    if not isinstance(remote, RemoteVectorEnv) or remote.autoreset_mode is AutoresetMode.SAME_STEP:
        raise ConfigurationError(
            f"collect needs a RemoteVectorEnv whose autoreset_mode is not SAME_STEP, got {env}.",
            advice='Make it with gym.make_vec("openenv/NAME", num_envs=…).',
        )
    with ExitStack() as stack:
        file = None if path is None else stack.enter_context(Path(path).open("a", encoding="utf-8"))
        stack.enter_context(shown("Playing episodes"))
        return _Collector(remote, policy, episodes, seed, file).play()


class _Collector:
    def __init__(
        self, env: RemoteVectorEnv, policy: Policy, count: int, seed: int | None, file: TextIO | None
    ) -> None:
        self._env, self._policy, self._count, self._seed, self._file = env, policy, count, seed, file
        self._episodes: list[Episode] = []
        self._playing: dict[int, Episode] = {}  # by slot
        self._ended = 0

    def play(self) -> list[Episode]:
        """Play all episodes."""
        ready, stepping = self._begin(range(self._env.num_envs), is_first=True), set[int]()
        while ready or stepping:
            if ready:
                sent = self._act(sorted(ready))
                ready, stepping = ready - sent, stepping | sent
            else:
                arrived = self._receive()
                ready, stepping = arrived, stepping - arrived
            if over := sorted(slot for slot in ready if self._playing[slot].done):
                for slot in over:
                    self._end(self._playing.pop(slot))
                ready = ready.difference(over) | self._begin(over)
        return self._episodes

    def _begin(self, slots: Iterable[int], *, is_first: bool = False) -> set[int]:
        """Begin the next episodes in some slots; return the slots that have one."""
        used = list(slots)[: self._count - len(self._episodes)]
        if not used:
            return set()
        seeds: list[int | None] = [None] * self._env.num_envs
        if self._seed is not None:
            for place, slot in enumerate(used, len(self._episodes)):
                seeds[slot] = self._seed + place
        mask = np.zeros(self._env.num_envs, np.bool_)
        mask[used] = True
        observations, _ = self._env.reset(seed=seeds, options=None if is_first else {"reset_mask": mask})
        payloads = self._env.observations_to_json(observations)
        for slot in used:
            self._playing[slot] = Episode(len(self._episodes), seeds[slot], payloads[slot])
            self._episodes.append(self._playing[slot])
        return set(used)

    def _act(self, slots: Sequence[int]) -> set[int]:
        """Ask the policy, and send the actions that fit; return their slots."""
        episodes = [self._playing[slot] for slot in slots]
        actions = list(self._policy(episodes))
        if len(actions) != len(slots):
            raise ConfigurationError(f"The policy returned {len(actions)} actions for {len(slots)} episodes.")
        fitting: list[int] = []
        for slot, episode, action in zip(slots, episodes, actions, strict=True):
            episode.steps.append({"observation": episode.observation, "action": action, "reward": 0.0})
            try:
                self._env.actions_from_json([action])
                fitting.append(slot)
            except ActionOutsideSpaceError as error:
                self._note(episode, error.message.removeprefix("0: "))
        if fitting:
            sent = [actions[slots.index(slot)] for slot in fitting]
            self._env.send(self._env.actions_from_json(sent), fitting)
        return set(fitting)

    def _receive(self) -> set[int]:
        """Wait for the first results; return their slots."""
        try:
            ready = self._env.recv()
        except (RemoteError, EndpointError) as error:
            if not error.slots:
                raise
            return self._note_failures()
        payloads = self._env.observations_to_json(ready.observations, len(ready.slots))
        slots = ready.slots.tolist()
        for place, slot in enumerate(slots):
            episode = self._playing[slot]
            episode.steps[-1]["reward"] = float(ready.rewards[place])
            episode.observation = payloads[place]
            episode.terminated = bool(ready.terminations[place])
            episode.truncated = bool(ready.truncations[place])
        return set(slots)

    def _note_failures(self) -> set[int]:
        """Note the errors of some slots; return the slots."""
        backend, noted = self._env._backend, set[int]()
        for error, slots in [] if backend is None else backend.raised:
            for slot in self._playing.keys() & set(slots):
                is_lost = not isinstance(error, RemoteError) or isinstance(error, StepTimeoutError)
                self._note(self._playing[slot], error.message, is_lost=is_lost)
                noted.add(slot)
        return noted

    def _note(self, episode: Episode, error: str, *, is_lost: bool = False) -> None:
        """Note that an action was wrong; end the episode if too many were."""
        episode.steps[-1]["error"] = error
        last = episode.steps[-_MOST_ERRORS:]
        episode.truncated = is_lost or (len(last) == _MOST_ERRORS and all("error" in step for step in last))

    def _end(self, episode: Episode) -> None:
        self._ended += 1
        if self._file is not None:
            self._file.write(json.dumps(episode.to_json(), ensure_ascii=False) + "\n")
            self._file.flush()
        mean = np.mean([played.reward for played in self._episodes if played.done])
        tell(f"{self._ended} of {self._count} episodes, mean reward {mean:.3g}", self._ended, self._count)
