"""What callers of Gymnasium's vector environments rely on: exceptions, generators, asynchronous calls."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import AlreadyPendingCallError, NoAsyncCallError
from gymnasium.vector import AutoresetMode
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import DeadlineExceededError, OpenEnvError
from tests.support.servers import running, without_v2
from tests.support.vectors import assert_equal

COUNT = 3
VectorEnv = gym.vector.VectorEnv[Any, Any, Any]


@pytest.fixture(scope="module")
def url(serve_gym: Callable[[str], str]) -> str:
    return serve_gym("CartPole-v1")


@pytest.fixture
def local() -> Iterator[Any]:
    with closing(gym.make_vec("CartPole-v1", num_envs=COUNT, vectorization_mode="sync")) as envs:
        yield envs


@pytest.fixture
def envs(url: str) -> Iterator[RemoteVectorEnv]:
    with closing(RemoteVectorEnv(url, COUNT)) as envs:
        yield envs


def raised(call: Callable[[], Any]) -> type[BaseException] | None:
    try:
        call()
    except Exception as error:
        return type(error)
    return None


BAD_MASKS = {
    "a list": [True] * COUNT,
    "None": None,
    "a text": "x",
    "a number": 1,
    "too short": np.ones(COUNT - 1, np.bool_),
    "of integers": np.ones(COUNT, np.int64),
    "two axes": np.ones((COUNT, 1), np.bool_),
    "no True": np.zeros(COUNT, np.bool_),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_bad_reset_mask_raises_gymnasiums_type(name: str, local: VectorEnv, envs: RemoteVectorEnv) -> None:
    both = [local, envs]
    for made in both:
        made.reset(seed=1)
    expected, actual = (
        raised(lambda m=made: m.reset(options={"reset_mask": BAD_MASKS[name]})) for made in both
    )
    assert expected is not None
    assert actual is not None
    assert issubclass(actual, expected)
    assert issubclass(actual, OpenEnvError)
    assert_equal(local.step(np.ones(COUNT, np.int64)), envs.step(np.ones(COUNT, np.int64)))


BAD_ACTIONS = {
    "an integer": 0,
    "a float": 1.5,
    "None": None,
    "too few": [0] * (COUNT - 1),
    "too many": np.zeros(COUNT + 1, np.int64),
    "shape ()": np.array(0),
}


@pytest.mark.parametrize("name", BAD_ACTIONS)
def test_bad_actions_raise_gymnasiums_type(name: str, local: VectorEnv, envs: RemoteVectorEnv) -> None:
    both = [local, envs]
    for made in both:
        made.reset(seed=1)
    expected, actual = (raised(lambda m=made: m.step(BAD_ACTIONS[name])) for made in both)
    assert expected is not None
    assert actual is not None
    assert issubclass(actual, expected)
    assert issubclass(actual, OpenEnvError)


@pytest.mark.parametrize("seed", [42, [5, None, 7], (1, 2, 3), np.array([4, 5, 6]).tolist()])
def test_generators_are_seeded_like_the_slots(seed: Any, local: Any, envs: Any) -> None:
    local.reset(seed=[9] * COUNT)
    envs.reset(seed=[9] * COUNT)
    local.reset(seed=seed)
    envs.reset(seed=seed)
    mask = np.array([False, True, False])
    local.reset(seed=11, options={"reset_mask": mask})
    envs.reset(seed=11, options={"reset_mask": mask})
    assert envs.np_random_seed == local.np_random_seed == envs.get_attr("np_random_seed")
    assert envs.call("np_random_seed") == local.call("np_random_seed")
    for ours, seed_of_slot in zip(envs.np_random, local.np_random_seed, strict=True):
        fresh = gym.utils.seeding.np_random(seed_of_slot)[0]
        assert ours.integers(1 << 30) == fresh.integers(1 << 30)
    envs.step(np.zeros(COUNT, np.int64))
    assert envs.np_random_seed == local.np_random_seed


def test_generators_without_a_seed_stay(envs: RemoteVectorEnv) -> None:
    seeds = envs.np_random_seed
    assert len(set(seeds)) == COUNT
    envs.reset()
    assert envs.np_random_seed == seeds
    assert envs.np_random is not None
    assert pickle.loads(pickle.dumps(envs)).np_random_seed == seeds


def test_one_environment_has_the_seed_too(url: str) -> None:
    with closing(RemoteEnv(url)) as env:
        env.reset(seed=42)
        env.reset()
        assert env.np_random_seed == 42
        assert env.np_random.integers(1 << 30) == gym.utils.seeding.np_random(42)[0].integers(1 << 30)


@pytest.mark.parametrize("name", ["gravity", "step", "nope"])
def test_what_is_only_on_the_server_is_an_attribute_error(name: str, envs: RemoteVectorEnv) -> None:
    for call in (
        lambda: envs.get_attr(name),
        lambda: envs.call(name),
        lambda: envs.set_attr(name, [1] * COUNT),
        lambda: envs.set_attr(name, 1),
    ):
        error = raised(call)
        assert error is not None
        assert issubclass(error, AttributeError)
        assert issubclass(error, OpenEnvError)


def test_asynchronous_calls_give_what_step_and_reset_give(local: VectorEnv, envs: RemoteVectorEnv) -> None:
    envs.reset_async(seed=3)
    assert_equal(local.reset(seed=3), envs.reset_wait())
    for action in (0, 1, 1):
        envs.step_async(np.full(COUNT, action))
        assert_equal(local.step(np.full(COUNT, action)), envs.step_wait(timeout=10))
    mask = np.array([True, False, True])
    envs.reset_async(seed=4, options={"reset_mask": mask})
    assert_equal(local.reset(seed=4, options={"reset_mask": mask}), envs.reset_wait(timeout=10))


def test_asynchronous_calls_out_of_order(envs: RemoteVectorEnv) -> None:
    zeros = np.zeros(COUNT, np.int64)
    for wait in (envs.reset_wait, envs.step_wait):
        with pytest.raises(NoAsyncCallError):
            wait()
    envs.reset(seed=1)
    envs.step_async(zeros)
    with pytest.raises(NoAsyncCallError) as missing:
        envs.reset_wait()
    assert missing.value.name == "reset"
    for call in (lambda: envs.step_async(zeros), lambda: envs.step(zeros), envs.reset_async, envs.reset):
        with pytest.raises(AlreadyPendingCallError) as pending:
            call()
        assert pending.value.name == "step"
        assert isinstance(pending.value, OpenEnvError)
    envs.step_wait()
    with pytest.raises(NoAsyncCallError):
        envs.step_wait()
    envs.step(zeros)


class Slow(gym.Env[Any, Any]):
    """An action is the duration of the step, in hundredths of a second."""

    observation_space = spaces.Discrete(100)
    action_space = spaces.Discrete(100)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        time.sleep((options or {}).get("wait_s", 0))
        self.steps = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        time.sleep(int(action) / 100)
        self.steps += 1
        return self.steps, 0.0, False, False, {}


@pytest.mark.parametrize("version", [without_v2, lambda app: app], ids=["version 1", "version 2"])
def test_a_wait_that_times_out_can_be_repeated(version: Any) -> None:
    factory, models = gymnasium_factory(Slow)
    app = version(create_app(factory, *models))
    with running(app) as base_url, closing(RemoteVectorEnv(base_url, 2)) as envs:
        envs.reset()
        envs.step_async(np.array([0, 60]))
        with pytest.raises(DeadlineExceededError, match="Not all slots"):
            envs.step_wait(timeout=0.05)
        for kind in (TimeoutError, multiprocessing.TimeoutError):
            with pytest.raises(kind):
                envs.step_wait(timeout=0)
        assert envs.step_wait(timeout=20)[0].tolist() == [1, 1]
        envs.reset_async(options={"wait_s": 0.4})
        with pytest.raises(DeadlineExceededError):
            envs.reset_wait(timeout=0.05)
        assert envs.reset_wait()[0].tolist() == [0, 0]
        assert envs.step(np.zeros(2, np.int64))[0].tolist() == [1, 1]


class Kinds(gym.Env[Any, Any]):
    """Each episode has one step. Observations have every type that environments return."""

    observation_space = spaces.Dict(
        {
            "count": spaces.Discrete(9),
            "flag": spaces.Discrete(2, dtype=np.int8),
            "pair": spaces.Tuple([spaces.Discrete(3, start=-1), spaces.Box(0, 1, (), np.float32)]),
            "bits": spaces.MultiBinary(2),
            "many": spaces.MultiDiscrete([3, 4]),
            "mask": spaces.Box(0, 1, (2,), np.bool_),
            "half": spaces.Box(-1, 1, (2,), np.float16),
            "words": spaces.Text(5, min_length=0),
        }
    )
    action_space = spaces.Discrete(2)

    def _observation(self, step: int) -> Any:
        return {
            "count": step,
            "flag": step,
            "pair": (step - 1, np.array(step / 2, np.float32)),
            "bits": np.array([1, step], np.int8),
            "many": np.array([step, 2]),
            "mask": np.array([True, bool(step)]),
            "half": np.array([0.5, step], np.float16),
            "words": "ab" * step,
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self._observation(0), {"score": 1.5}

    def step(self, action: Any) -> Any:
        return self._observation(1), 1.0, True, False, {"score": 2.5, "who": "me"}


def same_types(expected: Any, actual: Any) -> None:
    assert type(expected) is type(actual)
    if isinstance(expected, dict):
        for key in expected:
            same_types(expected[key], actual[key])
    elif isinstance(expected, tuple | list):
        for one, other in zip(expected, actual, strict=True):
            same_types(one, other)


@pytest.mark.parametrize("version", [without_v2, lambda app: app], ids=["version 1", "version 2"])
def test_final_observations_have_the_types_of_the_environment(version: Any) -> None:
    factory, models = gymnasium_factory(Kinds)
    local = gym.vector.SyncVectorEnv([Kinds] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with (
        running(version(create_app(factory, *models))) as base_url,
        closing(RemoteVectorEnv(base_url, 2, autoreset_mode=AutoresetMode.SAME_STEP)) as envs,
    ):
        assert_equal(local.reset(seed=1), envs.reset(seed=1))
        theirs, ours = local.step(np.zeros(2, np.int64)), envs.step(np.zeros(2, np.int64))
        assert_equal(theirs, ours)
        same_types(theirs[4]["final_obs"].tolist(), ours[4]["final_obs"].tolist())


@pytest.mark.parametrize(
    "gym_id", ["FrozenLake-v1", "Blackjack-v1", max(i for i in gym.registry if i.startswith("Taxi"))]
)
def test_final_observations_of_gymnasiums_own(gym_id: str, serve_gym: Callable[[str], str]) -> None:
    options = {"autoreset_mode": AutoresetMode.SAME_STEP}
    local = gym.make_vec(
        gym_id, num_envs=2, max_episode_steps=6, vectorization_mode="sync", vector_kwargs=options
    )
    remote = gym.make_vec(
        "openenv/remote", base_url=serve_gym(gym_id), num_envs=2, max_episode_steps=6, **options
    )
    with closing(local), closing(remote):
        local.reset(seed=1)
        remote.reset(seed=1)
        ends = 0
        for _ in range(20):
            actions = local.action_space.sample()
            theirs, ours = local.step(actions)[4], remote.step(actions)[4]
            if "final_obs" in theirs:
                ends += 1
                same_types(theirs["final_obs"].tolist(), ours["final_obs"].tolist())
        assert ends
