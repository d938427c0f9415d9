"""Action masks, from infos and from observations, of local and remote environments."""

from __future__ import annotations

from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from openenv_server import Action, Environment, Observation, State, create_app
from pydantic import Field

from openenv_gym import RemoteEnv, RemoteVectorEnv
from openenv_gym.errors import ConfigurationError, ResetNeededError, SpaceError
from openenv_gym.wrappers import ActionMask, flatten_for_rl, vector
from tests.support.servers import running, without_v2

MODES = ["NextStep", "SameStep", "Disabled"]


class Take(Action):
    pile: int = Field(ge=1, le=4)


class Piles(Observation):
    piles: Annotated[list[Annotated[int, Field(ge=0, le=3)]], Field(min_length=4, max_length=4)]
    legal_actions: list[int]
    legal: Annotated[list[bool], Field(min_length=4, max_length=4)]
    maybe: list[int] | None = None


class Nim(Environment[Take, Piles, State]):
    """Take one from a pile until all are empty. The legal piles are told in every way."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None) -> Piles:
        self._piles = [1 + (seed or 0) % 3, 1, 2, 0]
        return self._observe()

    def step(self, action: Take) -> Piles:
        if not self._piles[action.pile - 1]:
            raise ValueError(f"Pile {action.pile} is empty")
        self._piles[action.pile - 1] -= 1
        return self._observe()

    def _observe(self) -> Piles:
        is_legal = [pile > 0 for pile in self._piles]
        legal = [i + 1 for i, is_it in enumerate(is_legal) if is_it]
        return Piles(
            piles=self._piles,
            legal_actions=legal,
            legal=is_legal,
            maybe=legal if self._piles[0] else None,
            done=not legal,
            metadata={"action_mask": [int(x) for x in is_legal], "legal_piles": legal},
        )

    @property
    def state(self) -> State:
        return State()


@pytest.fixture(scope="module", params=["version 2", "version 1"])
def base_url(request: pytest.FixtureRequest) -> Any:
    app: Any = create_app(Nim, Take, Piles, max_concurrent_envs=32)
    with running(app if request.param == "version 2" else without_v2(app)) as url:
        yield url


@pytest.mark.parametrize("field", ["action_mask", "legal_piles", "legal_actions", "legal"])
def test_masks_of_a_remote_environment(field: str, base_url: str) -> None:
    env = ActionMask(RemoteEnv(base_url), field)
    with pytest.raises(ResetNeededError):
        env.action_masks()
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    ended = False
    for _ in range(4):
        masks = env.action_masks()
        assert masks.dtype == np.bool_
        assert masks.tolist() == [pile > 0 for pile in env.unwrapped._shown["piles"]]  # type: ignore[attr-defined]
        _, _, ended, _, _ = env.step(int(rng.choice(np.flatnonzero(masks))) + 1)
    assert ended
    assert not env.action_masks().any()
    env.reset(seed=1)
    assert env.action_masks().tolist() == [True, True, True, False]
    env.close()


def test_a_null_list_allows_everything(base_url: str) -> None:
    env = ActionMask(RemoteEnv(base_url), "maybe")
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True, True, True, False]
    env.step(1)
    assert env.action_masks().tolist() == [True] * 4
    env.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("field", ["action_mask", "legal_actions"])
def test_masks_of_a_vector_environment(field: str, mode: str, base_url: str) -> None:
    envs = vector.ActionMask(RemoteVectorEnv(base_url, 3, autoreset_mode=mode), field)
    with pytest.raises(ResetNeededError):
        envs.action_masks()
    observations, _ = envs.reset(seed=0)
    ended = np.zeros(3, np.bool_)
    rng = np.random.default_rng(0)
    for _ in range(30):
        if mode == "Disabled" and ended.any():
            observations, _ = envs.reset(seed=2, options={"reset_mask": ended})
        masks = envs.action_masks()
        np.testing.assert_array_equal(masks, observations["piles"] > 0)
        actions = np.array([rng.choice(np.flatnonzero(mask)) + 1 if mask.any() else 1 for mask in masks])
        observations, _, ended, _, _ = envs.step(actions)
    envs.close()


def test_masks_stay_under_other_wrappers(base_url: str) -> None:
    env = flatten_for_rl(ActionMask(RemoteEnv(base_url), "legal_actions"))
    env.reset(seed=0)
    assert env.get_wrapper_attr("action_masks")().tolist() == [True, True, True, False]
    env.step(env.action_space.sample(np.array([0, 1, 0, 0], np.int8)))
    assert env.get_wrapper_attr("action_masks")().tolist() == [True, False, True, False]
    env.close()


class Told(gym.Env[Any, Any]):
    """Tells what it was given, in its info or in its observation."""

    def __init__(
        self, action_space: spaces.Space[Any], infos: list[dict[str, Any]], observation: Any = None
    ) -> None:
        self.action_space = action_space
        self.observation_space = spaces.Dict(
            {"board": spaces.Dict({"legal": spaces.Sequence(spaces.Discrete(9)), "size": spaces.Discrete(4)})}
        )
        self._infos, self._observation = infos, {"board": {"legal": observation or (), "size": 3}}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._next = iter(self._infos)
        return self._observation, next(self._next)

    def step(self, action: Any) -> Any:
        return self._observation, 0.0, False, False, next(self._next, {})


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (spaces.Discrete(4), [0, 2], [1, 0, 1, 0]),
        (spaces.Discrete(4), (np.int64(3), np.int64(1)), [0, 1, 0, 1]),
        (spaces.Discrete(4), {2}, [0, 0, 1, 0]),
        (spaces.Discrete(4), [], [0, 0, 0, 0]),
        (spaces.Discrete(4), [0, 1, 2, 3], [1, 1, 1, 1]),
        (spaces.Discrete(4), [1, 0, 0, 1], [1, 0, 0, 1]),
        (spaces.Discrete(4), [1.0, 0.0, 0.0, 1.0], [1, 0, 0, 1]),
        (spaces.Discrete(4), np.array([True, False, False, True]), [1, 0, 0, 1]),
        (spaces.Discrete(4, start=-2), [-2, 1], [1, 0, 0, 1]),
        (spaces.Discrete(2), [0, 1], [0, 1]),
        (spaces.Discrete(2), np.array([False, True]), [0, 1]),
        (spaces.MultiDiscrete([2, 3]), [1, 0, 1, 1, 0], [1, 0, 1, 1, 0]),
        (
            spaces.MultiDiscrete([2, 3]),
            (np.array([1, 0], np.int8), np.array([0, 0, 1], np.int8)),
            [1, 0, 0, 0, 1],
        ),
        (spaces.MultiBinary(2), [1, 1, 0, 1], [1, 1, 0, 1]),
    ],
)
def test_values_of_every_form(space: spaces.Space[Any], value: Any, expected: list[int]) -> None:
    env = ActionMask(Told(space, [{"action_mask": value}]))
    env.reset()
    assert env.action_masks().astype(int).tolist() == expected


def test_a_list_of_two_legal_actions_is_no_mask() -> None:
    env = ActionMask(Told(spaces.Discrete(2), [{"legal_actions": [0, 1]}]), "legal_actions")
    env.reset()
    assert env.action_masks().tolist() == [True, True]


def test_a_field_of_a_part_of_the_observation() -> None:
    env = ActionMask(Told(spaces.Discrete(9), [{}], (1, 8)), "board.legal")
    env.reset()
    assert np.flatnonzero(env.action_masks()).tolist() == [1, 8]
    envs = vector.ActionMask(
        gym.vector.SyncVectorEnv([lambda i=i: Told(spaces.Discrete(9), [{}], (i, 8)) for i in range(3)]),
        "board.legal",
    )
    envs.reset()
    assert [np.flatnonzero(mask).tolist() for mask in envs.action_masks()] == [[0, 8], [1, 8], [2, 8]]


def test_while_an_info_has_no_mask_all_actions_are_legal() -> None:
    infos = [{"action_mask": [1, 0, 0]}, {}, {"action_mask": None}, {"action_mask": [0, 1, 0]}]
    env = ActionMask(Told(spaces.Discrete(3), infos))
    seen = [env.reset() and env.action_masks().tolist()]
    seen += [env.step(0) and env.action_masks().tolist() for _ in range(3)]
    assert seen == [[True, False, False], [True] * 3, [True] * 3, [False, True, False]]
    envs = vector.ActionMask(
        gym.vector.SyncVectorEnv(
            [lambda: Told(spaces.Discrete(3), infos), lambda: Told(spaces.Discrete(3), [{}])]
        )
    )
    envs.reset()
    assert envs.action_masks().tolist() == [[True, False, False], [True] * 3]


def test_what_is_no_mask_says_so() -> None:
    def masks(space: spaces.Space[Any], info: dict[str, Any]) -> Any:
        env = ActionMask(Told(space, [info]))
        env.reset()
        return env.action_masks()

    with pytest.raises(ConfigurationError, match="'action_mask'"):
        masks(spaces.Discrete(3), {"legal": [1]})
    for wrong in ([7], [-1], ["e4"], [0.5], [[1, 0, 1]]):
        with pytest.raises(SpaceError, match="action_mask"):
            masks(spaces.Discrete(3), {"action_mask": wrong})
    with pytest.raises(SpaceError, match="5 places"):
        masks(spaces.MultiDiscrete([2, 3]), {"action_mask": [0, 1]})
    with pytest.raises(SpaceError, match="Discrete"):
        ActionMask(Told(spaces.Box(0, 1), [{}]))
    with pytest.raises(ConfigurationError, match=r"wrappers\.vector"):
        ActionMask(gym.vector.SyncVectorEnv([lambda: Told(spaces.Discrete(3), [{}])]))  # type: ignore[arg-type]


def test_gymnasium_checks_and_remakes_it() -> None:
    taxi = max(name for name in gym.registry if name.startswith("Taxi-"))
    env = ActionMask(gym.make(taxi))
    check_env(env, skip_render_check=True)
    again = gym.make(env.spec)
    again.reset(seed=1)
    assert again.get_wrapper_attr("action_masks")().shape == (6,)
