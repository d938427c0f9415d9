"""PPO in plain PyTorch, as single-file scripts have it, for the vector environments of Gymnasium."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal


@dataclass(frozen=True)
class Settings:
    """Hyperparameters.

    Attributes:
        updates: How many times the agent learns.
        steps: Steps of each environment before it does.
    """

    updates: int
    steps: int = 128
    epochs: int = 4
    minibatches: int = 4
    learning_rate: float = 2.5e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    seed: int = 7


class Training(NamedTuple):
    """A training that has ended.

    Attributes:
        agent: Its actor and its critic.
        returns: Of each episode that has ended, in their order.
        fps: Steps of environments per second, with the time for learning.
    """

    agent: Agent
    returns: list[float]
    fps: float


class Rollout(NamedTuple):
    """Arrays of shape (steps, environments, …).

    Attributes:
        next_observations: After each step, before a reset.
        is_step: False where the environment was reset instead of stepped.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor
    ended: Tensor
    is_step: Tensor


class Agent(nn.Module):
    """An actor and a critic: convolutions over stacked frames, or layers over a row of numbers."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        super().__init__()
        shape = observations.shape
        assert shape is not None
        self._is_image = observations.dtype == np.uint8
        if len(shape) == 3 and shape[-1] == 84:
            self.body = nn.Sequential(
                nn.Conv2d(shape[0], 16, 8, 4),
                nn.ReLU(),
                nn.Conv2d(16, 32, 4, 2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(32 * 9 * 9, 128),
                nn.ReLU(),
            )
            width = 128
        else:
            self.body, width = nn.Flatten(), int(np.prod(shape))
        self.is_discrete = isinstance(actions, spaces.Discrete)
        outputs = int(actions.n) if isinstance(actions, spaces.Discrete) else actions.shape[0]
        self.actor, self.critic = self._head(width, outputs, 0.01), self._head(width, 1, 1.0)
        self.log_std = nn.Parameter(torch.zeros(outputs))

    @staticmethod
    def _head(width: int, outputs: int, gain: float) -> nn.Sequential:
        layers = [nn.Linear(width, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
        for layer, scale in zip(layers, (2**0.5, 2**0.5, gain), strict=True):
            nn.init.orthogonal_(layer.weight, scale)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])

    def forward(self, observations: Tensor) -> tuple[Any, Tensor]:
        """Return the distribution of actions, and the values."""
        features = self.body(observations.float() / 255 if self._is_image else observations.float())
        outputs, values = self.actor(features), self.critic(features).squeeze(-1)
        if self.is_discrete:
            return Categorical(logits=outputs), values
        return Independent(Normal(outputs, self.log_std.exp().expand_as(outputs)), 1), values


def train(envs: VectorEnv[Any, Any, Any], settings: Settings) -> Training:
    """Train an agent in an environment that resets by itself, in either mode of doing so."""
    torch.manual_seed(settings.seed)
    agent = Agent(envs.single_observation_space, envs.single_action_space)
    optimizer = torch.optim.Adam(agent.parameters(), settings.learning_rate, eps=1e-5)
    player = _Player(envs, settings.seed)
    begin = time.perf_counter()
    for _ in range(settings.updates):
        _learn(agent, optimizer, player.play(agent, settings.steps), settings)
    fps = settings.updates * settings.steps * envs.num_envs / (time.perf_counter() - begin)
    return Training(agent, player.returns, fps)


class _Player:
    """Steps the environments, from where it has left off."""

    def __init__(self, envs: VectorEnv[Any, Any, Any], seed: int) -> None:
        self._envs = envs
        self._resets_next = envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        self._observations, _ = envs.reset(seed=seed)
        self._ended = np.zeros(envs.num_envs, bool)
        self._sums = np.zeros(envs.num_envs)
        self.returns: list[float] = []

    def play(self, agent: Agent, steps: int) -> Rollout:
        rows = [self._step(agent) for _ in range(steps)]
        return Rollout(*(torch.as_tensor(np.stack(column)) for column in zip(*rows, strict=True)))

    def _step(self, agent: Agent) -> tuple[np.ndarray[Any, Any], ...]:
        observations = np.copy(self._observations)
        with torch.no_grad():
            actions = agent(torch.as_tensor(observations))[0].sample().numpy()
        is_step = ~self._ended if self._resets_next else np.ones_like(self._ended)
        after, rewards, terminated, truncated, infos = self._envs.step(actions)
        self._observations, self._ended = after, terminated | truncated
        self._sums += rewards
        self.returns += self._sums[self._ended].tolist()
        self._sums[self._ended] = 0
        last = np.copy(after)
        if not self._resets_next:
            for slot in np.flatnonzero(self._ended):
                last[slot] = infos["final_obs"][slot]
        return observations, actions, rewards, last, terminated, self._ended, is_step


def _learn(agent: Agent, optimizer: torch.optim.Optimizer, rollout: Rollout, settings: Settings) -> None:
    """Take the steps of gradients for a rollout."""
    observations, actions = rollout.observations.flatten(0, 1), rollout.actions.flatten(0, 1)
    with torch.no_grad():
        distribution, values = agent(observations)
        old_log_probs = distribution.log_prob(actions)
        _, next_values = agent(rollout.next_observations.flatten(0, 1))
        next_values = next_values.view(rollout.rewards.shape) * ~rollout.terminated
        errors = rollout.rewards + settings.gamma * next_values - values.view(rollout.rewards.shape)
        advantages = torch.zeros_like(errors)
        following = torch.zeros_like(errors[0])
        for step in reversed(range(len(errors))):
            following = errors[step] + settings.gamma * settings.gae_lambda * following * ~rollout.ended[step]
            advantages[step] = following
    advantages = advantages.flatten().float()
    steps = rollout.is_step.flatten().nonzero().squeeze(-1)
    for _ in range(settings.epochs):
        for batch in steps[torch.randperm(len(steps))].chunk(settings.minibatches):
            distribution, new_values = agent(observations[batch])
            ratio = (distribution.log_prob(actions[batch]) - old_log_probs[batch]).exp()
            gain = advantages[batch]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            policy_loss = -torch.min(ratio * gain, clipped * gain).mean()
            value_loss = (new_values - values[batch] - advantages[batch]).square().mean()
            loss = policy_loss + 0.25 * value_loss - settings.entropy * distribution.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
