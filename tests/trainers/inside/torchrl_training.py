"""TorchRL trains on remote environments, with the weights of local ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.collectors import Collector, MultiSyncCollector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import EnvBase, GymEnv, GymWrapper, ParallelEnv, SerialEnv, check_env_specs
from torchrl.modules import (
    MLP,
    Actor,
    AdditiveGaussianModule,
    OneHotCategorical,
    ProbabilisticActor,
    ValueOperator,
)
from torchrl.objectives import ClipPPOLoss, DDPGLoss
from torchrl.objectives.value import GAE

from openenv_gym.wrappers import flatten_for_rl
from tests.trainers.inside.serving import Serve, serving

REMOTE = "openenv_gym:openenv/remote"
GUESS = "tests.trainers.environments:Guess-v0"
Make = Callable[[], EnvBase]
Trained = tuple[dict[str, Any], float]

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    ppo(partial(GymEnv, "CartPole-v1"), 256)  # PyTorch's first steps are slow
    with serving() as serve:
        yield serve


def makers(gym_id: str, base_url: str) -> dict[str, tuple[Make, Make]]:
    """Return what makes environments of each kind, local and remote ones."""
    one, other = partial(GymEnv, gym_id), partial(GymEnv, REMOTE, base_url=base_url)

    def both(make: Callable[[str, dict[str, Any]], EnvBase]) -> tuple[Make, Make]:
        return lambda: make(gym_id, {}), lambda: make(REMOTE, {"base_url": base_url})

    def vector(env_id: str, keywords: dict[str, Any], mode: gym.vector.AutoresetMode) -> EnvBase:
        if keywords:
            return GymWrapper(gym.make_vec(env_id, 4, **keywords, autoreset_mode=mode))
        return GymWrapper(gym.make_vec(env_id, 4, "sync", vector_kwargs={"autoreset_mode": mode}))

    return {
        "GymEnv": (one, other),
        "GymWrapper": both(lambda env_id, keywords: GymWrapper(gym.make(env_id, **keywords))),
        "SerialEnv": (partial(SerialEnv, 4, one), partial(SerialEnv, 4, other)),
        "ParallelEnv": (partial(SerialEnv, 2, one), partial(ParallelEnv, 2, other, mp_start_method="spawn")),
        "vector, same step": both(partial(vector, mode=gym.vector.AutoresetMode.SAME_STEP)),
        "vector, disabled": both(partial(vector, mode=gym.vector.AutoresetMode.DISABLED)),
    }


def collect(
    make: Make, policy: Any, steps: int, frames: int, update: Callable[[TensorDict], None], **options: Any
) -> float:
    """Update with each batch of steps; return the steps of environments per second."""
    env = make()
    env.set_seed(7)
    begin = time.perf_counter()
    for batch in Collector(env, policy, frames_per_batch=frames, total_frames=steps, **options):
        update(batch)
    return steps / (time.perf_counter() - begin)


def ppo(make: Make, steps: int = 1024) -> Trained:
    """Train with PPO; return the weights, and the steps of environments per second."""
    torch.manual_seed(7)
    env = make()
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    env.close(raise_if_closed=False)
    actor = ProbabilisticActor(
        TensorDictModule(MLP(size, actions, num_cells=[32]), ["observation"], ["logits"]),
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,
    )
    critic = ValueOperator(MLP(size, 1, num_cells=[32]), in_keys=["observation"])
    loss, advantage = ClipPPOLoss(actor, critic), GAE(gamma=0.98, lmbda=0.8, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)

    def update(batch: TensorDict) -> None:
        advantage(batch)
        for _ in range(4):
            losses = loss(batch.reshape(-1))
            optimizer.zero_grad()
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            optimizer.step()

    fps = collect(make, actor, steps, steps // 4, update)
    return loss.state_dict(), fps


def ddpg(make: Make) -> Trained:
    """Train with DDPG; return the weights, and the steps of environments per second."""
    torch.manual_seed(7)
    env = make()
    spec = env.action_spec_unbatched
    env.close(raise_if_closed=False)
    actor = Actor(
        nn.Sequential(MLP(3, 1, num_cells=[32]), nn.Tanh()), in_keys=["observation"], spec=spec, safe=True
    )
    critic = ValueOperator(MLP(4, 1, num_cells=[32]), in_keys=["observation", "action"])
    loss = DDPGLoss(actor, critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    buffer = ReplayBuffer(storage=LazyTensorStorage(1_000), batch_size=64)

    def update(batch: TensorDict) -> None:
        buffer.extend(batch.reshape(-1))
        losses = loss(buffer.sample())
        optimizer.zero_grad()
        (losses["loss_actor"] + losses["loss_value"]).backward()
        optimizer.step()

    policy = TensorDictSequential(actor, AdditiveGaussianModule(spec))
    fps = collect(make, policy, 600, 4, update, init_random_frames=64)
    return loss.state_dict(), fps


def assert_the_same(what: str, local: Trained, remote: Trained) -> None:
    (weights, local_fps), (others, fps) = local, remote
    print(f"{what}: {fps:.0f} fps, {fps / local_fps:.2f} of the local one's")
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights), what


KINDS = list(makers("", ""))


@pytest.mark.parametrize("kind", KINDS)
def test_ppo_has_the_weights_of_local_training(kind: str, serve: Serve) -> None:
    local, remote = makers("CartPole-v1", serve("CartPole-v1"))[kind]
    assert_the_same(f"PPO, CartPole-v1, {kind}", ppo(local), ppo(remote))


def test_ppo_trains_the_same_on_a_longer_observation(serve: Serve) -> None:
    local, remote = makers("LunarLander-v3", serve("LunarLander-v3"))["vector, disabled"]
    assert_the_same("PPO, LunarLander-v3, vector, disabled", ppo(local), ppo(remote))


@pytest.mark.parametrize("kind", ["GymEnv", "vector, same step", "vector, disabled"])
def test_ddpg_has_the_weights_of_local_training(kind: str, serve: Serve) -> None:
    local, remote = makers("Pendulum-v1", serve("Pendulum-v1"))[kind]
    assert_the_same(f"DDPG, Pendulum-v1, {kind}", ddpg(local), ddpg(remote))


def test_specs_are_those_of_the_environment(serve: Serve) -> None:
    for kind, (local, remote) in makers("CartPole-v1", serve("CartPole-v1")).items():
        if kind == "ParallelEnv":
            continue
        ours, theirs = remote(), local()
        check_env_specs(ours)
        assert str(ours.specs) == str(theirs.specs)
        ours.close(raise_if_closed=False)
        theirs.close(raise_if_closed=False)


def test_torchrl_skips_frames(serve: Serve) -> None:
    rollouts = []
    for env_id, keywords in (("CartPole-v1", {}), (REMOTE, {"base_url": serve("CartPole-v1")})):
        env = GymEnv(env_id, frame_skip=3, **keywords)
        env.set_seed(7)
        torch.manual_seed(7)
        rollouts.append(env.rollout(5))
        env.close(raise_if_closed=False)
    local, remote = rollouts
    assert (local == remote).all()
    assert remote["next", "reward"].max() == 3


def test_any_environment_has_tensors_with_flat_spaces(serve: Serve) -> None:
    rollouts = []
    for env_id, keywords in ((GUESS, {}), (REMOTE, {"base_url": serve(GUESS)})):
        env = GymWrapper(flatten_for_rl(gym.make(env_id, **keywords)))
        check_env_specs(env)
        env.set_seed(7)
        torch.manual_seed(7)
        rollouts.append(env.rollout(20, break_when_any_done=False))
        env.close()
    local, remote = rollouts
    assert (local == remote).all()
    assert remote["next", "reward"].sum() > 0


def test_a_vector_environment_with_another_autoreset_mode_is_refused(serve: Serve) -> None:
    envs = gym.make_vec(REMOTE, 2, base_url=serve("CartPole-v1"))
    with pytest.raises(RuntimeError, match="SAME_STEP or DISABLED"):
        GymWrapper(envs)
    envs.close()


def test_collectors_in_other_processes_train_on_one_server(serve: Serve) -> None:
    make = partial(GymEnv, REMOTE, base_url=serve("CartPole-v1"))
    collector = MultiSyncCollector([make] * 2, frames_per_batch=64, total_frames=128)
    batches = [batch.clone() for batch in collector]
    collector.shutdown()
    assert [batch.numel() for batch in batches] == [64, 64]
