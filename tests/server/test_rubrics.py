"""Rubrics: composition, hooks, async parts, whole episodes, and their scores in a trainer's info."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from openenv_server import Environment, create_app
from openenv_server.rubrics import (
    ExponentialDiscountingTrajectoryRubric,
    Gate,
    LLMJudge,
    Rubric,
    RubricDict,
    RubricList,
    Sequential,
    TrajectoryRubric,
    WeightedSum,
)

from openenv_gym.llm_client import OpenAIClient
from openenv_gym.types import Action, Observation, State
from tests.support.model_server import model_server
from tests.support.servers import running


class Fixed(Rubric):
    """Gives one score, and counts."""

    def __init__(self, score: float = 1.0) -> None:
        self.score, self.calls = score, 0
        super().__init__()

    def forward(self, action: Any, observation: Any) -> float:
        self.calls += 1
        return self.score


class Later(Fixed):
    """Gives it a little later."""

    async def forward(self, action: Any, observation: Any) -> float:
        await asyncio.sleep(0.05)
        return super().forward(action, observation)


def seen(value: float = 0, done: bool = False) -> Observation:
    return Observation(reward=value, done=done)


async def awaited(rubric: Rubric, observation: Any = None) -> Any:
    return await rubric(None, observation)


# --- composition --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "expected", "calls"),
    [((), 1.0, ()), ((0.5, 0.25), 0.25, (1, 1)), ((1, 0, 1), 0.0, (1, 1, 0)), ((0.0,), 0.0, (1,))],
)
@pytest.mark.parametrize("kind", [Fixed, Later])
def test_a_sequence_stops_at_zero(
    kind: type[Fixed], scores: tuple[float, ...], expected: float, calls: tuple[int, ...]
) -> None:
    parts = [kind(score) for score in scores]
    rubric = Sequential(*parts)
    assert asyncio.run(awaited(rubric)) == rubric.last_score == expected
    assert tuple(part.calls for part in parts) == calls


@pytest.mark.parametrize(("score", "threshold", "expected"), [(0.5, 0.5, 0.5), (0.4, 0.5, 0), (0.9, 1.0, 0)])
@pytest.mark.parametrize("kind", [Fixed, Later])
def test_a_gate_passes_scores_from_its_threshold_on(
    kind: type[Fixed], score: float, threshold: float, expected: float
) -> None:
    assert asyncio.run(awaited(Gate(kind(score), threshold))) == expected


def test_a_weighted_sum_mixes_sync_and_async_and_evaluates_the_latter_at_the_same_time() -> None:
    rubric = WeightedSum([Fixed(1), *(Later(0.5) for _ in range(9))], [0.1] * 10)
    began = time.monotonic()
    assert asyncio.run(awaited(rubric)) == pytest.approx(0.55)
    assert time.monotonic() - began < 0.4
    assert rubric.weights == [0.1] * 10


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6], [0.3, 0.3, 0.4]])
def test_weights_that_cannot_be_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        WeightedSum([Fixed(), Fixed()], weights)


def test_lists_and_dicts_leave_the_choice_to_their_parent() -> None:
    class PerTask(Rubric):
        def __init__(self) -> None:
            self.levels = RubricList([Fixed(0.1)])
            self.levels.extend([Fixed(0.2), Later(0.3)])
            self.games = RubricDict({"pong": Fixed(0.4), "forward": Fixed(0.5)})
            self.games.update({"chess": Fixed(0.6)})

        def forward(self, action: Any, observation: Any) -> Any:
            return (self.games if isinstance(action, str) else self.levels)[action](action, observation)

    rubric = PerTask()
    assert [rubric(task, None) for task in (0, 1, "pong", "forward", "chess")] == [0.1, 0.2, 0.4, 0.5, 0.6]
    assert asyncio.run(rubric(2, None)) == rubric.last_score == 0.3
    assert [*dict(rubric.named_rubrics())] == [
        *("levels", "levels.rubric_0", "levels.rubric_1", "levels.rubric_2"),
        *("games", "games.pong", "games.forward", "games.chess"),
    ]
    assert len(rubric.levels) == 3
    assert [*rubric.levels] == [rubric.levels[place] for place in range(3)]
    assert [*rubric.games] == [*rubric.games.keys()] == ["pong", "forward", "chess"]
    assert "pong" in rubric.games
    assert rubric.games.pong is rubric.get_rubric("games.pong")
    for container in (rubric.levels, rubric.games):
        with pytest.raises(NotImplementedError, match="forward of its parent"):
            container(0, None)


def test_children_are_known_by_the_attribute_that_holds_them() -> None:
    class Code(Rubric):
        def __init__(self) -> None:
            self.name = "set before super"
            super().__init__()
            self.syntax = Gate(Fixed(0.5), 0.1)
            self.style = Fixed(0.2)

        def forward(self, action: Any, observation: Any) -> float:
            return float(self.syntax(action, observation) + self.style(action, observation))

    rubric = Code()
    assert rubric(None, None) == 0.7
    assert [name for name, _ in rubric.named_children()] == ["syntax", "style"]
    assert [name for name, _ in rubric.named_rubrics("code")] == [
        *("code.syntax", "code.syntax.rubric", "code.style")
    ]
    assert [*rubric.rubrics()] == [rubric.syntax, rubric.syntax.rubric, rubric.style]
    assert rubric.get_rubric("syntax.rubric") is rubric.syntax.rubric
    with pytest.raises(KeyError, match=r"syntax\.rubric"):
        rubric.get_rubric("syntax.other")
    rubric.style = None  # type: ignore[assignment]
    del rubric.syntax
    assert [*rubric.children()] == []


def test_rubrics_can_be_copied_and_pickled() -> None:
    for same in (copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        rubric = same(Sequential(Gate(Fixed(0.5), 0.5), RubricDict({"a": Fixed()})))
        assert [*dict(rubric.named_rubrics())] == ["rubric_0", "rubric_0.rubric", "rubric_1", "rubric_1.a"]
        assert rubric[0](None, None) == 0.5


# --- hooks and async code -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fixed, Later])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("wrap", [lambda part: part, Sequential, Gate, lambda part: WeightedSum([part], [1])])
def test_hooks_run_before_and_after_in_order(kind: type[Fixed], is_async: bool, wrap: Any) -> None:
    events: list[Any] = []
    rubric = wrap(kind(1))

    def note(*values: Any) -> Any:
        events.append(values)

    async def note_later(*values: Any) -> None:
        await asyncio.sleep(0)
        events.append(values)

    for number in (1, 2):
        chosen = note_later if is_async and number == 2 else note
        rubric.register_forward_pre_hook(lambda *given, chosen=chosen: chosen("before", *given))
        rubric.register_forward_hook(lambda *given, chosen=chosen: chosen("after", *given))
    assert asyncio.run(_scored(rubric)) == 1
    before, after = ("before", rubric, "action", "seen"), ("after", rubric, "action", "seen", 1)
    assert events == [before, before, after, after]


async def _scored(rubric: Rubric) -> Any:
    return await rubric("action", "seen")


def test_a_score_is_awaited_only_if_something_is_async() -> None:
    assert Sequential(Fixed(0.5))(None, None) == 0.5
    later = Sequential(Fixed(0.5), Gate(Later(1)))(None, None)
    assert inspect.iscoroutine(later)
    assert asyncio.run(later) == 1

    async def on_a_loop() -> None:
        score = WeightedSum([Fixed(0.5)], [1])(None, None)
        assert score == await score == 0.5
        assert type(await score) is float
        assert Observation(reward=score).model_dump_json() == Observation(reward=0.5).model_dump_json()

    asyncio.run(on_a_loop())


def test_an_error_in_a_part_reaches_the_caller() -> None:
    class Broken(Rubric):
        async def forward(self, action: Any, observation: Any) -> float:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(awaited(Sequential(Fixed(), WeightedSum([Broken()], [1]))))


# --- whole episodes -----------------------------------------------------------------------------------------


class LastReward(ExponentialDiscountingTrajectoryRubric):
    def score_trajectory(self, trajectory: list[tuple[Any, Any]]) -> float:
        return float(trajectory[-1][1].reward)


def test_an_episode_is_scored_when_it_is_done() -> None:
    rubric = LastReward(gamma=0.5, intermediate_reward=-0.1)
    steps = [seen(), seen(), seen(4, done=True)]
    assert [rubric(place, step) for place, step in enumerate(steps)] == [-0.1, -0.1, 4]
    assert rubric.compute_step_rewards() == [1, 2, 4]
    assert rubric.trajectory == [*enumerate(steps)]
    rubric.reset()
    assert rubric.trajectory == rubric.compute_step_rewards() == []


@pytest.mark.parametrize(("gamma", "rewards"), [(1.0, [4, 4]), (0.0, [0, 4])])
def test_the_discount_shares_the_score(gamma: float, rewards: list[float]) -> None:
    rubric = LastReward(gamma=gamma)
    for step in (seen(), seen(4, done=True)):
        rubric(None, step)
    assert rubric.compute_step_rewards() == rewards


def test_a_discount_outside_of_0_to_1_is_refused() -> None:
    for gamma in (-0.1, 1.1):
        with pytest.raises(ValueError, match="gamma"):
            LastReward(gamma=gamma)


def test_a_trajectory_rubric_says_how_steps_share_its_score() -> None:
    with pytest.raises(TypeError, match="compute_step_rewards"):
        TrajectoryRubric()  # type: ignore[abstract]


def test_parts_are_reset_saved_and_loaded_with_their_whole() -> None:
    rubric, other = (Sequential(Fixed(), Gate(LastReward(gamma=gamma))) for gamma in (0.5, 0.9))
    rubric(None, seen(1))
    rubric.reset()
    assert rubric[1].rubric.trajectory == []  # type: ignore[attr-defined]
    state = rubric.state_dict()
    assert state == {"rubric_1": {"rubric": {"gamma": 0.5, "intermediate_reward": 0.0}}}
    other.load_state_dict(state)
    assert other.state_dict() == state
    other.load_state_dict({})
    assert other.state_dict() == state


# --- a judge ------------------------------------------------------------------------------------------------


class Answers:
    def __init__(self, answer: str) -> None:
        self.answer, self.prompts = answer, [*()]

    async def complete(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.answer


@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        ("Score: 0.75.", {}, 0.75),
        ("8 of 10", {}, 1.0),
        ("8 of 10", {"normalize": False}, 8.0),
        ("no idea", {"default_score": 0.25}, 0.25),
        ("3 points, score=0.5", {"score_pattern": r"score=(\S+)"}, 0.5),
        ("score=high", {"score_pattern": r"score=(\S+)", "default_score": 0.1}, 0.1),
        ("score: -1", {"score_pattern": r"-?\d"}, 0.0),
        ("only b", {"score_pattern": "(a)?only (b)"}, 0.0),
    ],
)
def test_a_judge_reads_the_score_in_the_answer(answer: str, options: dict[str, Any], expected: float) -> None:
    client = Answers(answer)
    judge = LLMJudge("{action} → {observation}", client, **options)
    assert asyncio.run(judge("jump", "up")) == expected
    assert client.prompts == ["jump → up"]
    again = LLMJudge("", client)
    again.load_state_dict(judge.state_dict())
    assert again.state_dict() == judge.state_dict()
    assert asyncio.run(again("jump", "up")) == expected


# --- in an environment --------------------------------------------------------------------------------------


class Guess(Action):
    number: int


class Answer(Observation):
    was_last: bool


class Close(Rubric):
    def forward(self, action: Guess, observation: Observation) -> float:
        return 1 - abs(action.number - 7) / 10


class Even(Rubric):
    async def forward(self, action: Guess, observation: Observation) -> float:
        await asyncio.sleep(0)
        return float(action.number % 2 == 0)


class Guessing(Environment[Guess, Answer, State]):
    """Guess a number."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__(rubric=Sequential(Gate(Close(), 0.5), WeightedSum([Close(), Even()], [0.5, 0.5])))

    def reset(self, **kwargs: Any) -> Answer:
        self._reset_rubric()
        return Answer(was_last=False)

    def step(self, action: Guess, **kwargs: Any) -> Answer:
        observation = Answer(was_last=action.number == 7)
        observation.reward = self._apply_rubric(action, observation)
        return observation

    @property
    def state(self) -> State:
        return State()


class GuessingOnALoop(Guessing):
    """Guess a number, asynchronously."""

    async def reset_async(self, **kwargs: Any) -> Answer:
        await self._reset_rubric_async()
        return Answer(was_last=False)

    async def step_async(self, action: Guess, **kwargs: Any) -> Answer:
        observation = Answer(was_last=action.number == 7)
        observation.reward = await self._apply_rubric_async(action, observation)
        return observation


CLOSE = {
    "rubric_0": 0.9,
    "rubric_0.rubric": 0.9,
    "rubric_1": 0.95,
    "rubric_1.rubric_0": 0.9,
    "rubric_1.rubric_1": 1.0,
}
FAR = {"rubric_0": 0.0, "rubric_0.rubric": pytest.approx(0.3)}


@pytest.mark.parametrize("kind", [Guessing, GuessingOnALoop])
def test_info_says_why_a_reward_is_what_it_is(kind: type[Guessing]) -> None:
    with running(create_app(kind, Guess, Answer)) as base_url:
        with gym.make("openenv/remote", base_url=base_url) as env:
            _, info = env.reset()
            assert "rubric_scores" not in info
            _, reward, _, _, info = env.step(np.int64(8))
            assert (reward, info["rubric_scores"]) == (0.95, CLOSE)
            _, reward, _, _, info = env.step(np.int64(0))
            assert (reward, info["rubric_scores"]) == (0, FAR)
        envs = gym.make_vec("openenv/remote", base_url=base_url, num_envs=2)
        envs.reset()
        _, rewards, _, _, infos = envs.step(np.array([8, 0]))
        envs.close()
        assert [*rewards] == [0.95, 0]
        assert [*infos["rubric_scores"]["rubric_0"]] == [0.9, 0]


def test_the_scores_of_parts_are_those_of_the_rubric_that_was_called() -> None:
    rubric = WeightedSum([Gate(Fixed(0.5), 0.1), Later(1)], [0.5, 0.5])
    seen_by = [seen(), seen()]

    async def both() -> Any:
        return await asyncio.gather(*(rubric(None, observation) for observation in seen_by))

    assert asyncio.run(both()) == [0.75, 0.75]
    expected = {"rubric_0": 0.5, "rubric_0.rubric": 0.5, "rubric_1": 1.0}
    assert [observation.metadata for observation in seen_by] == [{"rubric_scores": expected}] * 2
    alone = seen()
    assert Fixed(0.5)(None, alone) == 0.5
    assert alone.metadata == {}


def test_without_a_rubric_the_score_is_zero() -> None:
    env = Guessing()
    env.rubric = None
    assert env._apply_rubric(Guess(number=1), seen()) == 0
    assert asyncio.run(env._apply_rubric_async(Guess(number=1), seen())) == 0
    env._reset_rubric()
    asyncio.run(env._reset_rubric_async())


def test_a_rubric_may_reset_asynchronously() -> None:
    class Slow(Fixed):
        async def reset_async(self) -> None:
            await asyncio.sleep(0)
            self.calls = 0

    env = Guessing()
    env.rubric = Slow()
    env._apply_rubric(Guess(number=1), seen())
    asyncio.run(env._reset_rubric_async())
    assert env.rubric.calls == 0


def test_a_judge_scores_the_steps_of_an_environment() -> None:
    class Judged(Guessing):
        def __init__(self) -> None:
            super().__init__()
            client = OpenAIClient(model.base_url, None, "m")
            self.rubric = WeightedSum([Close(), LLMJudge("Is {action.number} good?", client)], [0.5, 0.5])

    with (
        model_server("I give it 0.5") as model,
        running(create_app(Judged, Guess, Answer)) as base_url,
        gym.make("openenv/remote", base_url=base_url) as env,
    ):
        env.reset()
        _, reward, _, _, info = env.step(np.int64(7))
    assert (reward, info["rubric_scores"]) == (0.75, {"rubric_0": 1.0, "rubric_1": 0.5})
    assert model.asked[0].body["messages"] == [{"role": "user", "content": "Is 7 good?"}]
