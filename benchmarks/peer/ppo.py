"""Train with PPO on 64 CartPoles: python ppo.py KIND URL.

Reads numbers of updates from standard input, and prints the seconds that each took, collecting and learning.

KIND is ``sync``, a local SyncVectorEnv; ``remote``, the same loop on a remote environment; or ``halves``, a
remote environment whose two halves take turns, so that one steps while the policy computes the actions of the
other. The hyperparameters are those of CleanRL.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical

COUNT, STEPS, WIDTH = 64, 128, 256
EPOCHS, MINIBATCHES, CLIP, ENTROPY, VALUE, LEARNING_RATE = 4, 4, 0.2, 0.01, 0.5, 2.5e-4
GAMMA, LAMBDA = 0.99, 0.95

# Observations, rewards, and whether an episode ended before them.
Outcome = tuple[np.ndarray, np.ndarray, np.ndarray]


class Player(Protocol):
    """Steps the environments, in parts.

    Attributes:
        parts: The slots of each part.
    """

    parts: list[slice]

    def send(self, part: slice, actions: np.ndarray) -> None:
        """Begin a step of a part."""

    def receive(self, part: slice) -> Outcome:
        """Return what came of the last step of a part, or of the first reset."""


class Stepped:
    """An environment whose slots are stepped together."""

    def __init__(self, envs: VectorEnv) -> None:
        self._envs = envs
        self.parts = [slice(0, COUNT)]
        self._outcome = (envs.reset(seed=1)[0], np.zeros(COUNT), np.zeros(COUNT, bool))

    def send(self, part: slice, actions: np.ndarray) -> None:
        observations, rewards, terminated, truncated, _ = self._envs.step(actions)
        self._outcome = observations, rewards, terminated | truncated

    def receive(self, part: slice) -> Outcome:
        return self._outcome


class Halves:
    """A remote environment whose halves take turns."""

    def __init__(self, envs: VectorEnv) -> None:
        self._envs = envs
        self.parts = [slice(0, COUNT // 2), slice(COUNT // 2, COUNT)]
        self._slots = {part.start: np.arange(part.start, part.stop) for part in self.parts}
        first, _ = envs.reset(seed=1)
        self._first = {part.start: first[part].copy() for part in self.parts}

    def send(self, part: slice, actions: np.ndarray) -> None:
        self._envs.send(actions, self._slots[part.start])

    def receive(self, part: slice) -> Outcome:
        if part.start in self._first:
            half = COUNT // 2
            return self._first.pop(part.start), np.zeros(half), np.zeros(half, bool)
        ready = self._envs.recv(slots=self._slots[part.start])
        return ready.observations, ready.rewards, ready.terminations | ready.truncations


class Trainer:
    """PPO: collects steps, learns from them, and again."""

    def __init__(self, player: Player) -> None:
        torch.manual_seed(1)
        self._player = player
        self._body = nn.Sequential(nn.Linear(4, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh())
        self._actor, self._critic = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 1)
        modules = nn.ModuleList([self._body, self._actor, self._critic])
        self._parameters = list(modules.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, LEARNING_RATE, eps=1e-5)
        self._last = {part.start: player.receive(part) for part in player.parts}
        self.lengths = []

    def update(self) -> None:
        """Collect steps, and learn from them."""
        self._learn(*self._collect())

    def _evaluate(self, observations: Tensor) -> tuple[Categorical, Tensor]:
        features = self._body(observations)
        distribution = Categorical(logits=self._actor(features), validate_args=False)
        return distribution, self._critic(features).squeeze(-1)

    @torch.no_grad()
    def _collect(self) -> list[Tensor]:
        observations = torch.empty(STEPS, COUNT, 4)
        actions = torch.empty(STEPS, COUNT, dtype=torch.int64)
        log_probs, rewards = torch.empty(STEPS, COUNT), torch.empty(STEPS, COUNT)
        values, ended = torch.empty(STEPS + 1, COUNT), torch.empty(STEPS + 1, COUNT)
        player = self._player
        for step in range(STEPS + 1):
            for part in player.parts:
                outcome = self._last.pop(part.start, None) or player.receive(part)
                seen, reward, has_ended = map(torch.as_tensor, outcome)
                ended[step, part] = has_ended.float()
                if step:
                    rewards[step - 1, part] = reward.float()
                if step == STEPS:
                    self._last[part.start] = tuple(np.copy(column) for column in outcome)
                    values[step, part] = self._evaluate(seen)[1]
                    continue
                observations[step, part] = seen
                distribution, values[step, part] = self._evaluate(seen)
                chosen = distribution.sample()
                player.send(part, chosen.numpy())
                actions[step, part], log_probs[step, part] = chosen, distribution.log_prob(chosen)
        advantages = torch.empty(STEPS, COUNT)
        following = torch.zeros(COUNT)
        for step in reversed(range(STEPS)):
            goes_on = 1 - ended[step + 1]
            error = rewards[step] + GAMMA * values[step + 1] * goes_on - values[step]
            following = error + GAMMA * LAMBDA * goes_on * following
            advantages[step] = following
        self.lengths.append(STEPS * COUNT / max(float(ended[1:].sum()), 1))
        flat = (observations, actions, log_probs, advantages, advantages + values[:-1], values[:-1])
        is_step = ended[:-1].flatten() == 0  # else the environment was reset instead
        return [column.flatten(0, 1)[is_step] for column in flat]

    def _learn(
        self,
        observations: Tensor,
        actions: Tensor,
        log_probs: Tensor,
        advantages: Tensor,
        returns: Tensor,
        old_values: Tensor,
    ) -> None:
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(actions)).chunk(MINIBATCHES):
                distribution, values = self._evaluate(observations[batch])
                ratio = (distribution.log_prob(actions[batch]) - log_probs[batch]).exp()
                gain = advantages[batch]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                policy_loss = torch.max(-gain * ratio, -gain * ratio.clamp(1 - CLIP, 1 + CLIP)).mean()
                clipped = old_values[batch] + (values - old_values[batch]).clamp(-CLIP, CLIP)
                errors = torch.max((values - returns[batch]).square(), (clipped - returns[batch]).square())
                loss = policy_loss + VALUE * 0.5 * errors.mean() - ENTROPY * distribution.entropy().mean()
                self._optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self._parameters, 0.5)
                self._optimizer.step()


def main(kind: str, base_url: str) -> None:
    """Make the environments, and train as often as requested."""
    torch.set_num_threads(1)
    if kind == "sync":
        player = Stepped(gym.make_vec("CartPole-v1", COUNT, "sync"))
    else:
        envs = gym.make_vec("openenv_gym:openenv/remote", COUNT, base_url=base_url).unwrapped
        player = Halves(envs) if kind == "halves" else Stepped(envs)
    trainer = Trainer(player)
    print("ready", flush=True)
    while line := sys.stdin.readline():
        begin = time.perf_counter()
        for _ in range(int(line)):
            trainer.update()
        print(time.perf_counter() - begin, flush=True)
    print(f"{kind}: episodes of {trainer.lengths[-1]:.0f} steps", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
