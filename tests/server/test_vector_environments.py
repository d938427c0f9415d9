"""Servers of vector environments: all slots of a client are one batch, stepped in one call."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from copy import deepcopy
from fractions import Fraction
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from openenv_server import create_app, vector_factory
from openenv_server.gymnasium_maker import GymnasiumMaker

import openenv_gym  # noqa: F401 - registers openenv/remote
from openenv_gym import GenericEnvClient, RemoteVectorEnv
from openenv_gym.errors import (
    ActionRefusedError,
    CapacityError,
    ConfigurationError,
    RemoteEnvironmentError,
    RemoteError,
)
from openenv_gym.spaces.batches import batch_of
from openenv_gym.wire import v2
from tests.support.each_kind import EACH_KIND
from tests.support.proxy import FaultProxy
from tests.support.servers import running, status_of, without_v2
from tests.support.v2_client import V2Client

COUNT = 6


def cart_poles(count: int) -> VectorEnv[Any, Any, Any]:
    return gym.make_vec("CartPole-v1", count, vectorization_mode="vector_entry_point")


def app_of(make_envs: Callable[..., Any], **options: Any) -> Any:
    factory, models = vector_factory(make_envs)
    return create_app(factory, models.action, models.observation, **options)


def in_turn(gym_id: str, **keywords: Any) -> Callable[..., Any]:
    """Makes Gymnasium's own vector environments, in any autoreset mode."""

    def make(num_envs: int, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
        return SyncVectorEnv([lambda: gym.make(gym_id, **keywords)] * num_envs, autoreset_mode=autoreset_mode)

    return make


@pytest.fixture(scope="module")
def poles() -> Iterator[str]:
    with running(app_of(cart_poles, max_concurrent_envs=100)) as base_url:
        yield base_url


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare what vector environments return, infos included. Our rewards are always float64."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, tuple):
        assert len(one) == len(other), where
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{place}]")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_same(tuple(one), tuple(other), where)
    else:
        np.testing.assert_array_equal(one, other, where)


def play_both(local: Any, remote: Any, steps: int, seed: int = 3) -> int:
    """Play the same actions in both; return how many episodes ended."""
    assert_same(remote.reset(seed=seed), local.reset(seed=seed), "reset")
    local.action_space.seed(seed)
    ended = 0
    for number in range(steps):
        actions = local.action_space.sample()
        result = local.step(actions)
        assert_same(remote.step(actions), result, f"step {number}")
        ended += int((result[2] | result[3]).sum())
    return ended


def test_episodes_are_those_of_the_local_vector_environment(poles: str) -> None:
    local = cart_poles(COUNT)
    remote = gym.make_vec("openenv/remote", COUNT, base_url=poles)
    assert play_both(local, remote, 2000) > 100
    assert_same(remote.reset(seed=5), local.reset(seed=5))  # in the middle of episodes
    remote.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(
    ("gym_id", "keywords"),
    [("FrozenLake-v1", {}), ("Blackjack-v1", {}), ("Pendulum-v1", {"max_episode_steps": 20})],
)
def test_every_autoreset_mode_has_the_same_episodes(
    gym_id: str, keywords: dict[str, Any], mode: AutoresetMode
) -> None:
    make = in_turn(gym_id, **keywords)
    local = make(COUNT, autoreset_mode=mode)
    with running(app_of(make)) as base_url:
        remote = RemoteVectorEnv(base_url, COUNT, autoreset_mode=mode)
        if mode is not AutoresetMode.DISABLED:
            assert play_both(local, remote, 200) > 10
            return
        assert_same(remote.reset(seed=3), local.reset(seed=3))
        ended = np.zeros(COUNT, np.bool_)
        resets = 0
        for _ in range(200):
            if ended.any():
                options = {"reset_mask": ended}
                seeds = [7 if has_ended else None for has_ended in ended]
                assert_same(
                    remote.reset(seed=seeds, options=options)[0],
                    local.reset(seed=seeds, options=dict(options))[0],
                )
                resets += int(ended.sum())
            actions = local.action_space.sample()
            result = local.step(actions)
            assert_same(remote.step(actions), result)
            ended = result[2] | result[3]
        assert resets > 10
        remote.close()


def test_many_slots_travel_in_few_arrays() -> None:
    with running(app_of(cart_poles, max_concurrent_envs=20_000)) as base_url:
        for count, steps in ((4096, 60), (16_384, 20)):
            remote = RemoteVectorEnv(base_url, count)
            play_both(cart_poles(count), remote, steps)
            remote.close()


def test_a_client_of_one_slot_has_an_environment_of_its_own(poles: str) -> None:
    local = cart_poles(1)
    env = gym.make("openenv/remote", base_url=poles)
    observation, _ = env.reset(seed=4)
    np.testing.assert_array_equal(observation, local.reset(seed=4)[0][0])
    for _ in range(200):
        observation, reward, terminated, truncated, _ = env.step(1)
        expected = local.step(np.array([1]))
        np.testing.assert_array_equal(observation, expected[0][0])
        assert (reward, terminated, truncated) == (1.0, expected[2][0], expected[3][0])
        if terminated:
            break
    assert terminated
    env.close()
    one = RemoteVectorEnv(poles, 1)
    assert one.reset(seed=4)[0].shape == (1, 4)
    one.close()


def test_version_1_and_http_work_too() -> None:
    app = app_of(cart_poles)
    with running(app) as base_url:
        body = json.dumps({"seed": 1}).encode()
        request = urllib.request.Request(
            f"{base_url}/reset", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            first = json.load(response)["observation"]["observation"]
    with running(without_v2(app_of(cart_poles))) as base_url, GenericEnvClient(base_url).sync() as client:
        assert client.reset(seed=1).observation["observation"] == first
        assert client.step({"action": 1}).reward == 1.0


def test_what_a_batch_cannot_do_is_an_error_that_says_so(poles: str) -> None:
    for keywords, says in (
        ({"autoreset_mode": "SameStep"}, 'Pass autoreset_mode="NextStep"'),
        ({"max_episode_steps": 10}, "give max_episode_steps to what the server makes them with"),
    ):
        envs = RemoteVectorEnv(poles, COUNT, **keywords)
        with pytest.raises(ConfigurationError, match=says):
            envs.reset()
        envs.close()
    envs = RemoteVectorEnv(poles, COUNT)
    envs.reset(seed=1)
    envs.send([0, 1], np.array([0, 1]))
    with pytest.raises(ActionRefusedError, match="steps the slots 0 to 5 together"):
        envs.recv()
    with pytest.raises(RemoteError, match="reset together"):
        envs.reset(options={"reset_mask": np.arange(COUNT) == 0})
    envs.reset(seed=1)
    envs.step(np.zeros(COUNT, np.int64))
    envs.close()


def test_a_batch_takes_as_many_places_as_it_has_slots() -> None:
    with running(app_of(cart_poles, max_concurrent_envs=8)) as base_url:
        first = RemoteVectorEnv(base_url, COUNT)
        first.reset()
        assert status_of(f"{base_url}/health")[1]["active_sessions"] == COUNT
        second = RemoteVectorEnv(base_url, 4)
        with pytest.raises(CapacityError):
            second.reset()
        first.close()
        second.reset()
        assert status_of(f"{base_url}/health")[1]["active_sessions"] == 4
        second.close()


class Moody(VectorEnv[Any, Any, Any]):
    """Raises, hangs, or answers in a wrong shape, as the first action asks."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_action_space = gym.spaces.Discrete(4)
        self.single_observation_space = gym.spaces.Box(0, 100, (2,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = "rgb_array"
        self._steps = 0

    def _observe(self) -> np.ndarray[Any, Any]:
        return np.full((self.num_envs, 2), self._steps, np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self._steps = 0
        return self._observe(), {}

    def step(self, actions: Any) -> Any:
        self._steps += 1
        if actions[0] == 1:
            raise ValueError("a bad mood")
        if actions[0] == 2:
            time.sleep(4)
        count = self.num_envs + int(actions[0] == 3)
        no = np.zeros(self.num_envs, np.bool_)
        return self._observe(), np.ones(count), no, no, {}

    def render(self) -> Any:
        return tuple(np.full((2, 2, 3), place, np.uint8) for place in range(self.num_envs))


def acting(action: int) -> np.ndarray[Any, Any]:
    return np.array([action] + [0] * (COUNT - 1))


def test_an_error_is_one_of_all_slots_and_the_session_goes_on() -> None:
    with running(app_of(Moody)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT)
        envs.reset()
        for action, says in ((1, "a bad mood"), (3, r"rewards have the shape \(7,\), not \(6,\)")):
            with pytest.raises(RemoteEnvironmentError, match=says):
                envs.step(acting(action))
        observations, rewards, *_ = envs.step(acting(0))
        assert rewards.tolist() == [1.0] * COUNT
        assert observations[:, 0].tolist() == [3.0] * COUNT  # no step was taken twice
        envs.close()


def test_a_batch_that_hangs_is_truncated_and_begins_again() -> None:
    with running(app_of(Moody, max_concurrent_envs=COUNT)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT, step_timeout_s=1, on_session_lost="truncate")
        envs.reset()
        begin = time.monotonic()
        _, _, _, truncated, infos = envs.step(acting(2))
        assert time.monotonic() - begin < 3
        assert truncated.all()
        assert infos["_session_lost"].all()
        for _ in range(5):
            _, _, _, truncated, _ = envs.step(acting(0))
            assert not truncated.any()
        assert status_of(f"{base_url}/health")[1]["active_sessions"] == COUNT
        envs.close()


def test_states_and_pictures_are_those_of_each_slot() -> None:
    with running(app_of(Moody)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT, render_mode="rgb_array")
        envs.reset()
        envs.step(acting(0))
        assert [state["step_count"] for state in envs.call("state")] == [1] * COUNT
        pictures = envs.render()
        assert [int(picture[0, 0, 0]) for picture in pictures] == list(range(COUNT))
        envs.step(acting(0))
        envs.close()


class Fractional(Moody):
    """Observes fractions where its space has bytes."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.single_observation_space = gym.spaces.Box(0, 255, (2,), np.uint8)

    def _observe(self) -> np.ndarray[Any, Any]:
        return np.full((self.num_envs, 2), self._steps / 2)


def test_observations_that_their_dtype_does_not_hold_are_refused() -> None:
    with running(app_of(Fractional)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT)
        single = gym.make("openenv/remote", base_url=base_url)
        envs.reset()
        single.reset()
        for call in (lambda: envs.step(acting(0)), lambda: single.step(0)):
            with pytest.raises(RemoteEnvironmentError, match=r"0\.5 \(float64\) is no uint8"):
                call()
            assert call()[0].max() == 1
        envs.close()
        single.close()


class OnePicture(Moody):
    """Renders all slots as one picture."""

    def render(self) -> Any:
        return np.zeros((2, 2, 3), np.uint8)


def test_pictures_that_are_too_few_cost_no_session() -> None:
    with running(app_of(OnePicture)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT, render_mode="rgb_array")
        envs.reset()
        with pytest.raises(RemoteEnvironmentError, match="renders 2 pictures, not 6"):
            envs.render()
        envs.step(acting(0))
        envs.close()


def test_a_cut_costs_no_step(poles: str) -> None:
    local = cart_poles(COUNT)
    with FaultProxy(poles, faults={"cut": 50_000}, max_faults=20, seed=2) as between:
        remote = RemoteVectorEnv(between.base_url, COUNT)
        play_both(local, remote, 2000)
        assert between.counts["cut"] >= 10
        remote.close()


class CountedResets(Moody):
    """Observes how often each slot was reset."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self._counts = np.zeros((num_envs, 2), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self._counts[(options or {}).get("reset_mask", slice(None))] += 1
        return self._counts, {}


def test_a_cut_costs_no_masked_reset() -> None:
    with (
        running(app_of(CountedResets)) as base_url,
        FaultProxy(base_url, faults={}, max_faults=20, seed=2) as between,
    ):
        remote = RemoteVectorEnv(between.base_url, COUNT, autoreset_mode="Disabled", reset_timeout_s=3)
        between.faults["cut"] = 5_000
        remote.reset()
        mask = np.arange(COUNT) >= 3
        for number in range(2, 302):
            observations, _ = remote.reset(options={"reset_mask": mask})
            assert observations[:, 0].tolist() == [1, 1, 1, number, number, number]
        assert between.counts["cut"] >= 10
        remote.close()


def test_only_ids_with_a_vector_environment_can_be_vectorized() -> None:
    with pytest.raises(ConfigurationError, match=r"FrozenLake-v1.*without --vectorized"):
        GymnasiumMaker("FrozenLake-v1").vector(2)
    assert GymnasiumMaker("CartPole-v1").vector(2).num_envs == 2


def test_what_is_no_vector_environment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no vector environment"):
        vector_factory(lambda n: gym.make("CartPole-v1"))
    with pytest.raises(ConfigurationError, match="asked for 1 environments and has made 3"):
        vector_factory(lambda n: cart_poles(3))


class Informative(Moody):
    """Has infos of every kind."""

    def _infos(self) -> dict[str, Any]:
        count = self.num_envs
        some = np.arange(count) % 2 == 0
        arrays = np.full(count, None, object)
        for place in range(count):
            arrays[place] = np.arange(place)
        return {
            "number": np.arange(count) * 1.5,
            "small": np.arange(count, dtype=np.float32),
            "some": np.where(some, np.arange(count), 0),
            "_some": some,
            "vector": np.ones((count, 3), np.float32),
            "text": np.array([f"slot {place}" for place in range(count)], object),
            "nested": {"deep": np.arange(count), "_deep": ~some},
            "_nested": np.ones(count, np.bool_),
            "arrays": arrays,
            "together": 7,
        }

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)[0], self._infos()

    def step(self, actions: Any) -> Any:
        return *super().step(actions)[:4], self._infos()


def test_infos_of_every_kind_arrive() -> None:
    local = Informative(COUNT)
    with running(app_of(Informative)) as base_url:
        remote = RemoteVectorEnv(base_url, COUNT)
        assert_same(remote.reset(), local.reset())
        for _ in range(3):
            results = remote.step(acting(0))
            assert_same(results, local.step(acting(0)))
            assert results[4]["small"].dtype == np.float32
        remote.send(acting(0))
        assert_same(remote.recv(min_ready=COUNT).infos, local.step(acting(0))[4])
        remote.close()
        single = gym.make("openenv/remote", base_url=base_url)
        single.reset()
        info = single.step(0)[4]
        assert {name: info[name] for name in ("number", "some", "text", "nested", "together")} == {
            "number": 0.0,
            "some": 0,
            "text": "slot 0",
            "nested": {},
            "together": 7,
        }
        assert info["arrays"].tolist() == []
        single.close()


class InformativeAfterMaskedResets(Informative):
    """Can be reset one by one."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}


def test_infos_of_a_masked_reset_are_those_of_its_slots() -> None:
    with running(app_of(InformativeAfterMaskedResets)) as base_url:
        remote = RemoteVectorEnv(base_url, COUNT, autoreset_mode="Disabled")
        remote.reset()
        mask = np.arange(COUNT) >= 3
        infos = remote.reset(options={"reset_mask": mask})[1]
        assert infos["_arrays"].tolist() == mask.tolist()
        assert infos["small"].tolist() == [0, 0, 0, 3, 4, 5]
        assert infos["small"].dtype == np.float32
        for place in range(3, COUNT):
            assert infos["arrays"][place].tolist() == list(range(place))
        remote.close()


class Odd(Moody):
    """Has infos that no array holds, and that the protocol lacks."""

    def step(self, actions: Any) -> Any:
        infos = {
            "fraction": np.full(self.num_envs, Fraction(1, 2), object),
            "long": np.full(self.num_envs, 0.5, np.longdouble),
            "complex": np.full(self.num_envs, 1j),
            "numbered": {1: np.arange(self.num_envs)},
        }
        return *super().step(actions)[:4], infos


def test_objects_in_arrays_of_infos_are_sent_as_text() -> None:
    with running(app_of(Odd)) as base_url:
        remote = RemoteVectorEnv(base_url, COUNT)
        remote.reset()
        infos = remote.step(acting(0))[4]
        assert infos["fraction"].tolist() == ["Fraction(1, 2)"] * COUNT
        assert infos["long"].tolist() == [0.5] * COUNT
        assert infos["complex"].tolist() == ["1j"] * COUNT
        assert infos["numbered"]["1"].tolist() == list(range(COUNT))
        remote.close()
        single = gym.make("openenv/remote", base_url=base_url)
        single.reset()
        expected = {"fraction": "Fraction(1, 2)", "long": 0.5, "complex": "1j", "numbered": {"1": 0}}
        assert single.step(0)[4] == expected
        single.close()


class Sampled(VectorEnv[Any, Any, Any]):
    """Observes samples of any space, and writes each into the same memory."""

    def __init__(self, space: gym.Space[Any], num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_action_space = gym.spaces.Discrete(2)
        self.single_observation_space = deepcopy(space)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self._batch = batch_of(self.single_observation_space)
        self._memory = self._batch.allocate(num_envs)

    def _sample(self, mask: Any) -> Any:
        for place in np.flatnonzero(mask).tolist():
            self._batch.put(self.single_observation_space.sample(), self._memory, place)
        return self._batch.batch(self._memory, copy=False)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if seed is not None:
            self.single_observation_space.seed(seed)
        return self._sample((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))), {}

    def step(self, actions: Any) -> Any:
        ended = actions.astype(np.bool_)
        observations = self._sample(np.ones(self.num_envs, np.bool_))
        return observations, np.zeros(self.num_envs, np.float32), ended, ~ended & False, {}


@pytest.mark.parametrize("kind", EACH_KIND)
def test_a_masked_reset_observes_any_space(kind: str) -> None:
    space = EACH_KIND[kind]
    local = Sampled(space, COUNT)
    with running(app_of(partial(Sampled, space))) as base_url:
        remote = RemoteVectorEnv(base_url, COUNT, autoreset_mode="Disabled")
        pairs = [(deepcopy(local.reset(seed=3)), remote.reset(seed=3))]
        for _ in range(5):
            actions = local.action_space.sample()
            pairs.append((deepcopy(local.step(actions)), remote.step(actions)))
            mask = actions.astype(np.bool_)
            if mask.any():
                options = {"reset_mask": mask}
                pairs.append((deepcopy(local.reset(options=options)), remote.reset(options=options)))
        for expected, actual in pairs:  # at the end, so that earlier results are still the same
            assert_same(actual, expected)
        remote.close()


def test_make_envs_has_to_pass_the_autoreset_mode_on() -> None:
    def forgetful(num_envs: int, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
        return cart_poles(num_envs)

    def silent(num_envs: int, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
        envs = Moody(num_envs)
        envs.metadata = {}
        return envs

    with running(app_of(forgetful)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT, autoreset_mode="SameStep")
        with pytest.raises(RemoteError, match=r"forgetful\(\).*asked for the autoreset mode SameStep"):
            envs.reset()
        envs.close()
    with running(app_of(silent)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT, autoreset_mode="Disabled")
        envs.reset()
        envs.reset(options={"reset_mask": np.arange(COUNT) == 2})
        envs.close()


def test_a_batch_that_cannot_be_made_is_no_failure_of_the_server() -> None:
    def even(num_envs: int) -> Any:
        if num_envs == 5:
            raise ValueError("not with 5")
        return cart_poles(num_envs)

    with running(app_of(even)) as base_url:
        for _ in range(4):
            envs = RemoteVectorEnv(base_url, 5)
            with pytest.raises(RemoteError, match=r"even\(\) raised ValueError: not with 5"):
                envs.reset()
            envs.close()
        assert status_of(f"{base_url}/health")[0] == 200


class Misshapen(Moody):
    """Its episodes end in a column instead of a row."""

    def step(self, actions: Any) -> Any:
        observations, rewards, _, truncated, infos = super().step(actions)
        return observations, rewards, np.ones((self.num_envs, 1), np.bool_), truncated, infos


def test_ends_in_a_wrong_shape_are_named() -> None:
    with running(app_of(Misshapen)) as base_url:
        envs = RemoteVectorEnv(base_url, COUNT)
        envs.reset()
        with pytest.raises(RemoteEnvironmentError, match=r"terminations have the shape \(6, 1\), not \(6,\)"):
            envs.step(acting(0))
        envs.close()


def test_a_slot_of_a_batch_that_is_closed_can_be_opened_alone(poles: str) -> None:
    client = V2Client(poles)
    client.open([0, 1, 2], autoreset="next_step")
    closed = client.ask(v2.Close(id=client.next_id(), slots=[0, 1, 2]), "close")
    assert isinstance(closed, v2.Closed)
    assert closed.slots == [0, 1, 2]
    client.open([0])
    client.open([1])
    client.send(v2.Reset(id=client.next_id(), slots=[1]), "reset")
    assert client.result("reset").slots == [1]
    step = v2.Step(id=client.next_id(), slots=[0, 1], actions=[{"action": 0}, {"action": 0}])
    client.send(step, "step")  # slot 0 was not reset: an error of that slot alone
    found = client.result("step")
    assert [error.slot for error in found.errors] == [0]
    assert found.slots == [1]
    client.close()
