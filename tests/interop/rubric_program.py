"""A program against the published names; prints what happens. Both packages print the same.

Its argument is the address of a model server.
"""

import asyncio
import functools
import inspect
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from openenv.core import AnthropicClient, GenericAction, OpenAIClient, create_llm_client
from openenv.core.env_server import base_transforms, exceptions, interfaces, mcp_types, types
from openenv.core.env_server.serialization import deserialize_action_with_preprocessing
from openenv.core.env_server.web_interface import load_environment_metadata
from openenv.core.rubrics import (
    ExponentialDiscountingTrajectoryRubric,
    Gate,
    LLMJudge,
    Rubric,
    RubricDict,
    RubricList,
    Sequential,
    WeightedSum,
)


def show(what: str, value: Any) -> None:
    print(what, json.dumps(value, default=repr))


def fails(what: str, call: Any) -> None:
    try:
        show(what, call())
    except Exception as error:
        kinds = (KeyError, NotImplementedError, TypeError, ValueError)
        show(what, [kind.__name__ for kind in kinds if isinstance(error, kind)])


class Fixed(Rubric):
    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score

    def forward(self, action: Any, observation: Any) -> float:
        return self.score


class Later(Fixed):
    async def forward(self, action: Any, observation: Any) -> float:
        await asyncio.sleep(0.01)
        return self.score


class Last(ExponentialDiscountingTrajectoryRubric):
    def score_trajectory(self, trajectory: list[Any]) -> float:
        return float(trajectory[-1][1].score)


class Seen(types.Observation):
    score: float = 0.0


class Turn(types.Action):
    tokens: list[int] = Field(default_factory=list)
    action_id: int = 0


class Parent(Rubric):
    def __init__(self) -> None:
        super().__init__()
        self.code = Sequential(Gate(Fixed(0.5), threshold=0.5), Fixed(0.25))
        self.games = RubricDict({"pong": Fixed(0.75)})
        self.levels = RubricList([Fixed(0.1)])

    def forward(self, action: Any, observation: Any) -> float:
        return (self.code(action, observation) + self.games["pong"](action, observation)) / 2


class World(interfaces.Environment):
    """A world."""

    def __init__(self, rubric: Any = None) -> None:
        super().__init__(transform=base_transforms.NullTransform(), rubric=rubric)

    def reset(self, seed: Any = None, episode_id: Any = None, **kwargs: Any) -> Seen:
        self._reset_rubric()
        return Seen()

    def step(self, action: Any, timeout_s: Any = None, **kwargs: Any) -> Seen:
        observation = Seen(score=action.action_id, done=action.action_id > 1)
        observation.reward = self._apply_rubric(action, observation)
        return observation

    async def step_async(self, action: Any, timeout_s: Any = None, **kwargs: Any) -> Seen:
        observation = Seen()
        observation.reward = await self._apply_rubric_async(action, observation)
        return observation

    @property
    def state(self) -> types.State:
        return types.State()


async def evaluated(rubric: Any) -> Any:
    score = rubric(None, None)
    return await score if inspect.isawaitable(score) else score


def composition() -> None:
    for scores in ((), (1.0,), (0.5, 0.25), (0.5, 0.0, 1.0), (0.0, 1.0)):
        for kind in (Fixed, Later):
            rubric = Sequential(*map(kind, scores))
            show(f"sequential {kind.__name__} {scores}", asyncio.run(evaluated(rubric)))
            show("last", [rubric.last_score, *(part.last_score for part in rubric.children())])
    for score in (0.2, 0.5, 0.9):
        show(f"gate {score}", [Gate(Fixed(score), 0.5)(None, None), Gate(Fixed(score))(None, None)])
        show("async", asyncio.run(Gate(Later(score), 0.5)(None, None)))
    mixed = WeightedSum([Fixed(1), Later(0.5), Later(0.0)], [0.5, 0.25, 0.25])
    show("sum", [asyncio.run(mixed(None, None)), mixed.weights, mixed.last_score])
    show("is pending", inspect.iscoroutine(pending := mixed(None, None)))
    pending.close()
    fails("number of weights", lambda: WeightedSum([Fixed(1)], [0.5, 0.5]))
    fails("sum of weights", lambda: WeightedSum([Fixed(1)], [0.5]))
    fails("list", lambda: RubricList([Fixed(1)])(None, None))
    fails("dict", lambda: RubricDict({"a": Fixed(1)})(None, None))
    fails("abstract", lambda: Rubric())
    fails("gamma", lambda: Last(gamma=2))

    parent = Parent()
    show("parent", [parent(None, None), parent.last_score])
    show("names", [name for name, _ in parent.named_rubrics()])
    show("prefix", [name for name, _ in parent.named_rubrics("root")])
    show("children", [name for name, _ in parent.named_children()])
    show("rubrics", [type(part).__name__ for part in parent.rubrics()])
    show("path", parent.get_rubric("code.rubric_0.rubric").last_score)
    fails("no path", lambda: parent.get_rubric("code.rubric_7"))
    show("state", [parent.state_dict(), parent.load_state_dict({}), parent.reset()])
    show("list", [len(parent.levels), parent.levels[0].score, [part.score for part in parent.levels]])
    parent.levels.extend([Fixed(0.2)])
    parent.games.update({"chess": Fixed(1)})
    show("dict", [len(parent.games), [*parent.games], [*parent.games.keys()], "chess" in parent.games])
    show("items", [[name, part.score] for name, part in parent.games.items()])
    show("attribute", [parent.games.chess.score, parent.levels.rubric_1.score, len(parent.code)])


def hooks() -> None:
    for kind in (Fixed, Later):
        for wrap in (lambda part: part, Sequential, Gate, lambda part: WeightedSum([part], [1.0])):
            events: list[Any] = []
            rubric = wrap(kind(1.0))
            note = functools.partial(noted, events)
            show("returns", rubric.register_forward_pre_hook(note))
            show("returns", rubric.register_forward_hook(note))
            if kind is Later:
                note_later = functools.partial(noted_later, events)
                rubric.register_forward_pre_hook(note_later)
                rubric.register_forward_hook(note_later)
            score = rubric("a", "o")
            show("score", asyncio.run(score) if inspect.iscoroutine(score) else score)
            show("hooks", events)


def noted(events: list[Any], rubric: Any, *given: Any) -> None:
    events.append(given)


async def noted_later(events: list[Any], rubric: Any, *given: Any) -> None:
    events.append(("later", *given))


def episodes() -> None:
    rubric = Last(gamma=0.5, intermediate_reward=-1.0)
    show("none", rubric.compute_step_rewards())
    steps = [Seen(), Seen(score=2.0), Seen(score=4.0, done=True)]
    show("scores", [rubric(place, seen) for place, seen in enumerate(steps)])
    show("rewards", [rubric.compute_step_rewards(), len(rubric.trajectory), rubric.trajectory[1][0]])
    show("state", rubric.state_dict())
    rubric.load_state_dict({"gamma": 1.0})
    show("loaded", [rubric.state_dict(), rubric.compute_step_rewards()])
    rubric.reset()
    show("reset", [rubric.trajectory, rubric.gamma])


def judges(base_url: str) -> None:
    client = OpenAIClient(base_url, None, "m", api_key="k", system_prompt="Judge.")
    judge = LLMJudge("{action} and {observation}", client)
    show("judge", [asyncio.run(judge("a", "o")), judge.last_score, judge.state_dict()])
    strict = LLMJudge("", client, score_pattern=r"none (\d)", default_score=0.3, normalize=False)
    show("default", [asyncio.run(strict("a", "o")), strict.state_dict()])
    strict.load_state_dict(judge.state_dict())
    show("loaded", [asyncio.run(strict("a", "o")), strict.state_dict()])
    newer = OpenAIClient(base_url, None, "m", api_key="k", max_tokens=3, use_max_completion_tokens=True)
    show("newer", asyncio.run(newer.complete("hi", temperature=1.0)))
    tool = {"name": "add", "inputSchema": {"anyOf": [{"type": "null"}, {"type": "object"}]}}
    talk = [{"role": "user", "content": "hi"}]
    response = asyncio.run(client.complete_with_tools(talk, [tool], temperature=0.7, max_tokens=9))
    show("tools", [response.content, response.tool_calls, response.to_message_dict()])
    for endpoint, port in (
        ("http://h", 8000),
        ("http://h:1/v1/", None),
        ("https://h", None),
        ("http://h:1", 1),
    ):
        show("url", OpenAIClient(endpoint, port, "m", api_key="k").base_url)
    for endpoint, port in (
        ("h", 1),
        ("ftp://h", 1),
        ("http://a:b@h", 1),
        ("http://h?x=1", 1),
        ("http://h:1", 2),
    ):
        fails("url", lambda e=endpoint, p=port: OpenAIClient(e, p, "m", api_key="k"))
    show("hosted", type(create_llm_client("OpenAI", "o3", "k")).__name__)
    fails("unknown", lambda: create_llm_client("other", "m", "k"))
    show("subclass", AnthropicClient.__mro__[-3].__name__)


def environment() -> None:
    world = World(Last(gamma=0.5))
    world.reset()
    show("rewards", [world.step(Turn(action_id=number)).reward for number in (0, 1, 2)])
    show("credits", world.rubric.compute_step_rewards())
    world.reset()
    show("after a reset", world.rubric.trajectory)
    show("without", [World().rubric, World().step(Turn()).reward])
    show("async", asyncio.run(World(Sequential(Fixed(0.5), Later(0.25))).step_async(Turn())).reward)
    show("async, without", asyncio.run(World().step_async(Turn())).reward)
    asyncio.run(world._reset_rubric_async())


def others() -> None:
    class Plus(interfaces.Transform):
        def __call__(self, observation: Any) -> Any:
            observation.score += 1
            return observation

    both = base_transforms.CompositeTransform([Plus(), base_transforms.NullTransform(), Plus()])
    show("transforms", [both(Seen()).score, len(both.transforms)])

    class Chat(BaseModel):
        messages: list[interfaces.Message]

    show("messages", Chat(messages=[{"role": "user", "content": "hi"}]).model_dump())
    fails("no message", lambda: Chat(messages=[{"role": "user"}]))
    action = GenericAction(code="x", n=1)
    show("action", [action, repr(action), isinstance(action, dict)])
    show("preprocessed", deserialize_action_with_preprocessing({"tokens": "[1]", "action_id": "3"}, Turn))

    show("config", exceptions.ConcurrencyConfigurationError("World", 2).environment_name)
    full = exceptions.SessionCapacityError(3, 4)
    show("full", [full.active_sessions, full.max_sessions, isinstance(full, exceptions.OpenEnvError)])
    show(
        "found",
        [exceptions.SessionNotFoundError("s").session_id, exceptions.SessionCreationError("r").reason],
    )
    show("factory", exceptions.EnvironmentFactoryError("f").factory_name)
    show("message", str(exceptions.SessionCapacityError(1, 1, "as given")))

    incoming = TypeAdapter(types.WSIncomingMessage)
    for message in ({"type": "reset"}, {"type": "step", "data": {"a": 1}}, {"type": "close"}, {"type": "no"}):
        fails("incoming", lambda m=message: incoming.validate_python(m).model_dump())
    status = types.ServerCapacityStatus.from_counts(2, 2)
    show("status", [status.model_dump(), status.available_slots, status.is_at_capacity])
    fails("too many", lambda: types.ServerCapacityStatus.from_counts(3, 2))
    show("schema", types.SchemaResponse(action={}, observation={}, state={}).model_dump())
    show("health", types.HealthResponse().model_dump_json())
    for model, fields in (
        (types.ConcurrencyConfig, {"max_concurrent_envs": 0}),
        (types.WSResetMessage, {"a": 1}),
    ):
        try:
            model(**fields)
        except ValidationError as error:
            show("refused", [part["type"] for part in error.errors()])

    for answer in (
        mcp_types.JsonRpcResponse.success({"a": None}, 1),
        mcp_types.JsonRpcResponse.success(None),
        mcp_types.JsonRpcResponse.error_response(mcp_types.JsonRpcErrorCode.METHOD_NOT_FOUND, request_id="x"),
        mcp_types.JsonRpcResponse.error_response(mcp_types.JsonRpcErrorCode.INVALID_PARAMS, "bad", [1]),
    ):
        show("rpc", sorted(answer.model_dump().items()))
        show("rpc", sorted(json.loads(answer.model_dump_json())))

    with tempfile.TemporaryDirectory() as folder:
        readme = Path(folder) / "README.md"
        readme.write_text("# World")
        os.environ["ENV_README_PATH"] = str(readme)
        for made in (World, functools.partial(World, rubric=None)):
            found = load_environment_metadata(made, "world")
            show("metadata", [found.name, found.readme_content])
        show("metadata", load_environment_metadata(World).name)


if __name__ == "__main__":
    composition()
    hooks()
    episodes()
    judges(sys.argv[1])
    environment()
    others()
